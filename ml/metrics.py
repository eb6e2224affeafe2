"""Measures of how good answers are, each with what always answering the commonest would score. numpy only.

Every measure is between 0 and 1. Higher is better for all but the calibration error, which is also subject to chance: a
model whose confidences are perfect shows some too on few cases, and `ece_perfect` says how much.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ml.schema import Head, Kind, Schema
from ml.types import Answer, Example, HeadPrediction, Prediction, spans_of

Items: TypeAlias = Collection[Hashable]  # What one answer holds: labels, or spans as (start, end, label)
Ints: TypeAlias = NDArray[np.intp]

ECE_BINS = 15  # As in Guo et al. (2017), so that figures compare with published ones
DRAWS = 1000  # Resamples of the cases, and simulated truths, from which the uncertainty of a calibration error is told
MOST_AT_ONCE = 2_000_000  # Random numbers that are held in memory together


@dataclass(frozen=True, slots=True)
class Confidences:
    """How sure n answers are, whether each is right, and which case each is of."""

    levels: Sequence[float]
    right: Sequence[bool]
    cases: Sequence[int] | Ints


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


def macro_f1(
    truth: Sequence[Items], answers: Sequence[Items], *, label_of: Callable[[Any], Hashable] = lambda item: item
) -> float:
    """Return the mean over labels of their F1, over the labels that occur on either side; 1 where there are none.

    Args:
        truth: items of each case.
        answers: items of each case.
        label_of: the label of an item, where it is not the item itself.
    """
    _check(truth, answers)
    hits: Counter[Hashable] = Counter()
    total: Counter[Hashable] = Counter()
    for true, answer in zip(truth, answers, strict=True):
        hits.update(map(label_of, set(true) & set(answer)))
        total.update(map(label_of, set(true)))
        total.update(map(label_of, set(answer)))
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
    levels, is_right = np.asarray(confidence, dtype=np.float64), np.asarray(right, dtype=np.float64)
    return float(np.abs((levels - is_right) @ _bins(levels)).sum() / len(levels))


def calibration_error_interval(
    confidence: Sequence[float], right: Sequence[bool], cases: Sequence[int] | Ints, rng: np.random.Generator
) -> tuple[float, float]:
    """Return the 95% interval of a calibration error, by drawing cases again and again.

    Args:
        confidence: of n answers.
        right: whether each answer is.
        cases: which case each answer is of: several spans of one case are drawn together.
        rng: what draws.

    Source: Efron (1979), Bootstrap Methods.
    """
    _, rows = np.unique(cases, return_inverse=True)
    n_cases = int(rows.max()) + 1
    off, counts = gaps(Confidences(confidence, right, rows), n_cases)
    errors = [np.abs(times @ off).sum(axis=1) / (times @ counts) for times in draws(n_cases, rng)]
    low, high = np.quantile(np.concatenate(errors), [0.025, 0.975])
    return float(low), float(high)


def draws(n_cases: int, rng: np.random.Generator) -> Iterator[NDArray[np.float64]]:
    """Draw as many cases as there are, again and again; yield how often each came, in blocks of (draws, n_cases)."""
    for size in _blocks(n_cases):
        drawn = rng.integers(n_cases, size=(size, n_cases)) + np.arange(size)[:, None] * n_cases
        yield np.bincount(drawn.ravel(), minlength=size * n_cases).reshape(size, n_cases).astype(np.float64)


def gaps(said: Confidences, n_cases: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return what each case adds to the gap of each bin, (n_cases, 15), and how many answers it has, (n_cases,)."""
    levels, is_right = np.asarray(said.levels, dtype=np.float64), np.asarray(said.right, dtype=np.float64)
    rows = np.asarray(said.cases, dtype=np.intp)
    found = np.zeros((n_cases, ECE_BINS))
    np.add.at(found, rows, (levels - is_right)[:, None] * _bins(levels))
    return found, np.bincount(rows, minlength=n_cases).astype(np.float64)


