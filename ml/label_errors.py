"""Labels that are probably wrong, found by confident learning from the answers of models that did not see them.

A label is doubted where a model is as sure of another one as it usually is of cases that bear that other label. How
sure that is, is learnt of each label by itself, so that labels which the model finds hard are not all doubted.

Source: Northcutt, Jiang and Chuang (2021), Confident Learning: Estimating Uncertainty in Dataset Labels, section 3: the
off-diagonal entries of the confident joint, ranked by the margin between the two labels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ml.folds import OutOfFold
from ml.schema import Head, Kind, Schema

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]

ROUNDING = 1e-6  # A threshold is a mean of probabilities, which may come out a little above those that are all alike


@dataclass(frozen=True, slots=True)
class LabelError:
    """A label that is probably wrong.

    For `choice`, `given` and `suggested` are keys of labels. For `choices`, `label` is the key of one, and they say
    whether the case has it. `probability` is that of `suggested`, calibrated; `rank` is 1 for the likeliest of a head.
    """

    id: str
    head: str
    given: str | bool
    suggested: str | bool
    probability: float
    rank: int
    label: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the form that files hold."""
        found: dict[str, Any] = {"id": self.id, "head": self.head}
        if self.label is not None:
            found["label"] = self.label
        return found | {
            "given": self.given,
            "suggested": self.suggested,
            "probability": self.probability,
            "rank": self.rank,
        }


@dataclass(frozen=True, slots=True)
class Doubt:
    """That row `row` is of class `suggested`, by this margin of probability over the class that it was given."""

    row: int
    suggested: int
    probability: float
    margin: float


def find(schema: Schema, answered: OutOfFold) -> list[LabelError]:
    """List the likely errors in the labels of every `choice` and `choices` head, heads in schema order, worst first."""
    found: list[LabelError] = []
    for head in schema.of_kind(Kind.CHOICE, Kind.CHOICES):
        doubts = sorted(_doubts_of(head, answered), key=lambda one: -one[0].margin)
        for rank, (doubt, key, given, suggested) in enumerate(doubts, start=1):
            case = answered.rows[doubt.row].id
            found.append(LabelError(case, head.key, given, suggested, doubt.probability, rank, key))
    return found


def doubts(given: Ints, probs: Floats) -> list[Doubt]:
    """Return the rows that are probably of another class than they were given, worst first.

    Args:
        given: classes, (n,).
        probs: out-of-fold probabilities, (n, n_classes).

    Returns:
        Rows on which the probability of another class reaches its threshold, the mean probability of that class over
        the rows that were given it, and is the highest of all; margins are above 0.
    """
    counts = np.bincount(given, minlength=probs.shape[1])
    own = probs[np.arange(len(given)), given]
    sums = np.bincount(given, weights=own, minlength=probs.shape[1])
    thresholds = np.divide(sums, counts, out=np.full(probs.shape[1], np.inf), where=counts > 0)
    confident = np.where(probs >= thresholds - ROUNDING, probs, -1.0)
    likeliest = confident.argmax(axis=1)
    highest = confident.max(axis=1)
    margins = highest - own
    rows = np.flatnonzero((highest > 0.0) & (likeliest != given) & (margins > 0.0))
    found = [Doubt(int(row), int(likeliest[row]), float(highest[row]), float(margins[row])) for row in rows]
    return sorted(found, key=lambda one: -one.margin)


def _doubts_of(head: Head, answered: OutOfFold) -> Iterator[tuple[Doubt, str | None, str | bool, str | bool]]:
    """Yield each doubt about a head, the label it is about if it is a set's, and what was given and is suggested."""
    probs = answered.probabilities(head)
    labels = [row.labels.get(head.key) for row in answered.rows]
    is_known = [label is not None and (head.kind == Kind.CHOICES or label in head.keys) for label in labels]
    rows = np.flatnonzero(np.array(is_known) & ~np.isnan(probs).any(axis=1))
    if head.kind == Kind.CHOICE:
        given = np.array([head.keys.index(str(labels[row])) for row in rows], dtype=np.int64)
        for doubt in _moved(doubts(given, probs[rows]), rows):
            yield doubt, None, str(labels[doubt.row]), head.keys[doubt.suggested]
        return
    for at, key in enumerate(head.keys):
        held = np.array([int(key in (labels[row] or ())) for row in rows], dtype=np.int64)
        for doubt in _moved(doubts(held, np.stack([1 - probs[rows, at], probs[rows, at]], axis=1)), rows):
            yield doubt, key, not doubt.suggested, bool(doubt.suggested)


def _moved(found: Sequence[Doubt], rows: Ints) -> Iterator[Doubt]:
    """Yield doubts about some rows as those about the same rows among all."""
    for one in found:
        yield Doubt(int(rows[one.row]), one.suggested, one.probability, one.margin)
