"""Measures of how good answers are, each with what always answering the commonest would score. numpy only.

Every measure is between 0 and 1. Higher is better for all but the calibration error.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Hashable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ml.schema import Head, Kind, Schema
from ml.types import Answer, Example, HeadPrediction, Prediction

Items: TypeAlias = Collection[Hashable]  # What one answer holds: labels, or spans as (start, end, label)

ECE_BINS = 15  # As in Guo et al. (2017), so that figures compare with published ones


def accuracy(truth: Sequence[Hashable], answers: Sequence[Hashable]) -> float:
    """Return the share of answers that are right."""
    _check(truth, answers)
    return sum(true == answer for true, answer in zip(truth, answers, strict=True)) / len(truth)


def accuracy_interval(accuracy: float, n: int) -> tuple[float, float]:
    """Return the 95% interval of an accuracy measured on `n` items, both ends between 0 and 1.

    Source: Wilson (1927), Probable Inference, the Law of Succession, and Statistical Inference.
    """
    z = 1.96
    centre = (accuracy + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(accuracy * (1 - accuracy) / n + z**2 / (4 * n**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def micro_f1(truth: Sequence[Items], answers: Sequence[Items]) -> float:
    """Return F1 over all items of all cases together; 1 where there are none on either side."""
    _check(truth, answers)
    hits = sum(len(set(true) & set(answer)) for true, answer in zip(truth, answers, strict=True))
    total = sum(len(set(true)) for true in truth) + sum(len(set(answer)) for answer in answers)
    return 2 * hits / total if total else 1.0


def macro_f1(truth: Sequence[Items], answers: Sequence[Items]) -> float:
    """Return the mean over labels of their F1, over the labels that occur on either side; 1 where there are none."""
    _check(truth, answers)
    hits: Counter[Hashable] = Counter()
    total: Counter[Hashable] = Counter()
    for true, answer in zip(truth, answers, strict=True):
        hits.update(set(true) & set(answer))
        total.update(set(true))
        total.update(set(answer))
    return float(np.mean([2 * hits[label] / count for label, count in total.items()])) if total else 1.0


def calibration_error(confidence: Sequence[float], right: Sequence[bool]) -> float:
    """Return the expected calibration error over 15 bins of equal width.

    Args:
        confidence: shape (n,), between 0 and 1.
        right: shape (n,), whether each answer is.

    Returns:
        The mean distance between confidence and the share of right answers, weighted by bin; 0 is best.

    Source: Guo et al. (2017), On Calibration of Modern Neural Networks, section 2.
    """
    _check(confidence, right)
    levels: NDArray[np.float64] = np.asarray(confidence, dtype=np.float64)
    bins = np.clip(np.ceil(levels * ECE_BINS).astype(int) - 1, 0, ECE_BINS - 1)
    gaps = np.bincount(bins, weights=levels - np.asarray(right, dtype=np.float64), minlength=ECE_BINS)
    return float(np.abs(gaps).sum() / len(levels))


def evaluate(schema: Schema, examples: Sequence[Example], predictions: Sequence[Prediction]) -> dict[str, Any]:
    """Measure each head that the predictions answer, on the examples that have a label for it.

    Returns:
        For each such head `n`, its main measure (`accuracy` for choice, `micro_f1` for choices and spans), `macro_f1`,
        `majority` (the main measure of always giving the commonest answer) and `ece` (None without confidences).
    """
    found = {}
    for head in schema.of_kind(Kind.CHOICE, Kind.CHOICES, Kind.SPANS):
        pairs = [
            (example.labels[head.key], prediction[head.key])
            for example, prediction in zip(examples, predictions, strict=True)
            if head.key in example.labels and head.key in prediction
        ]
        if pairs:
            found[head.key] = evaluate_head(head, [true for true, _ in pairs], [given for _, given in pairs])
    return found


def evaluate_head(head: Head, truth: Sequence[Answer], given: Sequence[HeadPrediction]) -> dict[str, float | None]:
    """Measure the answers of one head against the truth; the keys are those of `evaluate`."""
    wanted = [items(answer) for answer in truth]
    answered = [items(prediction.answer) for prediction in given]
    commonest = [Counter(wanted).most_common(1)[0][0]] * len(wanted)
    main = accuracy if head.kind == Kind.CHOICE else micro_f1
    levels = [prediction.confidence for prediction in given if prediction.confidence is not None]
    right = [true == answer for true, answer in zip(wanted, answered, strict=True)]
    return {
        "n": len(wanted),
        main.__name__: main(wanted, answered),
        "macro_f1": macro_f1(wanted, answered),
        "majority": main(wanted, commonest),
        "ece": calibration_error(levels, right) if len(levels) == len(right) else None,
    }


def items(answer: Answer) -> frozenset[Hashable]:
    """Return what an answer holds, for comparison: its labels, or its spans as (start, end, label)."""
    if isinstance(answer, str):
        return frozenset([answer])
    if isinstance(answer, dict):
        raise TypeError("a rubric has no items; compare its criteria")
    return frozenset(item if isinstance(item, str) else (item["start"], item["end"], item["label"]) for item in answer)


def _check(truth: Collection[Any], answers: Collection[Any]) -> None:
    if len(truth) != len(answers) or not len(truth):
        raise ValueError(f"{len(truth)} truths and {len(answers)} answers; expected as many of each, and 1 or more")