def calibration_error_if_perfect(confidence: Sequence[float], rng: np.random.Generator) -> float:
    """Return the calibration error that answers with these confidences show on average where the confidences are true.

    Args:
        confidence: of n answers.
        rng: what draws whether each is right.

    Source: Bröcker and Smith (2007), Increasing the Reliability of Reliability Diagrams, section 3.
    """
    levels = np.asarray(confidence, dtype=np.float64)
    bins = _bins(levels)
    errors = [
        np.abs(levels @ bins - (rng.random((size, len(levels))) < levels) @ bins).sum(axis=1) / len(levels)
        for size in _blocks(len(levels))
    ]
    return float(np.concatenate(errors).mean())


def _bins(levels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return in which bin each confidence is, as 0 and 1: (n,) to (n, 15)."""
    bins = np.clip(np.ceil(levels * ECE_BINS).astype(int) - 1, 0, ECE_BINS - 1)
    result: NDArray[np.float64] = np.eye(ECE_BINS)[bins]
    return result


def _blocks(width: int) -> list[int]:
    """Split the draws so that none holds too many numbers at once."""
    size = max(1, min(DRAWS, MOST_AT_ONCE // width))
    return [min(size, DRAWS - begin) for begin in range(0, DRAWS, size)]


def evaluate(
    schema: Schema,
    examples: Sequence[Example],
    predictions: Sequence[Prediction],
    *,
    rng: np.random.Generator | None = None,
) -> dict[str, Any]:
    """Measure each head that the predictions answer, on the examples that have a label for it.

    Args:
        schema: the heads.
        examples: with labels.
        predictions: one for each example.
        rng: draws for the last two measures; without one, they come out alike every time.

    Returns:
        For each such head `n`, the number of cases; its main measure, `accuracy` for choice, `micro_f1` for choices and
        spans, and for rubric the `accuracy` over labelled criteria; `macro_f1`, over labels, or over the yes, no and
        not applicable of each criterion; `majority`, the main measure of always giving the commonest answer, of each
        criterion for rubric, and none for spans; `ece`, over predicted spans for spans and for rubric over the cases
        that are labelled in full, with its 95% interval `ece_interval`, [low, high], and `ece_perfect`, what a
        perfectly calibrated model would show. The last three are None without confidences.
    """
    rng = rng or np.random.default_rng(0)
    found = {}
    for head in schema.heads:
        pairs = [
            (example.labels[head.key], prediction[head.key])
            for example, prediction in zip(examples, predictions, strict=True)
            if head.key in example.labels and head.key in prediction
        ]
        if pairs:
            found[head.key] = evaluate_head(head, [true for true, _ in pairs], [given for _, given in pairs], rng=rng)
    return found


def evaluate_head(
    head: Head, truth: Sequence[Answer], given: Sequence[HeadPrediction], *, rng: np.random.Generator
) -> dict[str, Any]:
    """Measure the answers of one head against the truth; the keys are those of `evaluate`."""
    wanted = [items(answer) for answer in truth]
    answered = [items(prediction.answer) for prediction in given]
    if head.kind == Kind.RUBRIC:  # What is not labelled is neither right nor wrong
        answered = [_labelled(answer, true) for answer, true in zip(answered, wanted, strict=True)]
    main = accuracy if head.kind == Kind.CHOICE else share_right if head.kind == Kind.RUBRIC else micro_f1
    return {
        "n": len(wanted),
        main_metric(head): main(wanted, answered),
        "macro_f1": macro_f1(wanted, answered, label_of=_label_of_span)
        if head.kind == Kind.SPANS
        else macro_f1(wanted, answered),
        "majority": main(wanted, _commonest(head, wanted)),
        **_calibration(head, truth, given, rng),
    }


def share_right(truth: Sequence[Items], answers: Sequence[Items]) -> float:
    """Return the share of the truth's items that are answered so, over all cases together; 1 where there are none."""
    _check(truth, answers)
    hits = sum(len(set(true) & set(answer)) for true, answer in zip(truth, answers, strict=True))
    total = sum(len(set(true)) for true in truth)
    return hits / total if total else 1.0


def _commonest(head: Head, wanted: Sequence[frozenset[Any]]) -> list[frozenset[Any]]:
    """Return the answers of who always gives the commonest."""
    if head.kind == Kind.SPANS:
        return [frozenset()] * len(wanted)  # No place is common to texts
    if head.kind == Kind.RUBRIC:
        counts = Counter(item for true in wanted for item in true)
        best = {criterion: (criterion, value) for (criterion, value), _ in reversed(counts.most_common())}
        return [frozenset(best[criterion] for criterion, _ in true) for true in wanted]
    return [Counter(wanted).most_common(1)[0][0]] * len(wanted)


def _label_of_span(item: tuple[int, int, str]) -> str:
    return item[2]


def _labelled(answer: frozenset[Any], true: frozenset[Any]) -> frozenset[Any]:
    criteria = {criterion for criterion, _ in true}
    return frozenset(item for item in answer if item[0] in criteria)


def confidences(head: Head, truth: Sequence[Answer], given: Sequence[HeadPrediction]) -> Confidences | None:
    """Return how sure the answers of a head are, and which are right, over what has a confidence.

    That is each predicted span, and for rubric the cases that are labelled in full. None without confidences.
    """
    n_criteria = sum(len(group.criteria) for group in head.groups)
    found: list[tuple[float | None, bool, int]] = []
    for case, (answer, prediction) in enumerate(zip(truth, given, strict=True)):
        true = items(answer)
        if head.kind == Kind.SPANS:
            said = spans_of(prediction.answer)
            found += [(span.get("confidence"), bool(items([span]) & true), case) for span in said]
        elif head.kind != Kind.RUBRIC or len(true) == n_criteria:
            found.append((prediction.confidence, true == items(prediction.answer), case))
    levels = [level for level, _, _ in found if level is not None]
    if not found or len(levels) < len(found):
        return None
    return Confidences(levels, [is_right for _, is_right, _ in found], [case for _, _, case in found])


def _calibration(
    head: Head, truth: Sequence[Answer], given: Sequence[HeadPrediction], rng: np.random.Generator
) -> dict[str, Any]:
    """Return how far confidences are from the share of right answers, over what has a confidence."""
    said = confidences(head, truth, given)
    if said is None:
        return {"ece": None, "ece_interval": None, "ece_perfect": None}
    return {
        "ece": calibration_error(said.levels, said.right),
        "ece_interval": list(calibration_error_interval(said.levels, said.right, said.cases, rng)),
        "ece_perfect": calibration_error_if_perfect(said.levels, rng),
    }


def main_metric(head: Head) -> str:
    """Return the name of the measure that stands for a head."""
    return "accuracy" if head.kind in (Kind.CHOICE, Kind.RUBRIC) else "micro_f1"


def items(answer: Answer) -> frozenset[Any]:
    """Return what an answer holds, for comparison, each once.

    Its labels, its spans as (start, end, label), or a rubric's criteria as ("group.criterion", value). Spans without
    a character do not count.
    """
    if isinstance(answer, str):
        return frozenset([answer])
    if isinstance(answer, dict):
        return frozenset((f"{group}.{key}", mark) for group, marks in answer.items() for key, mark in marks.items())
    return frozenset(
        item if isinstance(item, str) else (item["start"], item["end"], item["label"])
        for item in answer
        if isinstance(item, str) or item["start"] < item["end"]
    )


def _check(truth: Collection[Any], answers: Collection[Any]) -> None:
    if len(truth) != len(answers) or not len(truth):
        raise ValueError(f"{len(truth)} truths and {len(answers)} answers; expected as many of each, and 1 or more")
