"""The model: one encoder for all heads, and for each head an attention pooling, an output layer and its label texts.

    word pieces ──► phrases ──► attention pooling ──► output layer ──┐
                       │                                             ├──► scores of the labels
                       └──────► likeness to the label texts ► trust ─┘

A label's own name and definition say much about which cases are meant, most of all where few cases are labelled, so
scores begin as the likeness between the case and these texts, and the output layer learns what they leave out.

Attention is over phrases, means of a few word pieces: a quarter as many as word pieces, so that caching and training
take a quarter, and what a single word piece says in its context its phrase says too.

Sizes: B cases of a batch, T word pieces, V phrases, W the encoder's width, C labels of a head, L the kinds of likeness,
K copies of the heads that learn side by side, each from other rows. A saved model has one copy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from ml.encoder import Encoder, mean_of
from ml.schema import Head, Kind, Schema

WINDOW = 8  # Word pieces of a phrase; for likeness 16, 32 and 64 measured worse in this order
STEP = WINDOW // 2
LIKENESSES = 4  # Of the whole text and of its nearest phrase, to a label's name and to its definition
LEARNT = (Kind.CHOICE, Kind.CHOICES)
FLATTEST = 0.01  # Smallest spread that is divided by: a likeness of few rows may hardly vary


class HeadLayer(nn.Module):
    """One head: where to look, what it means, and how far to trust the label texts.

    The attention starts level, as the mean of the text, and the output layer at zero.
    """

    label_texts: Tensor
    centre: Tensor
    spread: Tensor

    def __init__(self, width: int, n_labels: int, *, copies: int = 1) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.zeros(copies, width))
        self.weight = nn.Parameter(torch.zeros(copies, width, n_labels))
        self.bias = nn.Parameter(torch.zeros(copies, n_labels))
        self.trust = nn.Parameter(torch.full((copies, LIKENESSES), 1.0 / LIKENESSES))
        self.register_buffer("label_texts", torch.zeros(2, n_labels, width))  # Of length 1: names, then definitions
        self.register_buffer("centre", torch.zeros(LIKENESSES, n_labels))
        self.register_buffer("spread", torch.ones(LIKENESSES, n_labels))

    def likeness(self, whole: Tensor, phrases: Tensor, is_real: Tensor) -> Tensor:
        """Compare cases with the label texts, as cosines: (B, L, C).

        Args:
            whole: mean of each text, (B, W), of length 1.
            phrases: (B, V, W), of length 1.
            is_real: (B, V).
        """
        by_phrase = torch.einsum("bvw,scw->bvsc", phrases, self.label_texts)
        nearest = by_phrase.masked_fill(~is_real[:, :, None, None], -1.0).amax(dim=1)  # (B, 2, C)
        return torch.cat([torch.einsum("bw,scw->bsc", whole, self.label_texts), nearest], dim=1)

    def standardise(self, likeness: Tensor) -> None:
        """Learn from the likeness of many cases, (n, L, C), what is usual for each label."""
        self.centre.copy_(likeness.mean(dim=0))
        self.spread.copy_(likeness.std(dim=0, correction=0).clamp(min=FLATTEST))

    def forward(self, pooled: Tensor, likeness: Tensor) -> Tensor:
        """Score the labels: pooled (K, B, W), likeness (B, L, C) to (K, B, C)."""
        learnt = torch.einsum("kbw,kwc->kbc", pooled, self.weight) + self.bias[:, None]
        return learnt + torch.einsum("blc,kl->kbc", (likeness - self.centre) / self.spread, self.trust)


class CaseModel(nn.Module):
    """The heads of a schema that learn, on top of an encoder's output."""

    centre: Tensor
    spread: Tensor

    def __init__(self, heads: Sequence[Head], width: int, *, copies: int = 1) -> None:
        super().__init__()
        self.keys = [head.key for head in heads]
        self.layers = nn.ModuleList(HeadLayer(width, len(head.labels), copies=copies) for head in heads)
        self.register_buffer("centre", torch.zeros(width))
        self.register_buffer("spread", torch.ones(width))

    def layer(self, key: str) -> HeadLayer:
        """Return the layer of one head."""
        found = self.layers[self.keys.index(key)]
        assert isinstance(found, HeadLayer)  # noqa: S101 - ModuleList forgets the type
        return found

    def likeness(self, whole: Tensor, phrases: Tensor, is_real: Tensor) -> dict[str, Tensor]:
        """Compare a batch with the label texts of each head: (B, W), (B, V, W) and (B, V) to (B, L, C)."""
        whole = functional.normalize(whole.float(), dim=1)
        phrases = functional.normalize(phrases.float(), dim=2)
        return {key: self.layer(key).likeness(whole, phrases, is_real) for key in self.keys}

    def forward(self, phrases: Tensor, is_real: Tensor, likeness: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Score the labels of every head: phrases (B, V, W), is_real (B, V) to (K, B, C) for each head."""
        queries = torch.stack([self.layer(key).query for key in self.keys])  # (H heads, K, W)
        scores = torch.einsum("bvw,hkw->hkbv", phrases, queries.to(phrases.dtype)).float()
        attention = scores.masked_fill(~is_real, -torch.inf).softmax(dim=-1).to(phrases.dtype)  # (H, K, B, V)
        pooled = torch.einsum("hkbv,bvw->hkbw", attention, phrases).float()
        pooled = (pooled - self.centre) / self.spread
        return {key: self.layer(key)(pooled[at], likeness[key]) for at, key in enumerate(self.keys)}

    def score(self, tokens: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Score the labels from the encoder's output: (B, T, W) and (B, T) to (K, B, C) for each head."""
        phrases, is_real = phrases_of(tokens, mask)
        return self.forward(phrases, is_real, self.likeness(mean_of(tokens, mask), phrases, is_real))


def build(schema: Schema, keys: Sequence[str], encoder: Encoder, *, copies: int = 1) -> CaseModel:
    """Build the heads named by `keys`, with the label texts read by the encoder and nothing learnt."""
    heads = [schema.head(key) for key in keys]
    model = CaseModel(heads, encoder.width, copies=copies)
    for head in heads:
        model.layer(head.key).label_texts.copy_(encode_labels(head, encoder))
    return model


def encode_labels(head: Head, encoder: Encoder) -> Tensor:
    """Encode the names of a head's labels, and the names with their definitions: (2, C, W), of length 1."""
    names = encoder.means([label.name for label in head.labels])
    definitions = encoder.means([f"{label.name}: {label.definition}" for label in head.labels])
    return functional.normalize(torch.stack([names, definitions]), dim=2)


def phrases_of(tokens: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Average word pieces over windows that overlap by half.

    Args:
        tokens: (B, T, W), what the encoder gave.
        mask: (B, T), True where a word piece is real.

    Returns:
        Phrases, (B, V, W) of the type of `tokens`, and which of them are real, (B, V). How far a batch is padded makes
        no difference to a text's real ones.
    """
    missing = max(0, WINDOW - tokens.shape[1])
    lengths = mask.sum(dim=1, keepdim=True)  # (B, 1)
    tokens = functional.pad(tokens * mask[:, :, None], (0, 0, 0, missing))
    mask = functional.pad(mask, (0, missing))
    sums = functional.avg_pool1d(tokens.float().transpose(1, 2), WINDOW, STEP, ceil_mode=True)  # (B, W, V)
    shares = functional.avg_pool1d(mask[:, None].float(), WINDOW, STEP, ceil_mode=True)  # (B, 1, V), same divisors
    starts = torch.arange(sums.shape[2]) * STEP
    is_real = (starts == 0) | (lengths > starts + STEP)  # A window whose words the one before it has too adds nothing
    return (sums / shares.clamp(min=FLATTEST)).transpose(1, 2).to(tokens.dtype), is_real
