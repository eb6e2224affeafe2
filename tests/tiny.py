"""A tiny encoder with random weights, a schema that follows a rule, and cases of it: a real training in a second."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from transformers import BertConfig, BertModel, BertTokenizerFast

from ml import encoder as encoders
from ml import schema
from ml.encoder import Encoder
from ml.schema import Schema
from ml.training import TrainConfig
from ml.types import Example, Labels

SCHEMA = """
name = "toy"
version = 1
title = "Toy"

[[heads]]
key = "place"
name = "Place"
kind = "choice"
labels = [
  { key = "sea", name = "Sea", definition = "ship wave", aliases = ["Ocean"] },
  { key = "land", name = "Land", definition = "hill road" },
]

[[heads]]
key = "thing"
name = "Thing"
kind = "choice"
parent = "place"
labels = [
  { key = "ship", name = "Ship", definition = "ship", parent = "sea" },
  { key = "wave", name = "Wave", definition = "wave", parent = "sea" },
  { key = "hill", name = "Hill", definition = "hill", parent = "land" },
  { key = "road", name = "Road", definition = "road", parent = "land" },
]

[[heads]]
key = "mood"
name = "Mood"
kind = "choices"
labels = [
  { key = "calm", name = "Calm", definition = "calm" },
  { key = "loud", name = "Loud", definition = "loud" },
]

[[heads]]
key = "names"
name = "Names"
kind = "spans"
labels = [{ key = "NAME", name = "Name", definition = "A name" }]
"""
PLACES = {"ship": "sea", "wave": "sea", "hill": "land", "road": "land"}
MOODS = ("calm", "loud")
FILLERS = ("the", "a", "one", "was", "there", "and", "then", "we", "saw")
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")

QUICK = TrainConfig(epochs=12, batch_size=32, learning_rate=0.05, penalty=0.01)


def toy_schema() -> Schema:
    """Return the schema whose labels are words of the text."""
    return schema.parse(SCHEMA)


def write_encoder(folder: Path) -> Path:
    """Save a BERT of two layers, 32 wide, with random weights and the words above for its vocabulary."""
    words = [*SPECIAL, *PLACES, *MOODS, *FILLERS, "sea", "land"]
    folder.mkdir(parents=True)
    (folder / "vocab.txt").write_text("\n".join(words))
    tokenizer = BertTokenizerFast(vocab=str(folder / "vocab.txt"))
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def load_encoder(folder: Path) -> Encoder:
    """Save and load the tiny encoder."""
    return encoders.load(str(write_encoder(folder / "encoder")))


def cases(count: int, *, seed: int = 0) -> list[Example]:
    """Draw cases: the thing that is named is the label of `thing`, the moods that are named those of `mood`."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(count):
        thing = str(rng.choice(list(PLACES)))
        moods = [mood for mood in MOODS if rng.random() < 0.5]
        words = [*rng.choice(FILLERS, size=int(rng.integers(3, 12))), thing, thing, *moods, *moods]
        rng.shuffle(words)
        labels: Labels = {"place": PLACES[thing], "thing": thing, "mood": list(moods)}
        found.append(Example(id=str(number), text=" ".join(words), labels=labels))
    return found
