"""What annotators say, which labels follow, and where the case goes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier
from typing import Any

import pytest
from django.db import connection

from ml.policy import FlagKind
from ml.types import HeadPrediction
from tests.conftest import (
    case_named,
    change_policy,
    helpline_prediction,
    predict,
    submission,
    trained_version,
)
from webapp.actions import labels, reviews, schemas, submissions
from webapp.models import Annotation, Case, CaseState, Label, Origin, Schema
from webapp.roles import Role

ANSWERS = {"main_category": "VANE", "sub_category": "Child Neglect", "priority": "2"}


def labels_of(case: Case) -> dict[str, tuple[Any, str]]:
    return {label.head: (label.answer, label.rule) for label in case.labels.all()}


def open_flags(case: Case) -> list[tuple[str, str]]:
    return list(case.flags.filter(resolved_at=None).order_by("kind", "head").values_list("kind", "head"))


def test_one_annotator_who_answers_every_head_that_routes_decides_the_case(case, say) -> None:
    say("Wanjiru", ANSWERS | {"intervention": ["Referral"]})
    found = case_named("1")
    assert (found.state, open_flags(found), found.revision) == (CaseState.DECIDED, [], 1)
    assert labels_of(found) == {
        "main_category": ("VANE", "annotator"),
        "sub_category": ("Child Neglect", "annotator"),
        "priority": ("2", "annotator"),
        "intervention": (["Referral"], "annotator"),
    }


def test_a_skip_never_becomes_a_label(case, say) -> None:
    skip = say("Wanjiru", ANSWERS, is_skip=True)
    assert (skip.is_skip, skip.answers, labels.standing(case)) == (True, {}, [])
    assert (labels_of(case), case_named("1").state) == ({}, CaseState.LABELLING)


def test_a_skip_beside_an_answer_is_no_disagreement(case, say) -> None:
    say("Wanjiru", ANSWERS, id=1)
    say("Otieno", ANSWERS | {"priority": "3"}, id=2, is_skip=True)
    assert (case_named("1").state, labels_of(case)["priority"]) == (CaseState.DECIDED, ("2", "annotator"))


def test_the_same_submission_twice_is_stored_once(case, say) -> None:
    first = say("Wanjiru", ANSWERS)
    assert say("Wanjiru", ANSWERS) is None
    assert list(Annotation.objects.all()) == [first]
    assert case_named("1").revision == 1


def test_an_edit_supersedes_what_was_said_before(case, say) -> None:
    first = say("Wanjiru", ANSWERS, minute=0)
    second = say("Wanjiru", ANSWERS | {"priority": "3"}, minute=1)
    assert (second.supersedes, first.answers["priority"]) == (first, "2")
    assert labels.standing(case) == [second]
    assert labels_of(case)["priority"] == ("3", "annotator")
    assert case_named("1").state == CaseState.DECIDED


def test_an_edit_into_a_skip_takes_the_labels_back(case, say) -> None:
    say("Wanjiru", ANSWERS, minute=0)
    say("Wanjiru", {}, minute=1, is_skip=True)
    assert (labels_of(case), case_named("1").state) == ({}, CaseState.LABELLING)


def test_a_deletion_takes_the_labels_back_and_the_case_returns_to_annotators(case, say) -> None:
    first = say("Wanjiru", ANSWERS)
    Case.objects.get().outbox.all().delete()
    deletion = say("Wanjiru", {}, is_deletion=True)
    assert (deletion.supersedes, deletion.is_deletion, deletion.answers) == (first, True, {})
    assert (labels_of(case), case_named("1").state) == ({}, CaseState.LABELLING)
    assert [row.purpose for row in case.outbox.filter(sent_at=None)] == ["push"]
    assert say("Wanjiru", {}, is_deletion=True) is None


def test_a_decided_case_stays_so_when_somebody_skips_it_or_answers_it_first(case, say) -> None:
    Case.objects.update(state=CaseState.DECIDED, annotators_wanted=3)
    say("Wanjiru", {}, minute=0, is_skip=True)
    say("Wanjiru", {}, minute=1, is_deletion=True)
    say("Otieno", ANSWERS, id=2)
    assert case_named("1").state == CaseState.DECIDED
    say("Otieno", {}, id=2, minute=1, is_skip=True)
    assert case_named("1").state == CaseState.LABELLING


def test_annotators_who_disagree_on_a_head_that_routes_send_the_case_to_review(case, say) -> None:
    say("Wanjiru", ANSWERS, id=1)
    say("Otieno", ANSWERS | {"priority": "3"}, id=2)
    found = case_named("1")
    assert found.state == CaseState.REVIEW
    assert (FlagKind.DISAGREEMENT, "priority") in open_flags(found)
    assert labels_of(found) == {"main_category": ("VANE", "agreement"), "sub_category": ("Child Neglect", "agreement")}


def test_annotators_who_disagree_on_another_head_leave_it_without_a_label(case, say) -> None:
    say("Wanjiru", ANSWERS | {"intervention": ["Referral"]}, id=1)
    say("Otieno", ANSWERS | {"intervention": ["Counselling"]}, id=2)
    assert case_named("1").state == CaseState.DECIDED
    assert labels_of(case) == {head: (answer, "agreement") for head, answer in ANSWERS.items()}


def test_annotators_who_agree_decide_the_case(case, say) -> None:
    say("Wanjiru", ANSWERS, id=1)
    say("Otieno", ANSWERS, id=2)
    assert (case_named("1").state, open_flags(case)) == (CaseState.DECIDED, [])


def test_two_answers_of_one_annotator_are_no_disagreement(case, say) -> None:
    say("Wanjiru", ANSWERS, id=1)
    say("Wanjiru", ANSWERS | {"priority": "3"}, id=2)
    assert (case_named("1").state, labels_of(case)["priority"]) == (CaseState.DECIDED, ("3", "annotator"))


def test_a_late_annotation_on_a_case_in_review_is_kept_and_does_not_decide_it(case, say, helpline) -> None:
    predict(trained_version(helpline, 2), "1", helpline_prediction(urgent=0.5))
    say("Wanjiru", ANSWERS)
    found = case_named("1")
    assert (found.state, found.revision) == (CaseState.REVIEW, 1)
    assert labels_of(found)["priority"] == ("2", "annotator")
    assert (FlagKind.URGENT, "priority") in open_flags(found)


def test_a_late_annotation_does_not_change_what_a_supervisor_decided(case, say, person) -> None:
    reviews.decide(case, person(Role.SUPERVISOR), answers=ANSWERS, revision=0)
    say("Wanjiru", ANSWERS | {"priority": "3"})
    assert (case_named("1").state, labels_of(case)["priority"]) == (CaseState.DECIDED, ("2", "review"))


def test_a_label_of_the_import_stands_until_a_person_answers(helpline, import_rows) -> None:
    change_policy(helpline, audit_share=1.0)
    import_rows(helpline, {"id": "2", "text": "b", "labels": ANSWERS | {"intervention": ["Referral"]}})
    case = case_named("2")
    submissions.record(case, submission(helpline, "Wanjiru", {"priority": "3"}))
    assert case_named("2").state == CaseState.REVIEW  # Only one of the heads that route was answered by a person
    assert labels_of(case) == {
        "main_category": ("VANE", "import"),
        "sub_category": ("Child Neglect", "import"),
        "priority": ("3", "annotator"),
        "intervention": (["Referral"], "import"),
    }


def test_another_system_stands_before_an_import_and_behind_people(helpline, import_rows) -> None:
    import_rows(helpline, {"id": "2", "text": "b", "labels": {"priority": "1"}})
    case = case_named("2")
    by_api = replace(submission(helpline, "the case system", {"priority": "2"}), origin=Origin.API)
    submissions.record(case, by_api)
    assert labels_of(case) == {"priority": ("2", "system")}
    submissions.record(case, submission(helpline, "Wanjiru", {"priority": "3"}, id=2))
    assert labels_of(case) == {"priority": ("3", "annotator")}


def test_another_system_alone_does_not_decide_a_case(helpline, case) -> None:
    by_api = replace(submission(helpline, "the case system", ANSWERS), origin=Origin.API)
    submissions.record(case, by_api)
    assert case_named("1").state == CaseState.LABELLING


def test_labels_that_are_resolved_again_are_the_same(case, say) -> None:
    say("Wanjiru", ANSWERS, id=1)
    say("Otieno", ANSWERS | {"priority": "3"}, id=2)
    before = labels_of(case)
    Label.objects.all().delete()
    assert list(labels.resolve(case)) == ["priority"]
    assert labels_of(case) == before


# --- What the person saw ---------------------------------------------------------------------------------------------


def test_an_annotation_names_the_heads_that_differ_from_what_was_shown(case, say) -> None:
    answers = {"main_category": "GBV", "sub_category": "Child Neglect", "intervention": ["Referral"]}
    found = say("Wanjiru", answers, shown=case.current_prediction)
    assert (found.prediction, found.changed_heads) == (case.current_prediction, ["main_category"])


def test_entities_that_stay_as_they_were_shown_are_not_called_changed(helpline, case, say) -> None:
    shown = {"start": 20, "end": 25, "label": "NAME", "confidence": 0.8}
    prediction = helpline_prediction(sure=0.6) | {"entities": HeadPrediction([shown], None)}
    seen = predict(trained_version(helpline, 2), "1", prediction).current_prediction
    kept = say("Wanjiru", {"entities": [{"start": 20, "end": 25, "label": "NAME"}]}, id=1, shown=seen)
    moved = say("Otieno", {"entities": [{"start": 19, "end": 25, "label": "NAME"}]}, id=2, shown=seen)
    assert (kept.changed_heads, moved.changed_heads) == ([], ["entities"])


def test_an_annotation_that_nothing_was_filled_in_for_changes_nothing(case, say) -> None:
    found = say("Wanjiru", ANSWERS | {"main_category": "GBV"})
    assert (found.prediction, found.changed_heads) == (None, [])


def test_an_annotation_is_pinned_to_the_schema_version_it_was_made_under(helpline, case, say) -> None:
    assert say("Wanjiru", ANSWERS).schema_version == helpline.versions.get(number=2)


# --- At once ---------------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_the_same_submission_from_several_workers_at_once_is_stored_once(import_rows, sent) -> None:
    schemas.register_shipped()
    helpline = Schema.objects.get(name="helpline")
    change_policy(helpline, audit_share=0.0)
    import_rows(helpline, {"id": "1", "text": "She is hungry."})
    case, said = case_named("1"), submission(helpline, "Wanjiru", ANSWERS)
    start = Barrier(4)

    def record(_: int) -> Annotation | None:
        try:
            start.wait(5)
            return submissions.record(case, said)
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as workers:
        found = list(workers.map(record, range(4)))
    assert [one for one in found if one] == list(Annotation.objects.all())
    assert found.count(None) == 3
    assert (case_named("1").revision, labels_of(case)["priority"]) == (1, ("2", "annotator"))
