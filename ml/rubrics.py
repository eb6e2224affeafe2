"""Rubric answers as the numbers that a network learns and scores. numpy only.

A criterion has two columns: whether the answer is yes, given that it applies, and whether it applies. The columns of
all criteria's yes come first, groups and criteria in schema order, and those of "applies" follow in the same order.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ml.scales import Floats
from ml.schema import Head
from ml.types import Rubric


def criteria(head: Head) -> tuple[str, ...]:
    """Return the criteria as "group.criterion", in schema order; there are R."""
    return tuple(f"{group.key}.{criterion.key}" for group in head.groups for criterion in group.criteria)


def columns(head: Head) -> tuple[str, ...]:
    """Return the names of the 2R columns: "group.criterion" for yes, then "group.criterion.applies"."""
    keys = criteria(head)
    return keys + tuple(f"{key}.applies" for key in keys)


def encode(answer: Rubric, head: Head) -> Floats:
    """Return an answer's columns, (2R,): 1, 0, or NaN where nothing is known.

    A criterion that is absent is known in neither column, one that is not applicable only as not applying. Groups and
    criteria that the schema dropped say nothing.
    """
    marks = [answer.get(group.key, {}).get(one.key, np.nan) for group in head.groups for one in group.criteria]
    yes = [np.nan if mark is None else float(mark) for mark in marks]
    applies = [0.0 if mark is None else np.nan if np.isnan(mark) else 1.0 for mark in marks]
    return np.array(yes + applies)


def decode(marks: Sequence[bool | None], head: Head) -> Rubric:
    """Return the answer with these R marks, criteria in schema order."""
    left = iter(marks)
    return {group.key: {one.key: next(left) for one in group.criteria} for group in head.groups}
