"""What an annotator sends that only a supervisor may decide: urgent answers, and faulty ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ml.answers import Problem
from ml.policy import FlagKind
from tests.conftest import case_named, change_policy, helpline_prediction, listing, predict, submission, trained_version
from webapp.actions import reviews, submissions
from webapp.models import Case, CaseState
from webapp.roles import Role

ANSWERS = {"main_category": "VANE", "sub_category": "Child Neglect", "priority": "2"}
URGENT = ANSWERS | {"priority": "1"}
CALLED_URGENT = (FlagKind.URGENT, "priority", {"by": "annotator", "label": "1"})
SURE = helpline_prediction(sure=0.9)


@pytest.fixture
def decide(case: Case, person: Callable[..., Any]) -> Callable[[dict[str, Any]], None]:
    """Decide the case as a supervisor does who sees it as it stands."""
    supervisor = person(Role.SUPERVISOR)

    def save(answers: dict[str, Any]) -> None:
        reviews.decide(case, supervisor, answers=answers, revision=case_named("1").revision)

    return save


def raised(case: Case) -> list[tuple[str, str, dict[str, Any]]]:
    """The open flags of kinds that an annotator can cause, by head."""
    found = case.flags.filter(kind__in=[FlagKind.URGENT, FlagKind.INVALID], resolved_at=None).order_by("kind", "head")
    return list(found.values_list("kind", "head", "facts"))


def reason() -> str:
    (row,) = listing().rows
    return row.reason


# --- Urgent ----------------------------------------------------------------------------------------------------------


def test_an_annotator_who_calls_a_case_urgent_sends_it_to_review(case, say) -> None:
    say("Wanjiru", URGENT)
    assert (case_named("1").state, raised(case)) == (CaseState.REVIEW, [CALLED_URGENT])
    assert case.labels.get(head="priority").answer == "1"
    assert reason().startswith("an annotator answered Priority 1 Critical; ")


def test_two_annotators_who_both_call_a_case_urgent_do_not_decide_it(case, say) -> None:
    say("Wanjiru", URGENT, id=1)
    say("Otieno", URGENT, id=2)
    assert (case_named("1").state, raised(case)) == (CaseState.REVIEW, [CALLED_URGENT])


def test_an_urgent_answer_on_a_case_that_another_annotator_decided_sends_it_to_review(case, say) -> None:
    say("Wanjiru", ANSWERS, id=1)
    assert case_named("1").state == CaseState.DECIDED
    say("Otieno", URGENT, id=2)
    assert (case_named("1").state, raised(case)) == (CaseState.REVIEW, [CALLED_URGENT])


def test_a_skip_of_what_was_filled_in_as_urgent_is_no_answer(case, say) -> None:
    say("Wanjiru", URGENT, is_skip=True)
    assert (case_named("1").state, raised(case)) == (CaseState.LABELLING, [])


def test_a_new_prediction_leaves_what_an_annotator_called_urgent_in_review(helpline, case, say) -> None:
    say("Wanjiru", URGENT)
    for number, urgent in ((2, 0.05), (3, 0.5), (4, 0.05)):
        version = trained_version(helpline, number)
        assert predict(version, "1", helpline_prediction(sure=0.9, urgent=urgent)).state == CaseState.REVIEW
        assert raised(case) == [CALLED_URGENT]


def test_what_an_annotator_calls_urgent_takes_the_place_of_what_the_model_did(helpline, case, say) -> None:
    predict(trained_version(helpline, 2), "1", helpline_prediction(urgent=0.5))
    assert [facts["probability"] for _, _, facts in raised(case)] == [0.5]
    say("Wanjiru", URGENT)
    assert raised(case) == [CALLED_URGENT]
    assert predict(trained_version(helpline, 3), "1", SURE).state == CaseState.REVIEW
    assert raised(case) == [CALLED_URGENT]


def test_an_annotator_who_takes_the_urgent_answer_back_leaves_the_case_to_a_supervisor(case, say) -> None:
    say("Wanjiru", URGENT, minute=0)
    say("Wanjiru", ANSWERS, minute=1)
    assert (case_named("1").state, raised(case)) == (CaseState.REVIEW, [CALLED_URGENT])


@pytest.mark.parametrize("answers", [ANSWERS, URGENT], ids=["not urgent", "urgent"])
def test_what_a_supervisor_says_of_an_urgent_answer_stands(case, say, decide, answers) -> None:
    say("Wanjiru", URGENT, id=1)
    decide(answers)
    say("Otieno", ANSWERS, id=2)
    say("Wanjiru", {}, id=1, is_deletion=True)
    assert (case_named("1").state, raised(case)) == (CaseState.DECIDED, [])
    assert case.labels.get(head="priority").answer == answers["priority"]


def test_an_urgent_answer_after_a_review_that_knew_nothing_of_it_asks_again(case, say, decide) -> None:
    decide(ANSWERS)
    say("Wanjiru", URGENT)
    assert (case_named("1").state, raised(case)) == (CaseState.REVIEW, [CALLED_URGENT])
    assert case.labels.get(head="priority").answer == "2"


def test_an_urgent_answer_after_a_review_that_said_the_same_asks_nothing(case, say, decide) -> None:
    decide(URGENT)
    say("Wanjiru", URGENT)
    assert (case_named("1").state, raised(case)) == (CaseState.DECIDED, [])


# --- Faulty ----------------------------------------------------------------------------------------------------------


def test_an_answer_outside_the_schema_sends_the_case_to_review(case, say) -> None:
    problem = "priority has a label that is not in the schema"
    known = {"main_category": "VANE", "sub_category": "Child Neglect"}
    found = say("Wanjiru", known, problems=[Problem("priority", problem)])
    found.refresh_from_db()
    assert (found.problems, found.answers) == ([problem], known)
    assert dict(case.labels.values_list("head", "answer")) == known
    assert (case_named("1").state, raised(case)) == (
        CaseState.REVIEW,
        [(FlagKind.INVALID, "priority", {"problem": problem})],
    )
    assert reason().startswith("fault in an annotation: priority has a label that is not in the schema; ")


def test_a_fault_in_a_head_that_does_not_route_sends_the_case_to_review_too(case, say) -> None:
    say("Wanjiru", ANSWERS, problems=[Problem("entities", "entities has a region without labels")])
    assert (case_named("1").state, [head for _, head, _ in raised(case)]) == (CaseState.REVIEW, ["entities"])


def test_an_annotation_of_which_nothing_can_be_read_sends_the_case_to_review(case, say) -> None:
    found = say("Wanjiru", {}, problems=[Problem("", "the result cannot be read")])
    assert found.problems == [
        "the result cannot be read",
        "main_category has no answer",
        "sub_category has no answer",
        "priority has no answer",
    ]
    assert case_named("1").state == CaseState.REVIEW
    assert reason().startswith(
        "fault in an annotation: the result cannot be read; fault in an annotation: main category has no answer; "
    )


def test_a_head_that_routes_and_has_no_answer_sends_the_case_to_review(case, say) -> None:
    found = say("Wanjiru", {"main_category": "VANE", "sub_category": "Child Neglect"})
    assert found.problems == ["priority has no answer"]
    assert (case_named("1").state, raised(case)) == (
        CaseState.REVIEW,
        [(FlagKind.INVALID, "priority", {"problem": "priority has no answer"})],
    )


def test_the_reason_for_reviewing_a_blind_case_tells_of_the_fault(helpline, import_rows) -> None:
    change_policy(helpline, audit_share=1.0)
    import_rows(helpline, {"id": "2", "text": "b"})
    case = predict(trained_version(helpline), "2", helpline_prediction(sure=0.6))
    submissions.record(case, submission(helpline, "Wanjiru", ANSWERS, problems=[Problem("", "the comment is odd")]))
    assert reason() == "fault in an annotation: the comment is odd; audit: answered without the model"


def test_a_new_prediction_leaves_a_faulty_annotation_in_review(helpline, case, say) -> None:
    say("Wanjiru", {"main_category": "VANE"})
    assert predict(trained_version(helpline, 2), "1", SURE).state == CaseState.REVIEW
    assert [head for _, head, _ in raised(case)] == ["priority", "sub_category"]


def test_a_faulty_annotation_changes_nothing_that_a_supervisor_decided(case, say, decide) -> None:
    decide(ANSWERS)
    found = say("Wanjiru", {"main_category": "GBV"}, problems=[Problem("priority", "priority has several answers")])
    assert found.problems == ["priority has several answers", "sub_category has no answer"]
    assert (case_named("1").state, raised(case)) == (CaseState.DECIDED, [])
    assert dict(case.labels.values_list("head", "answer")) == ANSWERS


def test_what_is_withdrawn_is_not_brought_back_by_an_annotation(case, say) -> None:
    Case.objects.update(state=CaseState.WITHDRAWN)
    say("Wanjiru", URGENT, problems=[Problem("", "the comment is odd")])
    assert (case_named("1").state, raised(case)) == (CaseState.WITHDRAWN, [])
