"""Labels as tensors, and how wrong scores are about them: what training minimises, for each kind of head.

Sizes as in `ml.model`: n rows, B rows of a batch, C outputs of a head, K copies, N words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ml import metrics, rubrics, spans
from ml.model import POOLED
from ml.pieces import Pieces
from ml.schema import Head, Kind, Schema
from ml.spans import SpanFaults
from ml.teachers import Lesson
from ml.types import Answer, Example

UNKNOWN = -100  # What cross-entropy passes over
MOST_CUTS = 1 / 3  # Share of a text's spans that cut words, above which none of its spans is believed


@dataclass(frozen=True, slots=True)
class Target:
    """The labels of one head that answers a case as a whole.

    value: positions of labels, (n,), for `choice`; 0 and 1 for each output, (n, C), else.
    is_known: (n, C) or, for `choice`, (n, 1): which outputs are labelled. A criterion that does not apply is neither
        met nor not met, so that its first output is not known and only its second is.
    penalty: what the size of the head's weights costs.
    lesson: what teachers say of the head.
    """

    head: Head
    value: Tensor
    is_known: Tensor
    penalty: float = 0.0
    lesson: Lesson | None = None

    @classmethod
    def read(cls, head: Head, rows: Sequence[Example]) -> Target:
        """Take one head's labels from examples."""
        answers: list[Answer | None] = [row.labels.get(head.key) for row in rows]
        if head.kind == Kind.RUBRIC:
            marks = [rubrics.encode(answer if isinstance(answer, dict) else {}, head) for answer in answers]
            value = torch.from_numpy(np.array(marks)).float()
            return cls(head, value.nan_to_num(), ~value.isnan())
        if head.kind == Kind.CHOICE:  # A label that the schema has no more says nothing
            answers = [answer if answer in head.keys else None for answer in answers]
        is_known = torch.tensor([[answer is not None] for answer in answers])
        if head.kind == Kind.CHOICE:
            places = {key: at for at, key in enumerate(head.keys)}
            return cls(head, torch.tensor([places.get(str(answer), 0) for answer in answers]), is_known)
        held = [metrics.items(answer) if answer is not None else frozenset() for answer in answers]
        value = torch.tensor([[key in keys for key in head.keys] for keys in held]).float()
        return cls(head, value, is_known.expand_as(value))

    @property
    def rows(self) -> Tensor:
        """Which rows are labelled at all, (n,)."""
        return self.is_known.any(dim=1)

    @property
    def teaches(self) -> Tensor:
        """Which rows something is learnt from, (n,): those that are labelled, and with teachers all."""
        return self.rows if self.lesson is None else torch.ones_like(self.rows)

    @property
    def n_outputs(self) -> int:
        """How many outputs the head has, C."""
        return len(self.head.keys) if self.head.kind == Kind.CHOICE else self.value.shape[1]

    def of(self, rows: Sequence[int]) -> Target:
        """Return the labels of some rows."""
        lesson = self.lesson.of(rows) if self.lesson else None
        return replace(self, value=self.value[rows], is_known=self.is_known[rows], lesson=lesson)

    def lost(self, scores: Tensor, rows: Tensor, weights: Tensor, learns: Tensor) -> Tensor:
        """Return what training minimises: scores (K, B, C) of some rows to (K, B), 0 where a copy does not learn.

        Args:
            weights: how much the label of each row counts, (K, n).
            learns: the rows that each copy learns from, (K, n).
        """
        lost = self.losses(scores, rows) * weights[:, rows]
        if self.lesson is None:
            return lost
        taught = self.lesson.losses(scores, rows) * learns[:, rows]
        return (1.0 - self.lesson.share) * lost + self.lesson.share * taught

    def losses(self, scores: Tensor, rows: Tensor) -> Tensor:
        """Return the loss of each row, in nats, 0 where it is unlabelled: scores (K, B, C) of these rows to (K, B)."""
        value = self.value[rows].expand(len(scores), *self.value[rows].shape)
        if self.head.kind == Kind.CHOICE:
            losses = functional.cross_entropy(scores.flatten(0, 1), value.flatten(), reduction="none")
            return losses.view(scores.shape[:2]) * self.is_known[rows, 0]
        losses = functional.binary_cross_entropy_with_logits(scores, value, reduction="none")
        return (losses * self.is_known[rows]).sum(dim=-1)

    def rarity(self, learns: Tensor, *, balance: float, heaviest: float) -> Tensor:
        """Return how much a row of each label counts, (K, C), for copies that learn from some rows, (K, n)."""
        if self.lesson:
            return torch.ones(len(learns), self.n_outputs)
        known = (learns & self.rows).float()
        counts = (known @ self._held()).clamp(min=1.0)  # (K, C)
        rarity = known.sum(dim=1, keepdim=True).clamp(min=1.0) / counts / counts.shape[1]
        return (rarity**balance).clamp(max=heaviest)

    def weights(self, learns: Tensor, *, balance: float, heaviest: float) -> Tensor:
        """Return how much each row counts, (K, n): as its rarest label, and 0 where a copy does not learn from it.

        The rows of a rubric count alike: each of its criteria is met often enough. So do those that teachers speak of,
        who have learnt the rare labels.
        """
        known = learns & self.rows
        if self.head.kind == Kind.RUBRIC or self.lesson:
            return known.float()
        rarity = self.rarity(learns, balance=balance, heaviest=heaviest)
        weights = (self._held()[None] * rarity[:, None]).amax(dim=-1)  # (K, n)
        return weights.where(weights > 0, 1.0) * known  # A row that holds no label counts 1

    def _held(self) -> Tensor:
        """Return which labels each row holds, as 0 and 1, (n, C)."""
        is_choice = self.head.kind == Kind.CHOICE
        return functional.one_hot(self.value, len(self.head.keys)).float() if is_choice else self.value


