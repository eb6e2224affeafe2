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

import numpy as np
from numpy.typing import NDArray

from ml import metrics
from ml.disagreement import equal, masi, overlapping
from ml.schema import Head, Kind
from ml.types import Answer

DRAWS = 1000  # Of the cases, for an interval
AT_ONCE = 2_000_000  # Cases of all draws that are held in memory together

Floats: TypeAlias = NDArray[np.float64]
Answers: TypeAlias = Mapping[str, Answer]  # Of one case, by annotator
Measure: TypeAlias = Callable[[Floats], Floats]  # Of how often each case counts, (n_draws, n_cases); NaN: undefined


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
            return {"alpha": _alpha([list(case.values()) for case in marks], rng), **each}
        case Kind.SPANS:
            return {"exact_f1": span_f1(held, rng), "partial_f1": span_f1(held, rng, is_partial=True)}


def of_pair(head: Head, cases: Sequence[tuple[Answer, Answer]], rng: np.random.Generator) -> dict[str, Agreement]:
    """Measure how far two people agree on one head.

    Args:
        head: of any kind.
        cases: what the one and the other answered to each case that both answered.
        rng: draws for the intervals.

    Returns:
        By name: "kappa" for `choice`, and for `rubric` over all criteria; "alpha" for `choices`, over sets that may
        agree in part; "exact_f1" and "partial_f1" for `spans`.
    """
    held = [(metrics.items(one), metrics.items(other)) for one, other in cases]
    match head.kind:
        case Kind.CHOICE:
            return {"kappa": kappa([one for one, _ in held], [other for _, other in held], rng)}
        case Kind.CHOICES:
            return {"alpha": alpha(held, rng, distance=masi)}
        case Kind.RUBRIC:
            marks = [(dict(one), dict(other)) for one, other in held]
            parts = [[(one[key], other[key]) for key in sorted(one.keys() & other.keys())] for one, other in marks]
            return {"kappa": _kappa([case for case in parts if case], rng)}
        case Kind.SPANS:
            return {"exact_f1": span_f1(held, rng), "partial_f1": span_f1(held, rng, is_partial=True)}


def kappa(first: Sequence[Hashable], second: Sequence[Hashable], rng: np.random.Generator | None = None) -> Agreement:
    """Return Cohen's kappa of two who answered the same cases; without what draws, it has no interval.

    Raises:
        ValueError: they did not answer as many.

    Source: Cohen (1960), A Coefficient of Agreement for Nominal Scales.
    """
    return _kappa([[pair] for pair in zip(first, second, strict=True)], rng)


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
    return _alpha([[case] for case in cases], rng, order=order, distance=distance)


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
    found = np.array([np.sum(pairs, axis=0) for pairs in sums], dtype=np.float64).reshape(-1, 2)
    return _with_interval(len(paired), lambda times: _ratio(times @ found[:, 0], times @ found[:, 1]), rng)


def _kappa(cases: Sequence[Sequence[tuple[Hashable, Hashable]]], rng: np.random.Generator | None) -> Agreement:
    """Return kappa over the parts of cases, each with what the one and the other answered; intervals draw cases."""
    values = list(dict.fromkeys(answer for case in cases for pair in case for answer in pair))
    one, other = (_counts([[pair[side] for pair in case] for case in cases], values) for side in (0, 1))
    same = np.array([sum(first == second for first, second in case) for case in cases], dtype=np.float64)

    def measure(times: Floats) -> Floats:
        firsts, seconds = times @ one, times @ other  # (n_draws, n_answers)
        total = firsts.sum(axis=1)
        chance = (firsts * seconds).sum(axis=1) / total**2
        return _ratio(times @ same / total - chance, 1 - chance)  # Where all are alike, chance alone agrees as well

    return _with_interval(len(cases), measure, rng)


