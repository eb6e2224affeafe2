"""What models that are trained already say of the rows that another one learns from: knowledge distillation.

A teacher's probabilities tell which wrong answers are nearly right, which a label does not. They are softened by a
temperature, so that the small ones count, and learnt beside the labels (Hinton, Vinyals and Dean 2015, Distilling the
Knowledge in a Neural Network). A teacher speaks of every row, so a row that a head's people never labelled teaches it
too, and teachers of one head each make a student of all.

Sizes as in `ml.model`: n rows, B rows of a batch, C outputs of a head, K copies, N words of a text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ml import registry, rubrics
from ml.config import TrainConfig
from ml.errors import InputError
from ml.progress import OnProgress, Progress, ignore
from ml.schema import Head, Kind
from ml.serving import Predictor


class TeacherError(InputError):
    """A teacher cannot teach this schema; the message names the head and what was expected."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """What teachers say of one head.

    logits: their mean, (n, C), of a head that answers a case as a whole; of a head of spans those of each row, (N, T),
        None where they cut the text into other words.
    temperature: that softens them. share: of the loss that is learnt from the teachers, between 0 and 1.
    """

    kind: Kind
    logits: Tensor | Sequence[Tensor | None]
    temperature: float
    share: float

    @property
    def rows(self) -> Tensor:
        """Of which rows the teachers say something, (n,)."""
        return torch.tensor([found is not None for found in self.logits])

    def of(self, rows: Sequence[int]) -> Lesson:
        """Return what they say of some rows."""
        found = self.logits[list(rows)] if isinstance(self.logits, Tensor) else [self.logits[row] for row in rows]
        return replace(self, logits=found)

    def losses(self, scores: Tensor, rows: Tensor) -> Tensor:
        """Return how far each row is from the teachers, in nats: scores (K, B, C) of these rows to (K, B)."""
        assert isinstance(self.logits, Tensor)  # noqa: S101 - heads of spans have `loss_of_words`
        wanted = self.logits[rows].expand(len(scores), -1, -1)
        if self.kind == Kind.CHOICE:
            return self._divergence(scores, wanted)
        return self._divergence(_both(scores), _both(wanted)).sum(dim=-1)

    def loss_of_words(self, scores: Tensor, rows: Sequence[int], learns: Tensor) -> Tensor:
        """Return how far a case is from the teachers, in nats, on average over those that may be learnt from.

        Args:
            scores: (B, N, T) of these rows.
            learns: which of all rows may be, (n,).
        """
        total = torch.zeros(())
        for at, row in enumerate(rows):
            if learns[row] and (wanted := self.logits[row]) is not None:
                total = total + self._divergence(scores[at, : len(wanted)], wanted).sum()
        return total / len(rows)

    def _divergence(self, scores: Tensor, wanted: Tensor) -> Tensor:
        """Return the Kullback-Leibler divergence over the last dimension.

        It is multiplied by the square of the temperature, by which softening had divided its gradient.
        """
        said, right = (one.div(self.temperature).log_softmax(dim=-1) for one in (scores, wanted))
        parts = functional.kl_div(said, right, reduction="none", log_target=True)
        return parts.sum(dim=-1) * self.temperature**2


class Teachers:
    """Loaded teachers, whose heads are some of a student's."""

    def __init__(self, folders: Sequence[str | Path]) -> None:
        """Load model folders.

        Raises:
            ModelFolderError: a folder holds no model, or is damaged.
        """
        self._predictors = [Predictor(folder) for folder in folders]
        self.hashes = [registry.manifest_hash(folder) for folder in folders]  # By which a student's manifest names them

    def check(self, heads: Sequence[Head]) -> None:
        """Refuse teachers that cannot teach.

        Raises:
            TeacherError: one knows other labels of a head than the student's schema has, or none of its heads.
        """
        for predictor in self._predictors:
            known = [head for head in heads if head.key in predictor.manifest["heads"]]
            if not known:
                taught = ", ".join(predictor.manifest["heads"])
                expected = ", ".join(head.key for head in heads)
                raise TeacherError(f"a teacher knows the heads {taught}; expected at least one of {expected}")
            for head in known:
                other = predictor.schema.head(head.key)
                if other.kind != head.kind or sorted(outputs_of(other)) != sorted(outputs_of(head)):
                    missing = sorted(set(outputs_of(head)) ^ set(outputs_of(other)))
                    raise TeacherError(
                        f"a teacher of {head.key} has other labels than the schema ({', '.join(missing[:5])}); "
                        "expected the same"
                    )

    def teach(
        self,
        heads: Sequence[Head],
        texts: Sequence[str],
        n_words: Sequence[int],
        config: TrainConfig,
        progress: OnProgress = ignore,
    ) -> dict[str, Lesson]:
        """Ask the teachers of texts, and return what they say of each head that one of them knows.

        Args:
            n_words: of each text, as the student cuts it.
        """
        if not texts:
            return {}
        said: dict[str, list[Any]] = {}
        for predictor in self._predictors:
            known = [head for head in heads if head.key in predictor.manifest["heads"]]
            logits = predictor.logits(texts, progress=lambda at: progress(Progress("teachers", at.done, at.total)))
            for head in known:
                order = _order(head, predictor.schema.head(head.key))
                said.setdefault(head.key, []).append([one[..., order] for one in logits[head.key]])
        return {
            head.key: Lesson(
                head.kind,
                _of_words(said[head.key], n_words) if head.kind == Kind.SPANS else _of_cases(said[head.key]),
                config.teacher_temperature,
                config.teacher_share,
            )
            for head in heads
            if head.key in said
        }


def outputs_of(head: Head) -> list[str]:
    """Return the keys of what the outputs of a head stand for, in order; those of a head of spans are its tags."""
    if head.kind == Kind.RUBRIC:
        return list(rubrics.columns(head))
    if head.kind == Kind.SPANS:
        return ["outside", *(f"{side} {key}" for key in head.keys for side in ("begins", "continues"))]
    return list(head.keys)


def _order(head: Head, other: Head) -> list[int]:
    """Return where each output of a head is among those of a teacher's."""
    places = {name: at for at, name in enumerate(outputs_of(other))}
    return [places[name] for name in outputs_of(head)]


def _of_cases(said: Sequence[Sequence[Any]]) -> Tensor:
    return torch.from_numpy(np.mean([np.stack(one) for one in said], axis=0)).float()


def _of_words(said: Sequence[Sequence[Any]], n_words: Sequence[int]) -> list[Tensor | None]:
    found: list[Tensor | None] = []
    for row, count in enumerate(n_words):
        known = [one[row] for one in said if len(one[row]) == count]
        found.append(torch.from_numpy(np.mean(known, axis=0)).float() if known else None)
    return found


def _both(scores: Tensor) -> Tensor:
    """Give each output that is yes or no by itself its other side, so that both are a choice of two: (…, C, 2)."""
    return torch.stack([scores, torch.zeros_like(scores)], dim=-1)
