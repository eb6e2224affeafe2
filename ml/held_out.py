"""How good a model in training is on the rows that it does not learn from: when to stop, and what to calibrate on.

Sizes as in `ml.model`: n rows, C outputs of a head, K copies, N words.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ml import metrics, scales, spans
from ml.calibration import HeadCalibration
from ml.config import TrainConfig
from ml.pieces import Pieces
from ml.schema import Kind
from ml.targets import SpanTarget, Target
from ml.types import Example

Tags = dict[int, NDArray[np.float32]]  # Row to scores of its tags, (N, 1 + 2 C)


@dataclass(frozen=True)
class Outcome:
    """What a model in training says of rows, and how good that is on those that it does not learn from.

    logits: scores of each head that answers a case as a whole, (K, n, C).
    tags: scores of each head of spans, for the held-out rows that are labelled.
    loss: mean over these heads of the held-out loss, in nats. figures: the main measure of each head.
    """

    epoch: int
    logits: dict[str, Tensor]
    tags: dict[str, Tags]
    loss: float
    figures: Mapping[str, float]

    def is_better_than(self, other: Outcome) -> bool:
        """Compare the mean of the main measures over the heads; the loss where there is nothing to choose."""
        return self._worth() > other._worth()

    def _worth(self) -> tuple[float, float]:
        return round(float(np.mean(list(self.figures.values()))), 3) if self.figures else 0.0, -self.loss


class Watch:
    """Which epoch was best so far, and whether it is time to stop."""

    def __init__(self, begun: Outcome, *, patience: int) -> None:
        """Begin with what there is before the first epoch; `patience` counts epochs in which no head gets better."""
        self.best = begun
        self._patience = patience
        self.highest = dict(begun.figures)
        self.moved = begun.epoch

    def sees(self, found: Outcome) -> bool:
        """Look at the next epoch, and tell whether it is the best so far."""
        for key, figure in found.figures.items():
            if figure > self.highest.get(key, -1.0):  # Heads learn at their own pace, and a slow one is waited for
                self.highest[key] = figure
                self.moved = found.epoch
        if not found.is_better_than(self.best):
            return False
        self.best, self.moved = found, found.epoch
        return True

    def is_over_at(self, epoch: int) -> bool:
        """Tell whether nothing has become better for long enough."""
        return epoch - self.moved >= self._patience


@dataclass(frozen=True)
class HeldOut:
    """Which rows each copy leaves out, (K, n), and what is known of them. Heads of spans belong to the first copy."""

    is_out: Tensor
    examples: Sequence[Example]
    pooled: Sequence[Target]
    tagged: Sequence[SpanTarget]
    pieces: Sequence[Pieces]

    def tagged_rows(self, target: SpanTarget) -> list[int]:
        """Return the held-out rows that a head of spans is measured on."""
        return (self.is_out[0] & target.rows).nonzero().flatten().tolist()

    def measure(self, epoch: int, logits: dict[str, Tensor], tags: dict[str, Tags]) -> Outcome:
        """Measure what a model in training says."""
        losses, figures = [], {}
        for target in self.pooled:
            counted = self.is_out & target.rows  # (K, n)
            if counted.any():
                scores = logits[target.head.key]
                losses.append(float(target.losses(scores, torch.arange(scores.shape[1]))[counted].mean()))
                figures[target.head.key] = _main_measure(target, scores, counted)
        for tagged in self.tagged:
            if found := tags.get(tagged.head.key):
                losses.append(_word_loss(tagged, found))
                figures[tagged.head.key] = self._span_f1(tagged, found)
        return Outcome(epoch, logits, tags, float(np.mean(losses)) if losses else 0.0, figures)

    def of_strangers(self, outcome: Outcome) -> tuple[list[int], dict[str, NDArray[np.float64]]]:
        """Return the rows that a copy left out, and their scores by that copy, (n_rows, C) for each head."""
        rows = self.is_out.any(dim=0).nonzero().flatten()
        copy = self.is_out[:, rows].int().argmax(dim=0)
        return rows.tolist(), {key: scores[copy, rows].double().numpy() for key, scores in outcome.logits.items()}

    def _span_f1(self, target: SpanTarget, tags: Tags) -> float:
        words = [self.pieces[row].words for row in tags]
        scores = [found.astype(np.float64) for found in tags.values()]
        said = spans.decode_all(scores, words, target.head, HeadCalibration())
        truth = [self.examples[row].labels[target.head.key] for row in tags]
        return metrics.micro_f1([metrics.items(answer) for answer in truth], [metrics.items(answer) for answer in said])


def _word_loss(target: SpanTarget, tags: Tags) -> float:
    """Return the mean loss of a word, in nats."""
    log_probs = [scales.log_softmax(scores.astype(np.float64)) for scores in tags.values()]
    wanted = [target.tags[row] for row in tags]
    picked = [
        probs[np.arange(len(probs)), places.numpy()]
        for probs, places in zip(log_probs, wanted, strict=True)
        if places is not None
    ]
    words = np.concatenate(picked)
    return -float(words.mean()) if len(words) else 0.0


def draw(texts: Sequence[str], n_validation: int, config: TrainConfig) -> Tensor:
    """Return which rows each copy leaves out, (K, n): the validation rows alone where there are any, or else folds.

    The fast profile leaves out folds in turn, and nothing at last. The full one leaves out a share of the rows, always
    the same texts, so that a model which goes on from an earlier one is not measured on what that one learnt.
    """
    n_rows = len(texts) + n_validation
    if n_validation:
        return (torch.arange(n_rows) >= len(texts))[None]
    if config.profile == "full":
        return torch.tensor([[_fraction(text) < config.validation_share for text in texts]])
    fold = torch.from_numpy(np.random.default_rng(config.seed).permutation(n_rows) % config.folds)
    return torch.stack([*(fold == number for number in range(config.folds)), torch.zeros(n_rows, dtype=torch.bool)])


def _fraction(text: str) -> float:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64


def _main_measure(target: Target, scores: Tensor, counted: Tensor) -> float:
    """Return accuracy for `choice` and rubrics, micro F1 for `choices`, from raw scores (K, n, C) where counted."""
    said = scores[counted]  # (m, C)
    value = target.value.expand(len(scores), *target.value.shape)[counted]
    if target.head.kind == Kind.CHOICE:
        return float((said.argmax(dim=1) == value).float().mean())
    known = target.is_known.expand(len(scores), *target.is_known.shape)[counted]
    if target.head.kind == Kind.RUBRIC:
        return float(((said > 0) == (value > 0))[known].float().mean())
    answered = said.sigmoid() >= target.head.threshold
    hits, total = (answered * value).sum(), answered.sum() + value.sum()
    return float(2 * hits / total) if total else 1.0