def _alpha(
    cases: Sequence[Sequence[Sequence[Hashable]]],
    rng: np.random.Generator,
    *,
    order: Sequence[Hashable] | None = None,
    distance: Callable[[Any, Any], float] | None = None,
) -> Agreement:
    """Return alpha over the parts of cases, each answered by itself; intervals draw whole cases."""
    paired = [[part for part in case if len(part) > 1] for case in cases]
    kept = [case for case in paired if case]
    if not kept:
        return Agreement(0, None, None)
    values = list(order or dict.fromkeys(answer for case in kept for part in case for answer in part))
    counts = _counts([part for case in kept for part in case], values)  # (n_parts, n_answers)
    others = counts.sum(axis=1) - 1  # With how many answers each of a part is compared
    begins = np.cumsum([0, *(len(case) for case in kept[:-1])])
    totals = np.add.reduceat(counts, begins)  # (n_cases, n_answers)
    if order is None:
        table = _table(values, distance)
        apart = np.add.reduceat(((counts @ table) * counts).sum(axis=1) / others, begins)
    else:
        pairs = (counts[:, :, None] * counts[:, None, :]).reshape(len(counts), -1)
        together = np.add.reduceat(pairs / others[:, None], begins)  # (n_cases, n_answers * n_answers)

    def measure(times: Floats) -> Floats:
        drawn = times @ totals  # (n_draws, n_answers)
        n = drawn.sum(axis=1)
        if order is None:
            observed, expected = times @ apart, ((drawn @ table) * drawn).sum(axis=1)
        else:  # As far apart as there are answers between the two, half of each among them
            middles = drawn.cumsum(axis=1) - drawn / 2
            steps = (middles[:, :, None] - middles[:, None, :]) ** 2
            observed = ((times @ together) * steps.reshape(len(steps), -1)).sum(axis=1)
            expected = np.einsum("di,dij,dj->d", drawn, steps, drawn)
        return 1 - _ratio(observed * (n - 1), expected)

    return _with_interval(len(kept), measure, rng)


def _with_interval(n: int, measure: Measure, rng: np.random.Generator | None) -> Agreement:
    """Measure all of n cases, and draws of them; a draw on which the measure is undefined does not count."""
    value = float(measure(np.ones((1, n)))[0]) if n else np.nan
    if np.isnan(value):
        return Agreement(n, None, None)
    if rng is None:
        return Agreement(n, value, None)
    step = max(1, AT_ONCE // n)
    drawn = np.concatenate([measure(_draws(n, min(step, DRAWS - at), rng)) for at in range(0, DRAWS, step)])
    low, high = np.quantile(drawn[~np.isnan(drawn)], [0.025, 0.975])
    return Agreement(n, value, (float(low), float(high)))


def _draws(n: int, times: int, rng: np.random.Generator) -> Floats:
    """Draw n of n cases so many times and count how often each came, (times, n)."""
    places = rng.integers(n, size=(times, n)) + n * np.arange(times)[:, None]
    return np.bincount(places.ravel(), minlength=times * n).reshape(times, n).astype(np.float64)


def _ratio(part: Floats, whole: Floats) -> Floats:
    """Divide, and tell by NaN where there is nothing to divide by."""
    return np.divide(part, whole, out=np.full_like(whole, np.nan), where=whole != 0)


def _counts(cases: Sequence[Sequence[Hashable]], values: Sequence[Hashable]) -> Floats:
    """Count how often each answer was given to each case, (n_cases, n_answers)."""
    places = {value: at for at, value in enumerate(values)}
    found = np.zeros((len(cases), len(values)))
    for row, case in enumerate(cases):
        for answer in case:
            found[row, places[answer]] += 1
    return found


def _table(values: Sequence[Any], distance: Callable[[Any, Any], float] | None) -> Floats:
    """Return how far every two answers are apart, (n_answers, n_answers); without a distance, 1 if they differ."""
    if distance is None:
        return 1 - np.eye(len(values))
    return np.array([[distance(one, other) for other in values] for one in values])


def _by_criterion(case: Sequence[frozenset[Any]]) -> dict[str, list[bool | None]]:
    """Return what everybody said of each criterion that somebody answered."""
    found: dict[str, list[bool | None]] = {}
    for answer in case:
        for key, mark in answer:
            found.setdefault(key, []).append(mark)
    return found
