"""Answers to labelled cases by models that did not learn from them, one fold after another.

What was learnt from is answered better than what comes next. Measures, and doubts about a label, need answers of a
model that never saw the case, nor another one that says the same.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import GroupKFold

from ml import export, training
from ml.config import TrainConfig
from ml.encoder import Encoder
from ml.progress import OnProgress, Progress, ignore
from ml.schema import Head, Schema
from ml.training import TrainingError
from ml.types import Example, Prediction

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True)
class OutOfFold:
    """What was answered to each row by the model that did not learn from its fold, in the order of the rows.

    A head that had too few labels outside of a fold is missing from the predictions of that fold.
    """

    rows: Sequence[Example]
    fold: Ints  # (n_rows,)
    predictions: list[Prediction]

    def probabilities(self, head: Head) -> Floats:
        """Return the calibrated probability of each label, (n_rows, n_labels); nan where the head was not answered."""
        unknown = [np.nan] * len(head.keys)
        found = [answer.get(head.key) for answer in self.predictions]
        table = [
            [one.probabilities[key] for key in head.keys] if one and one.probabilities else unknown for one in found
        ]
        return np.array(table, dtype=np.float64).reshape(len(self.rows), len(head.keys))


def answer(
    rows: Sequence[Example],
    schema: Schema,
    config: TrainConfig,
    *,
    encoder: Encoder,
    count: int,
    exports: Path,
    progress: OnProgress = ignore,
) -> OutOfFold:
    """Train once for each fold on the other folds, as any training does, and answer the fold as the model is served.

    Args:
        rows: labelled cases.
        count: of the folds, 2 or more.
        exports: folder that keeps the exported encoder, which all folds share.

    Raises:
        TrainingError: there are fewer different texts than folds, or no head has labels enough outside of a fold.
    """
    fold = draw(rows, count, seed=config.seed)
    predictions: list[Prediction] = [{}] * len(rows)
    for number in range(count):
        told = _of_fold(progress, number, count)
        learnt = [row for row, at in zip(rows, fold, strict=True) if at != number]
        trained = training.train(learnt, schema, config, encoder=encoder, exports=exports, progress=told)
        left_out = np.flatnonzero(fold == number).tolist()
        said = export.predict(trained, [rows[row].text for row in left_out], encoder=trained.served)
        for row, prediction in zip(left_out, said, strict=True):
            predictions[row] = prediction
    return OutOfFold(rows, fold, predictions)


def draw(rows: Sequence[Example], count: int, *, seed: int) -> Ints:
    """Return the fold of each row, (n_rows,), at random and of about the same size.

    Rows of one conversation are in one fold, and so are those whose texts have the same words in the same order, in
    whatever case and with whatever marks between them.

    Raises:
        TrainingError: there are fewer such groups than folds.
    """
    groups = _groups(rows)
    found = len(np.unique(groups))
    if found < count:
        raise TrainingError(f"{found} different texts make no {count} folds; add cases, or ask for fewer folds")
    fold = np.zeros(len(rows), dtype=np.int64)
    parts = GroupKFold(count, shuffle=True, random_state=seed).split(groups, groups=groups)
    for number, (_, left_out) in enumerate(parts):
        fold[left_out] = number
    return fold


def _groups(rows: Sequence[Example]) -> Ints:
    """Number the rows alike that must not be parted."""
    leader = list(range(len(rows)))

    def find(row: int) -> int:
        while leader[row] != row:
            leader[row] = row = leader[leader[row]]
        return row

    first: dict[tuple[str, ...], int] = {}
    for at, row in enumerate(rows):
        marks: list[tuple[str, ...]] = [("text", *re.findall(r"\w+", row.text.casefold()))]
        if row.conversation:
            marks.append(("conversation", row.source, row.conversation))
        for mark in marks:
            leader[find(at)] = find(first.setdefault(mark, at))
    return np.array([find(row) for row in range(len(rows))], dtype=np.int64)


def _of_fold(progress: OnProgress, number: int, count: int) -> OnProgress:
    def tell(found: Progress) -> None:
        progress(replace(found, phase=f"{found.phase} {number + 1}/{count}"))

    return tell
