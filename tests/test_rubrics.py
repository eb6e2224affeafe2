from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ml import rubrics
from ml.schema import Criterion, Group, Head, Kind

GROUPS = (
    Group("opening", "Opening", (Criterion("phrase", "", ""),)),
    Group("hold", "Hold", (Criterion("explains", "", ""), Criterion("thanks", "", ""))),
)
HEAD = Head("quality", "Quality", Kind.RUBRIC, "", groups=GROUPS)
NAN = np.nan


def test_columns_are_every_yes_and_then_every_applies() -> None:
    assert rubrics.columns(HEAD) == (
        *("opening.phrase", "hold.explains", "hold.thanks"),
        *("opening.phrase.applies", "hold.explains.applies", "hold.thanks.applies"),
    )


def test_what_is_absent_is_unknown_and_what_does_not_apply_has_no_yes_or_no() -> None:
    answer = {"opening": {"phrase": True}, "hold": {"explains": None}, "gone": {"x": True}}
    np.testing.assert_array_equal(rubrics.encode(answer, HEAD), [1, NAN, NAN, 1, 0, NAN])
    np.testing.assert_array_equal(rubrics.encode({"hold": {"thanks": False}}, HEAD), [NAN, NAN, 0, NAN, NAN, 1])


@given(st.lists(st.sampled_from([True, False, None]), min_size=3, max_size=3))
def test_marks_come_back_from_their_columns(marks) -> None:
    yes, applies = np.split(rubrics.encode(rubrics.decode(marks, HEAD), HEAD), 2)
    assert [bool(one) if does else None for one, does in zip(yes, applies, strict=True)] == marks
