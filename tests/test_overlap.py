"""Cases that two or more annotators answer, each by themselves."""

from __future__ import annotations

from typing import Any

import pytest

from ml.policy import FlagKind
from tests.conftest import case_named, change_policy, helpline_prediction, predict, trained_version
from webapp.actions import people, reviews
from webapp.models import Case, CaseState
from webapp.queries import labelling
from webapp.roles import Role

ANSWERS = {"main_category": "VANE", "sub_category": "Child Neglect", "priority": "2"}
NAME = {"start": 20, "end": 25, "label": "NAME"}
ALL_BUT_ITS_FIRST_LETTER = NAME | {"start": 21}


@pytest.fixture
def shared(case: Case) -> Case:
    """The case, wanted from two annotators."""
    Case.objects.update(annotators_wanted=2)
    return case_named("1")


def disputes(case: Case) -> dict[str, dict[str, Any]]:
    return dict(case.flags.filter(resolved_at=None, kind=FlagKind.DISAGREEMENT).values_list("head", "facts"))


def labels_of(case: Case) -> dict[str, tuple[Any, str]]:
    return {label.head: (label.answer, label.rule) for label in case.labels.all()}


def test_a_file_does_not_decide_a_case_that_waits_for_another_answer(shared, say, helpline, import_rows) -> None:
    say("amina", ANSWERS)
    import_rows(helpline, {"id": "1", "text": "She is hungry, says Amina.", "labels": {"intervention": ["Referral"]}})
    assert labels_of(shared)["intervention"] == (["Referral"], "import")
    assert case_named("1").state == CaseState.LABELLING


def test_the_share_of_the_policy_goes_to_as_many_annotators_as_it_says(helpline, import_rows) -> None:
    change_policy(helpline, overlap_share=0.3, overlap_annotators=3, audit_share=0.5)
    import_rows(helpline, *({"id": str(number), "text": "a"} for number in range(300)))
    version = trained_version(helpline)
    for number in range(300):
        predict(version, str(number), helpline_prediction(sure=0.5))
    wanted = dict(Case.objects.values_list("external_id", "annotators_wanted"))
    assert sorted(set(wanted.values())) == [1, 3]
    assert 0.2 < list(wanted.values()).count(3) / 300 < 0.4
    of_audits = list(Case.objects.filter(is_audit=True).values_list("annotators_wanted", flat=True))
    assert 0.15 < of_audits.count(3) / len(of_audits) < 0.45, "the draw tells nothing of the one for the audit"
    change_policy(helpline, overlap_share=1.0)
    later = trained_version(helpline, 2)
    for number in range(300):
        predict(later, str(number), helpline_prediction(sure=0.5))
    assert dict(Case.objects.values_list("external_id", "annotators_wanted")) == wanted, "it was drawn already"


def test_without_a_share_one_annotator_is_asked(case) -> None:
    assert case.annotators_wanted == 1


def test_a_case_for_two_is_decided_by_the_second(shared, say) -> None:
    say("Wanjiru", ANSWERS, id=1)
    assert case_named("1").state == CaseState.LABELLING
    say("Wanjiru", ANSWERS, id=2)
    assert case_named("1").state == CaseState.LABELLING, "the same person twice is one"
    say("Otieno", ANSWERS, id=3, is_skip=True)
    assert case_named("1").state == CaseState.LABELLING, "a skip is no answer"
    say("Otieno", ANSWERS, id=4)
    assert case_named("1").state == CaseState.DECIDED
    assert labels_of(shared)["priority"] == ("2", "agreement")


def test_a_case_for_two_goes_back_to_annotators_when_one_takes_their_answer_back(shared, say) -> None:
    say("Wanjiru", ANSWERS, id=1)
    say("Otieno", ANSWERS, id=2)
    say("Otieno", {}, id=2, is_deletion=True)
    assert case_named("1").state == CaseState.LABELLING


def test_a_supervisor_decides_a_case_for_two_alone(shared, say, person) -> None:
    reviews.decide(shared, person(Role.SUPERVISOR), answers=ANSWERS, revision=0)
    say("Wanjiru", ANSWERS)
    assert case_named("1").state == CaseState.DECIDED


def test_two_who_are_farther_apart_than_the_policy_allows_make_a_review(helpline, shared, say) -> None:
    change_policy(helpline, disagreement_limits={"priority": 0.5, "entities": 0.4})
    say("Wanjiru", ANSWERS | {"entities": [NAME]}, id=1)
    say("Otieno", ANSWERS | {"entities": []}, id=2)
    assert case_named("1").state == CaseState.REVIEW
    assert disputes(shared) == {"entities": {"apart": 1.0, "exact": 1.0}}
    assert "entities" not in labels_of(shared)


def test_where_two_are_within_the_limit_the_answer_closest_to_all_stands(helpline, shared, say) -> None:
    change_policy(helpline, disagreement_limits={"priority": 0.5, "entities": 0.4})
    say("Wanjiru", ANSWERS | {"entities": [NAME]}, id=1)
    say("Otieno", ANSWERS | {"priority": "3", "entities": [ALL_BUT_ITS_FIRST_LETTER]}, id=2)
    found = labels_of(shared)
    assert (found["priority"], found["entities"]) == (("2", "closest"), ([NAME], "closest"))
    assert (case_named("1").state, disputes(shared)) == (CaseState.DECIDED, {})


def test_spans_are_compared_by_exact_and_by_partial_match(helpline, shared, say, signed_in) -> None:
    change_policy(helpline, disagreement_limits={"entities": 0.2})
    other = {"start": 0, "end": 3, "label": "NAME"}
    say("Wanjiru", ANSWERS | {"entities": [NAME, other]}, id=1)
    say("Otieno", ANSWERS | {"entities": [ALL_BUT_ITS_FIRST_LETTER]}, id=2)
    assert disputes(shared) == {"entities": {"apart": pytest.approx(1 / 3), "exact": 1.0}}
    page = signed_in(Role.SUPERVISOR).get("/queue/").content.decode()
    assert "annotators disagree on entities: 67% of what they marked overlaps, 0% is the same" in page


def test_a_case_for_two_waits_for_the_second_and_not_for_the_first_again(shared, say, person) -> None:
    amina, otieno = person(Role.ANNOTATOR, "amina"), person(Role.ANNOTATOR, "otieno")
    say(people.annotator_of(amina).name, ANSWERS)
    assert (list(labelling.cases_for(amina)), list(labelling.cases_for(otieno))) == ([], [shared])
