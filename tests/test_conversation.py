from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml import conversation
from ml.conversation import ConversationTag, Evidence

SURE = {"buyer": 0.9, "browser": 0.1}
UNSURE = {"buyer": 0.3, "browser": 0.3}
TURNED = {"buyer": 0.2, "browser": 0.7}


def test_the_tag_is_the_label_of_the_highest_mean_and_says_which_messages_carry_it() -> None:
    found = conversation.tag([UNSURE, SURE, {"buyer": 0.6, "browser": 0.2}], None, 0.5)
    assert found == ConversationTag(
        tag="buyer",
        confidence=pytest.approx(0.6),
        switched=False,
        probabilities={"buyer": pytest.approx(0.6), "browser": pytest.approx(0.2)},
        evidence=(Evidence(1, 0.9), Evidence(2, 0.6)),
    )


def test_only_the_last_messages_count() -> None:
    assert conversation.tag([SURE, SURE, TURNED, TURNED, TURNED], "buyer", 0.5).tag == "browser"
    assert conversation.tag([SURE, SURE, TURNED], "buyer", 0.5).tag == "buyer"
    newest = conversation.tag([SURE, SURE, TURNED], "buyer", 0.5, window=1)
    assert (newest.tag, newest.switched, newest.evidence) == ("browser", True, (Evidence(0, 0.7),))


def test_no_label_that_is_probable_enough_is_no_tag_and_no_switch() -> None:
    found = conversation.tag([UNSURE], "buyer", 0.5)
    assert (found.tag, found.confidence, found.switched, found.evidence) == (None, None, False, ())
    assert found.probabilities == UNSURE


@pytest.mark.parametrize(("previous", "switched"), [(None, False), ("buyer", False), ("browser", True)])
def test_a_switch_is_another_tag_than_the_last_one(previous, switched) -> None:
    assert conversation.tag([SURE], previous, 0.5).switched is switched


def test_a_label_below_its_own_threshold_makes_room_for_the_next() -> None:
    found = conversation.tag([{"buyer": 0.6, "browser": 0.5}], None, {"buyer": 0.7, "browser": 0.4})
    assert (found.tag, found.confidence) == ("browser", 0.5)


def test_a_mean_at_the_threshold_is_enough() -> None:
    assert conversation.tag([{"buyer": 0.4}] * 3, None, 0.4).tag == "buyer"


def test_of_messages_that_tell_as_much_the_newest_comes_first() -> None:
    found = conversation.tag([SURE, SURE], None, 0.5)
    assert found.evidence == (Evidence(1, 0.9), Evidence(0, 0.9))


def test_following_a_conversation_tags_it_after_each_message() -> None:
    found = conversation.follow([SURE, UNSURE, UNSURE, UNSURE, TURNED, TURNED], 0.45)
    assert [one.tag for one in found] == ["buyer", "buyer", "buyer", None, None, "browser"]
    assert [one.switched for one in found] == [False] * 5 + [True], "against the last tag that it had"
    assert found[-1].evidence == (Evidence(2, 0.7), Evidence(1, 0.7))
    assert conversation.follow([SURE, TURNED], 0.5, window=1)[-1].switched
    assert conversation.follow([], 0.5) == []


@given(
    st.lists(st.fixed_dictionaries({"a": st.floats(0, 1), "b": st.floats(0, 1)}), min_size=1, max_size=6),
    st.floats(0, 1),
)
def test_a_tag_always_has_evidence_and_its_probability(predictions, threshold) -> None:
    found = conversation.tag(predictions, None, threshold)
    if found.tag is None:
        assert max(found.probabilities.values()) < threshold
    else:
        assert found.confidence == max(found.probabilities.values()) >= threshold
        assert found.evidence
        assert all(predictions[-3:][at][found.tag] == value for at, value in found.evidence)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(([], None, 0.5), "window is 3 and there are 0 messages; expected 1 or more", id="no message"),
        pytest.param(
            ([{"buyer": 0.5}, SURE], None, 0.5),
            "message 0 has the labels buyer; the newest has browser, buyer",
            id="messages with other labels",
        ),
        pytest.param(
            ([SURE], None, {"buyer": 0.5}),
            "thresholds are for buyer; expected browser, buyer",
            id="a threshold missing",
        ),
        pytest.param(
            ([SURE], "gone", 0.5), "previous is 'gone'; expected None or one of browser, buyer", id="a tag that is none"
        ),
    ],
)
def test_what_does_not_fit_together_is_refused(arguments, message) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        conversation.tag(*arguments)


def test_a_window_holds_a_message_or_more() -> None:
    with pytest.raises(ValueError, match="window is 0 and there are 1 messages"):
        conversation.tag([SURE], None, 0.5, window=0)
