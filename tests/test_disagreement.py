"""How far two answers are apart."""

from __future__ import annotations

from typing import Any

import pytest

from ml import disagreement
from ml.disagreement import Distance
from ml.schema import Criterion, Group, Head, Kind, Label
from tests import tiny

SCHEMA = tiny.toy_schema()
GROUP = Group("hold", "Hold", tuple(Criterion(key, key, "") for key in ("asks", "thanks", "explains")))
RUBRIC = Head("manner", "Manner", Kind.RUBRIC, "", groups=(GROUP,))
LEVEL = Head("level", "Level", Kind.CHOICE, "", tuple(Label(key, key, key) for key in "12345"), ordered=True)
MOOD, NAMES, PLACE = SCHEMA.head("mood"), SCHEMA.head("names"), SCHEMA.head("place")


def span(start: int, end: int, label: str = "NAME") -> dict[str, Any]:
    return {"start": start, "end": end, "label": label}


@pytest.mark.parametrize(
    ("head", "one", "other", "apart", "exact"),
    [
        pytest.param(PLACE, "sea", "sea", 0, 0, id="the same choice"),
        pytest.param(PLACE, "sea", "land", 1, 1, id="another choice"),
        pytest.param(LEVEL, "2", "3", 1 / 4, 1 / 4, id="neighbours in order"),
        pytest.param(LEVEL, "5", "1", 1, 1, id="the ends of an order"),
        pytest.param(LEVEL, "2", "9", 1, 1, id="a label that the schema lost"),
        pytest.param(MOOD, ["calm"], ["calm", "loud"], 1 - 2 / 3 / 2, 1 - 2 / 3 / 2, id="a part of a set"),
        pytest.param(MOOD, [], ["calm"], 1, 1, id="none and some"),
        pytest.param(NAMES, [span(0, 4)], [span(0, 4)], 0, 0, id="the same span"),
        pytest.param(NAMES, [span(0, 4)], [span(2, 9)], 0, 1, id="spans that overlap"),
        pytest.param(NAMES, [span(0, 4), span(8, 9)], [span(1, 4)], 1 / 3, 1, id="one of two overlaps"),
        pytest.param(NAMES, [span(0, 4)], [span(0, 4, "PLACE")], 1, 1, id="another label"),
        pytest.param(NAMES, [], [span(0, 4)], 1, 1, id="no span and one"),
        pytest.param(
            RUBRIC,
            {"hold": {"asks": True, "thanks": None}},
            {"hold": {"asks": True, "thanks": False, "explains": True}},
            2 / 3,
            2 / 3,
            id="marks",
        ),
    ],
)
def test_two_answers_are_apart(head, one, other, apart, exact) -> None:
    expected = Distance(pytest.approx(apart), pytest.approx(exact))
    assert disagreement.distance(head, one, other) == disagreement.distance(head, other, one) == expected


def test_of_several_answers_the_farthest_count_and_the_one_in_the_middle_is_closest() -> None:
    answers = ["1", "4", "3"]
    assert disagreement.widest(LEVEL, answers) == Distance(0.75, 0.75)
    assert disagreement.closest(LEVEL, answers) == 2
    assert disagreement.closest(LEVEL, ["2", "3"]) == 0
