"""A tiny encoder with random weights, a schema that follows a rule, and cases of it: a real training in a second."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import torch
from transformers import AutoConfig, AutoModel, BertTokenizerFast

from ml import encoder as encoders
from ml import schema
from ml.config import TrainConfig
from ml.encoder import Encoder
from ml.schema import Schema
from ml.types import Example, Labels, Span

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

[[heads]]
key = "manner"
name = "Manner"
kind = "rubric"

[[heads.groups]]
key = "opening"
name = "Opening"
criteria = [{ key = "greets", name = "Greets", definition = "hello" }]

[[heads.groups]]
key = "hold"
name = "Hold"
not_applicable = ["No hold"]
criteria = [{ key = "thanks", name = "Thanks", definition = "thanks" }]
"""
PLACES = {"ship": "sea", "wave": "sea", "hill": "land", "road": "land"}
MOODS = ("calm", "loud")
MANNERS = ("hello", "hold", "thanks")
FILLERS = ("the", "a", "one", "was", "there", "and", "then", "we", "saw")
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")

QUICK = TrainConfig(epochs=12, batch_size=32, learning_rate=0.05, span_learning_rate=0.02, penalty=0.01)


def toy_schema() -> Schema:
    """Return the schema whose labels are words of the text."""
    return schema.parse(SCHEMA)


def write_encoder(folder: Path, kind: str = "bert", *, layers: int = 2) -> Path:
    """Save an encoder, 32 wide, with random weights and the words above for its vocabulary."""
    words = [*SPECIAL, *PLACES, *MOODS, *MANNERS, *FILLERS, "sea", "land"]
    folder.mkdir(parents=True)
    (folder / "vocab.txt").write_text("\n".join(words))
    tokenizer = BertTokenizerFast(vocab=str(folder / "vocab.txt"))
    config = AutoConfig.for_model(
        kind,
        vocab_size=len(words),
        hidden_size=32,
        num_hidden_layers=layers,
        num_attention_heads=2,
        max_position_embeddings=64,
        pad_token_id=tokenizer.pad_token_id if kind != "roberta" else 1,
        **{"hidden_dim" if kind == "distilbert" else "intermediate_size": 64},
        **({"embedding_size": 32} if kind in ("albert", "electra") else {}),
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        AutoModel.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def load_encoder(folder: Path, kind: str = "bert", *, layers: int = 2) -> Encoder:
    """Save and load an encoder."""
    return encoders.load(str(write_encoder(folder / kind, kind, layers=layers)))


def cases(count: int, *, seed: int = 0) -> list[Example]:
    """Draw cases that follow the rule.

    The thing that is named is the label of `thing`, the moods that are named those of `mood`, the thing written with a
    capital is a NAME, "hello" greets, and "thanks" matters only in a case with "hold".
    """
    rng = np.random.default_rng(seed)
    found = []
    for number in range(count):
        thing = str(rng.choice(list(PLACES)))
        moods = [mood for mood in MOODS if rng.random() < 0.5]
        manners = [manner for manner in MANNERS if rng.random() < 0.5]
        fillers = rng.choice(FILLERS, size=int(rng.integers(3, 12)))
        capitals = [word.title() if rng.random() < 0.3 else word for word in [*fillers, thing, thing]]
        words = [*capitals, *moods, *moods, *manners, *manners]
        rng.shuffle(words)
        labels: Labels = {
            "place": PLACES[thing],
            "thing": thing,
            "mood": list(moods),
            "names": names(" ".join(words)),
            "manner": {
                "opening": {"greets": "hello" in manners},
                "hold": {"thanks": "thanks" in manners if "hold" in manners else None},
            },
        }
        found.append(Example(id=str(number), text=" ".join(words), labels=labels))
    return found


def names(text: str) -> list[Span]:
    """Return the things that are written with a capital."""
    things = "|".join(thing.title() for thing in PLACES)
    return [Span(start=at.start(), end=at.end(), label="NAME") for at in re.finditer(rf"\b({things})\b", text)]