@dataclass(frozen=True, slots=True)
class SpanTarget:
    """The labels of one head of spans: the tag of each word of each row, None where a row says nothing of it."""

    head: Head
    tags: list[Tensor | None]
    faults: SpanFaults
    lesson: Lesson | None = None

    @classmethod
    def read(
        cls, head: Head, rows: Sequence[Example], pieces: Sequence[Pieces], lesson: Lesson | None = None
    ) -> SpanTarget:
        """Take one head's labels from examples, and count the spans that cannot be learnt from.

        Where many spans of a text cut words, its ranges were made for another text: then it says nothing.
        """
        total = SpanFaults()
        found: list[Tensor | None] = []
        for row, cut in zip(rows, pieces, strict=True):
            answer = row.labels.get(head.key)
            if not isinstance(answer, list):
                found.append(None)
                continue
            ranges = [span for span in answer if not isinstance(span, str)]
            tags, faults = spans.encode(ranges, cut.words, head)
            total += faults
            is_believed = faults.misaligned <= MOST_CUTS * max(1, len(ranges))
            found.append(torch.from_numpy(tags) if is_believed else None)
        return cls(head, found, total, lesson)

    @property
    def rows(self) -> Tensor:
        """Which rows are labelled, (n,)."""
        return torch.tensor([tags is not None for tags in self.tags])

    @property
    def teaches(self) -> Tensor:
        """Which rows something is learnt from, (n,): those that are labelled or that teachers speak of."""
        return self.rows if self.lesson is None else self.rows | self.lesson.rows

    def of(self, rows: Sequence[int]) -> SpanTarget:
        """Return the labels of some rows."""
        lesson = self.lesson.of(rows) if self.lesson else None
        return replace(self, tags=[self.tags[row] for row in rows], lesson=lesson)

    def loss(self, scores: Tensor, rows: Sequence[int], learns: Tensor) -> Tensor:
        """Return the loss of a case, in nats, on average over those that may be learnt from: scores (B, N, 1 + 2 C)."""
        wanted = torch.full(scores.shape[:2], UNKNOWN)
        for at, row in enumerate(rows):
            tags = self.tags[row]
            if tags is not None and learns[row]:
                wanted[at, : len(tags)] = tags
        losses = functional.cross_entropy(scores.flatten(0, 1), wanted.flatten(), ignore_index=UNKNOWN, reduction="sum")
        lost = losses / len(rows)
        if self.lesson is None:
            return lost
        taught = self.lesson.loss_of_words(scores, rows, learns)
        return (1.0 - self.lesson.share) * lost + self.lesson.share * taught


def read(
    schema: Schema, keys: Sequence[str], rows: Sequence[Example], lessons: Mapping[str, Lesson] = MappingProxyType({})
) -> list[Target]:
    """Take the labels of the heads that answer a case as a whole, and what teachers say of them."""
    heads = [schema.head(key) for key in keys]
    return [replace(Target.read(head, rows), lesson=lessons.get(head.key)) for head in heads if head.kind in POOLED]


def tasks(targets: Sequence[Target | SpanTarget]) -> list[list[int]]:
    """Part the rows by which heads learn from them: each is a task of its own, and its batches hold nothing else."""
    taught = torch.stack([target.teaches for target in targets], dim=1).numpy()  # (n, heads)
    parts: dict[bytes, list[int]] = {}
    for row, known in enumerate(taught):
        if np.any(known):
            parts.setdefault(known.tobytes(), []).append(row)
    return list(parts.values())
