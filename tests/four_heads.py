"""A checkpoint of the published layout, with random weights, as small as can be."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import DistilBertConfig, DistilBertModel

from ml import schema
from ml.classes import PARTS

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{number}" for number in range(40)), "mama", "shule", "7"]
WINDOW = 32  # What the tiny network reads; the published one, 256
NAMES: dict[str, Any] = {
    "main_categories.json": ["VANE", "advice and counseling", "Nutrition"],
    "sub_categories.json": {
        "2": "Beating", "0": "Balanced Diet", "1": "Bully", "3": "Sexual Abuse", "4": "Physical Abuse",
    },
    "interventions.json": {"Counselling, Referred": 1, "Referral": 0, "Signposting": 2, "Referral, counselling": 3},
    "priorities.json": [3, 1, 2],
}  # fmt: skip
HELPLINE = schema.load("helpline")


def write(folder: Path, *, layers: int = 2, width: int = 32, window: int = WINDOW, words: int = len(WORDS)) -> Path:
    """Save a checkpoint with random weights, large enough that answers differ between texts."""
    folder.mkdir(parents=True)
    config = DistilBertConfig(
        vocab_size=words, max_position_embeddings=window, n_layers=layers, n_heads=width // 16, dim=width,
        hidden_dim=2 * width,
    )  # fmt: skip
    (folder / "config.json").write_text(config.to_json_string())
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    for file, names in NAMES.items():
        (folder / file).write_text(json.dumps(names))
    with torch.random.fork_rng():
        torch.manual_seed(1)
        weights = {f"distilbert.{name}": value for name, value in DistilBertModel(config).state_dict().items()}
        weights = {name: value + 0.1 * torch.randn(value.shape) for name, value in weights.items()}
        sizes = {"pre_classifier": width} | {part.layer: len(NAMES[part.file]) for part in PARTS}
        for layer, size in sizes.items():
            weights |= {f"{layer}.weight": torch.randn(size, width) / 4, f"{layer}.bias": torch.randn(size)}
    save_file(weights, folder / "model.safetensors")
    return folder


def altered(published: Path, folder: Path, changes: Mapping[str, Tensor | None]) -> Path:
    """Copy a checkpoint with other parameters, None for one that is left out."""
    folder.mkdir()
    for file in published.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    weights = load_file(published / "model.safetensors") | changes
    save_file({name: value for name, value in weights.items() if value is not None}, folder / "model.safetensors")
    return folder
