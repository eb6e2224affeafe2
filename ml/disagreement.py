"""How far two people's answers to one head of one case are apart: 0 is the same answer, 1 has nothing in common.

`ml.agreement` says what that means over many cases, beside what chance would give.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from ml.metrics import items
from ml.schema import Head, Kind
from ml.types import Answer


@dataclass(frozen=True, slots=True)
class Distance:
    """How far answers are apart, and how far if only spans that are exactly alike count; between 0 and 1."""

    apart: float
    exact: float


def widest(head: Head, answers: Sequence[Answer]) -> Distance:
    """Return the distance of those two answers that are farthest apart.

    A choice is 0 or 1, and where its labels are in order the share of the steps from one end to the other. Sets are
    compared by MASI, spans by F1 between the two people, where one of the same label that overlaps counts, and rubrics
    by the share of their criteria on which they differ.
    """
    found = [distance(head, one, other) for one, other in combinations(answers, 2)]
    return Distance(max(one.apart for one in found), max(one.exact for one in found))


def closest(head: Head, answers: Sequence[Answer]) -> int:
    """Return the place of the answer that is nearest to all others, the first of those that are equally near."""
    return min(range(len(answers)), key=lambda at: sum(distance(head, answers[at], other).apart for other in answers))


def distance(head: Head, one: Answer, other: Answer) -> Distance:
    """Return how far two answers are apart."""
    first, second = items(one), items(other)
    if first == second:
        return Distance(0.0, 0.0)
    match head.kind:
        case Kind.CHOICE:
            apart = _steps(head, str(one), str(other))
        case Kind.CHOICES:
            apart = masi(first, second)
        case Kind.RUBRIC:
            criteria = {key for key, _ in first | second}
            apart = len({key for key, _ in first ^ second}) / len(criteria)
        case Kind.SPANS:
            total = len(first) + len(second)
            return Distance(1 - overlapping(first, second) / total, 1 - equal(first, second) / total)
    return Distance(apart, apart)


def masi(one: frozenset[Any], other: frozenset[Any]) -> float:
    """Return how far two sets are apart: 0 where they are the same, 1 where they share nothing.

    Source: Passonneau (2006), Measuring Agreement on Set-valued Items (MASI) for Semantic and Pragmatic Annotation.
    """
    if one == other:
        return 0.0
    shared = one & other
    likeness = 2 / 3 if one <= other or other <= one else 1 / 3
    return 1.0 - likeness * len(shared) / len(one | other)


def equal(one: frozenset[Any], other: frozenset[Any]) -> int:
    """Count on both sides the spans that are on the other side too."""
    return 2 * len(one & other)


def overlapping(one: frozenset[Any], other: frozenset[Any]) -> int:
    """Count on both sides the spans that one of the same label on the other side overlaps."""
    return sum(any(_overlap(a, b) for b in other) for a in one) + sum(any(_overlap(a, b) for a in one) for b in other)


def _overlap(one: tuple[int, int, str], other: tuple[int, int, str]) -> bool:
    return one[2] == other[2] and one[0] < other[1] and other[0] < one[1]


def _steps(head: Head, one: str, other: str) -> float:
    if not head.ordered or one not in head.by_key or other not in head.by_key:
        return 1.0
    return abs(head.keys.index(one) - head.keys.index(other)) / (len(head.keys) - 1)
