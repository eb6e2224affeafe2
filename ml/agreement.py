"""How far people, or models, who answer the same cases agree, beyond what chance would give.

1 is perfect agreement and 0 what chance gives; less is worse than chance. F1 over spans knows no chance: texts have so
many places that agreeing on one by chance is rare (Hripcsak and Rothschild 2005). Every figure comes with the number of
cases behind it and a 95% interval, from drawing those cases again and again (Efron 1979).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, TypeAlias

import krippendorff
import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import cohen_kappa_score

from ml import metrics
from ml.disagreement import equal, masi, overlapping
from ml.schema import Head, Kind
from ml.types import Answer

DRAWS = 1000  # Of the cases, for an interval

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]
Answers: TypeAlias = Mapping[str, Answer]  # Of one case, by annotator


@dataclass(frozen=True, slots=True)
class Agreement:
    """A measure over `n` cases with its 95% interval; both are None where all answers are alike, or there are none."""

    n: int
    value: float | None
    interval: tuple[float, float] | None


def of_head(head: Head, cases: Sequence[Answers], rng: np.random.Generator) -> dict[str, Agreement]:
    """Measure how far the annotators of one head agree.

    Args:
        head: of any kind.
        cases: the answers to each case by annotator; those that fewer than two answered say nothing.
        rng: draws for the intervals.

    Returns:
        By name: "alpha" for `choice`, ordinal where the labels are ordered; "alpha" for `choices`, over sets that may
        agree in part, and "alpha LABEL" for each label; "exact_f1" and "partial_f1" for `spans`; and for `rubric`
        "alpha" over all criteria, and "alpha GROUP.CRITERION" for each.
    """
    shared = [list(case.values()) for case in cases if len(case) > 1]
    held = [[metrics.items(answer) for answer in case] for case in shared]
    match head.kind:
        case Kind.CHOICE:
            keys = [[str(answer) for answer in case] for case in shared]
            return {"alpha": alpha(keys, rng, order=head.keys if head.ordered else None)}
        case Kind.CHOICES:
            by_label = {key: [[key in answer for answer in case] for case in held] for key in head.keys}
            each = {f"alpha {key}": alpha(answers, rng) for key, answers in by_label.items()}
            return {"alpha": alpha(held, rng, distance=masi), **each}
        case Kind.RUBRIC:
            marks = [_by_criterion(case) for case in held]
            every = sorted({key for case in marks for key in case})
            each = {f"alpha {key}": alpha([case.get(key, []) for case in marks], rng) for key in every}
            return {"alpha": _alpha_of_parts([list(case.values()) for case in marks], rng), **each}
        case Kind.SPANS:
            return {"exact_f1": span_f1(held, rng), "partial_f1": span_f1(held, rng, is_partial=True)}


def kappa(first: Sequence[Hashable], second: Sequence[Hashable], rng: np.random.Generator | None = None) -> Agreement:
    """Return Cohen's kappa of two who answered the same cases; without what draws, it has no interval.

    Raises:
        ValueError: they did not answer as many.

    Source: Cohen (1960), A Coefficient of Agreement for Nominal Scales.
    """
    codes = {answer: at for at, answer in enumerate(dict.fromkeys([*first, *second]))}
    pairs = np.array([(codes[one], codes[other]) for one, other in zip(first, second, strict=True)], dtype=np.int64)

    def measure(rows: Ints) -> float | None:
        drawn = pairs[rows]
        is_one = bool((drawn == drawn[0, 0]).all())  # Then chance alone agrees as well
        return None if is_one else float(cohen_kappa_score(drawn[:, 0], drawn[:, 1]))

    return _with_interval(len(pairs), measure, rng)


def alpha(
    cases: Sequence[Sequence[Hashable]],
    rng: np.random.Generator,
    *,
    order: Sequence[Hashable] | None = None,
    distance: Callable[[Any, Any], float] | None = None,
) -> Agreement:
    """Return Krippendorff's alpha over cases that any number of people answered.

    Args:
        cases: the answers to each, whoever gave them.
        rng: draws for the interval.
        order: all possible answers in order, for the ordinal alpha; without it answers are the same or not.
        distance: between two answers, from 0 to 1, instead.

    Source: Krippendorff (2011), Computing Krippendorff's Alpha-Reliability.
    """
    paired = [case for case in cases if len(case) > 1]
    values = list(order or dict.fromkeys(answer for case in paired for answer in case))
    counts = _counts(paired, values)
    level = "ordinal" if order else "nominal" if distance is None else _metric(values, distance)
    return _with_interval(len(paired), lambda rows: _alpha(counts[rows], level), rng)


def span_f1(
    cases: Sequence[Sequence[frozenset[Any]]], rng: np.random.Generator, *, is_partial: bool = False
) -> Agreement:
    """Return F1 between the spans of every two people who read the same case, over all cases together.

    Args:
        cases: what each person found in each case, as `metrics.items` gives it.
        rng: draws for the interval.
        is_partial: count a span as found where one of the same label overlaps it, instead of one exactly like it.

    Source: Hripcsak and Rothschild (2005), Agreement, the F-Measure, and Reliability in Information Retrieval.
    """
    paired = [case for case in cases if len(case) > 1]
    count = overlapping if is_partial else equal
    sums = [[(count(a, b), len(a) + len(b)) for a, b in combinations(case, 2)] for case in paired]
    found = np.array([np.sum(pairs, axis=0) for pairs in sums], dtype=np.int64).reshape(-1, 2)

    def measure(rows: Ints) -> float | None:
        hits, total = found[rows].sum(axis=0)
        return float(hits / total) if total else None

    return _with_interval(len(paired), measure, rng)


def _with_interval(n: int, measure: Callable[[Ints], float | None], rng: np.random.Generator | None) -> Agreement:
    """Measure all of n cases, and draws of them; a draw on which the measure is undefined does not count."""
    value = measure(np.arange(n)) if n else None
    if value is None or rng is None:
        return Agreement(n, value, None)
    drawn = [found for _ in range(DRAWS) if (found := measure(rng.integers(n, size=n))) is not None]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Agreement(n, value, (float(low), float(high)))


def _alpha(counts: Ints, level: Any) -> float | None:
    """Return alpha from how often each answer was given to each case, (n_cases, n_answers), twice or more each."""
    if (counts.sum(axis=0) > 0).sum() < 2:
        return None
    return float(krippendorff.alpha(value_counts=counts, level_of_measurement=level))


def _alpha_of_parts(cases: Sequence[Sequence[Sequence[Hashable]]], rng: np.random.Generator) -> Agreement:
    """Return alpha over the parts of cases, each answered by itself; intervals draw whole cases."""
    paired = [[part for part in case if len(part) > 1] for case in cases]
    kept = [case for case in paired if case]
    counts = _counts([part for case in kept for part in case], [True, False, None])
    ends = np.cumsum([len(case) for case in kept])
    ranges = [np.arange(end - len(case), end) for case, end in zip(kept, ends, strict=True)]
    return _with_interval(
        len(kept), lambda rows: _alpha(counts[np.concatenate([ranges[row] for row in rows])], "nominal"), rng
    )


def _counts(cases: Sequence[Sequence[Hashable]], values: Sequence[Hashable]) -> Ints:
    """Count how often each answer was given to each case, (n_cases, n_answers)."""
    places = {value: at for at, value in enumerate(values)}
    found = np.zeros((len(cases), len(values)), dtype=np.int64)
    for row, case in enumerate(cases):
        for answer in case:
            found[row, places[answer]] += 1
    return found


def _metric(values: Sequence[Any], distance: Callable[[Any, Any], float]) -> Callable[..., Floats]:
    """Return a distance as the library takes it: between the places of answers."""
    table = np.array([[distance(one, other) for other in values] for one in values])

    def between(_: Any, __: Any, i1: Ints, i2: Ints, **___: Any) -> Floats:
        found: Floats = table[i1, i2]
        return found

    return between


def _by_criterion(case: Sequence[frozenset[Any]]) -> dict[str, list[bool | None]]:
    """Return what everybody said of each criterion that somebody answered."""
    found: dict[str, list[bool | None]] = {}
    for answer in case:
        for key, mark in answer:
            found.setdefault(key, []).append(mark)
    return found
