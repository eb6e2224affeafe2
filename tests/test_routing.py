"""What becomes of a case once a version has said something of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from ml.policy import FlagKind
from ml.types import HeadPrediction
from tests.conftest import (
    NOON,
    case_named,
    change_policy,
    helpline_prediction,
    listing,
    predict,
    submission,
    trained_version,
)
from webapp.actions import flags, leases, predictions, promotions, submissions
from webapp.models import (
    Case,
    CaseState,
    Flag,
    HeadScore,
    LabelStudioProject,
    LabelStudioTask,
    ModelVersion,
    Outbox,
    Prediction,
    Schema,
)
from webapp.queries import casepage, pending
from webapp.roles import Role

UNSURE = {"sure": 0.62}
SURE = {"sure": 0.9}


@pytest.fixture
def case(helpline: Schema, import_rows: Callable[..., Any]) -> Case:
    import_rows(helpline, {"id": "1", "text": "She is hungry."})
    return case_named("1")


@pytest.fixture
def version(helpline: Schema) -> ModelVersion:
    return trained_version(helpline)


def open_flags(case: Case) -> list[tuple[str, str, dict[str, Any]]]:
    found = case.flags.filter(resolved_at=None).order_by("kind", "head")
    return list(found.values_list("kind", "head", "facts"))


def waiting(case: Case) -> list[str]:
    return list(case.outbox.filter(sent_at=None).order_by("purpose").values_list("purpose", flat=True))


def put_in_label_studio(case: Case, version: ModelVersion) -> LabelStudioTask:
    newest = version.schema_version
    project, _ = LabelStudioProject.objects.get_or_create(
        schema=case.schema, defaults={"schema_version": newest, "project": 1}
    )
    Outbox.objects.filter(case=case).update(sent_at=timezone.now())
    return LabelStudioTask.objects.create(case=case, project=project, task=10, version=version)


def test_a_case_that_the_model_is_sure_of_is_accepted(case, version) -> None:
    found = predict(version, "1", helpline_prediction(**SURE))
    assert (found.state, open_flags(found), waiting(found)) == (CaseState.ACCEPTED, [], [])
    assert found.current_prediction == Prediction.objects.get(case=case, version=version)


def test_a_confidence_at_the_threshold_is_enough(case, version) -> None:
    assert predict(version, "1", helpline_prediction(sure=0.70)).state == CaseState.ACCEPTED
    assert predict(version, "1", helpline_prediction(sure=0.69)).state == CaseState.LABELLING


def test_a_case_that_the_model_is_unsure_of_goes_to_annotators_with_the_numbers_why(case, version) -> None:
    found = predict(version, "1", helpline_prediction("VANE", "Child Neglect", **UNSURE))
    assert found.state == CaseState.LABELLING
    assert open_flags(found) == [
        (
            FlagKind.LOW_CONFIDENCE,
            head,
            {"confidence": 0.62, "threshold": 0.7, "likely": [[first, 0.62], [second, 0.38]]},
        )
        for head, first, second in (
            ("main_category", "VANE", "GBV"),
            ("sub_category", "Child Neglect", "Physical Abuse"),
        )
    ]
    assert waiting(found) == ["push"]


def test_the_policy_in_force_says_which_confidence_is_enough(helpline, case, version) -> None:
    change_policy(helpline, thresholds={"main_category": 0.6})
    assert predict(version, "1", helpline_prediction(**UNSURE)).state == CaseState.ACCEPTED


def test_an_urgent_case_is_reviewed_although_another_answer_is_likelier(case, version) -> None:
    prediction = helpline_prediction(urgent=0.15)
    assert prediction["priority"].answer == "2"
    found = predict(version, "1", prediction)
    assert (found.state, waiting(found)) == (CaseState.REVIEW, [])
    assert open_flags(found) == [(FlagKind.URGENT, "priority", {"probability": 0.15, "threshold": 0.15, "label": "1"})]


def test_a_case_just_below_the_urgent_threshold_is_not_reviewed(case, version) -> None:
    assert predict(version, "1", helpline_prediction(urgent=0.149)).state == CaseState.ACCEPTED


def test_a_head_that_was_not_trained_goes_to_annotators(helpline, case) -> None:
    definitions = helpline.model_versions.get(kind="definitions")
    guess = {"main_category": HeadPrediction("VANE", None, {"VANE": 0.3})}
    found = predict(definitions, "1", guess)
    assert (found.state, waiting(found)) == (CaseState.LABELLING, ["push"])
    assert open_flags(found) == [
        (FlagKind.UNTRAINED, head, {}) for head in ("main_category", "priority", "sub_category")
    ]


def test_a_guess_that_may_be_urgent_is_not_called_urgent(helpline, case) -> None:
    definitions = helpline.model_versions.get(kind="definitions")
    found = predict(definitions, "1", {"priority": HeadPrediction("1", None, {"1": 0.9, "2": 0.1})})
    assert found.state == CaseState.LABELLING


def test_a_case_unlike_what_was_learnt_from_goes_to_annotators_until_a_version_knows_the_like(case, version) -> None:
    prediction = helpline_prediction(**SURE)
    predictions.store(version, [case], [prediction], familiar=[False])
    found = case_named("1")
    assert (found.state, waiting(found)) == (CaseState.LABELLING, ["push"])
    assert open_flags(found) == [(FlagKind.UNFAMILIAR, "", {})]
    assert found.harm == sum(HeadScore.objects.values_list("harm", flat=True))
    (row,) = listing(state="labelling").rows
    assert row.reason == "unlike the cases that the model learnt from"
    parts = (
        "missed urgency of priority 3.3",
        "wrong main category 1.0",
        "wrong sub-category 1.0",
        "wrong priority 1.0",
    )
    assert row.harm == ", ".join(parts)
    page = casepage.page(found)
    assert page.reason == row.reason
    assert predict(version, "1", prediction).state == CaseState.ACCEPTED
    assert open_flags(case_named("1")) == []


def test_an_audited_case_goes_to_annotators_however_sure_the_model_is(helpline, import_rows, version) -> None:
    change_policy(helpline, audit_share=1.0)
    import_rows(helpline, {"id": "1", "text": "She is hungry."})
    found = predict(version, "1", helpline_prediction(**SURE))
    assert (found.state, open_flags(found), waiting(found)) == (
        CaseState.LABELLING,
        [(FlagKind.AUDIT, "", {})],
        ["push"],
    )


def test_an_audited_case_that_may_be_urgent_is_reviewed(helpline, import_rows, version) -> None:
    change_policy(helpline, audit_share=1.0)
    import_rows(helpline, {"id": "1", "text": "She is hungry."})
    found = predict(version, "1", helpline_prediction(urgent=0.5))
    assert found.state == CaseState.REVIEW
    assert [kind for kind, _, _ in open_flags(found)] == [FlagKind.AUDIT, FlagKind.LOW_CONFIDENCE, FlagKind.URGENT]


def test_the_scalars_of_every_head_are_stored_for_queries(case, version) -> None:
    prediction = helpline_prediction(sure=0.8, urgent=0.1)
    prediction["intervention"] = HeadPrediction(["Counselling", "Referral"], 0.5, {"Counselling": 0.7})
    predict(version, "1", prediction)
    scores = {score.head: (score.answer_key, score.confidence, score.harm) for score in HeadScore.objects.all()}
    assert scores == {
        "main_category": ("VANE", 0.8, pytest.approx(0.2)),
        "sub_category": ("Child Neglect", 0.8, pytest.approx(0.2)),
        "priority": ("2", pytest.approx(0.81), pytest.approx(0.1 * 10 + 0.09)),  # A missed urgent case costs 10
        "intervention": ("Counselling, Referral", 0.5, pytest.approx(0.5)),
    }


# --- Again -----------------------------------------------------------------------------------------------------------


def test_the_same_prediction_twice_is_stored_once(case, version) -> None:
    first = predict(version, "1", helpline_prediction(**UNSURE))
    second = predict(version, "1", helpline_prediction(**UNSURE))
    assert (second.state, waiting(second), second.current_prediction) == (
        first.state,
        ["push"],
        first.current_prediction,
    )
    assert Prediction.objects.count() == 1
    assert HeadScore.objects.count() == 3
    assert [(kind, head) for kind, head, _ in open_flags(second)] == [
        (FlagKind.LOW_CONFIDENCE, "main_category"),
        (FlagKind.LOW_CONFIDENCE, "sub_category"),
    ]


def test_a_new_version_replaces_the_flags_of_the_one_before(helpline, case, version) -> None:
    predict(version, "1", helpline_prediction(urgent=0.5))
    found = predict(trained_version(helpline, 2), "1", helpline_prediction(sure=0.62))
    assert [(kind, head) for kind, head, _ in open_flags(found)] == [
        (FlagKind.LOW_CONFIDENCE, "main_category"),
        (FlagKind.LOW_CONFIDENCE, "sub_category"),
    ]
    assert Flag.objects.get(kind=FlagKind.URGENT).resolved_at <= timezone.now()
    assert (found.state, found.current_prediction.version.number) == (CaseState.LABELLING, 2)


def test_a_new_version_leaves_a_disagreement_in_review(helpline, case, version) -> None:
    predict(version, "1", helpline_prediction(**UNSURE))
    for number, answer in enumerate(["VANE", "GBV"]):
        answers = {"main_category": answer, "sub_category": "Child Neglect", "priority": "2"}
        submissions.record(case, submission(helpline, f"person {number}", answers, id=number))
    found = predict(trained_version(helpline, 2), "1", helpline_prediction(**SURE))
    assert found.state == CaseState.REVIEW
    assert open_flags(found) == [(FlagKind.DISAGREEMENT, "main_category", {"apart": 1.0, "exact": 1.0})]


@pytest.mark.parametrize("kind", [FlagKind.ESCALATION, FlagKind.LOW_RATING])
def test_a_new_version_leaves_in_review_what_people_flagged(case, version, kind) -> None:
    predict(version, "1", helpline_prediction(urgent=0.5))
    flags.raise_flag(case, kind)
    found = predict(version, "1", helpline_prediction(**SURE))
    assert (found.state, open_flags(found)) == (CaseState.REVIEW, [(kind, "", {})])


def test_a_new_version_leaves_in_review_what_is_on_somebodys_screen(helpline, case, version, person) -> None:
    predict(version, "1", helpline_prediction(urgent=0.5))
    supervisor = person(Role.SUPERVISOR)
    held = leases.take_next(supervisor)
    found = predict(trained_version(helpline, 2), "1", helpline_prediction(**SURE))
    assert (found.state, found.held_by, found.revision) == (CaseState.REVIEW, supervisor, held.revision)


def test_a_lease_that_ran_out_holds_no_case_in_review(helpline, case, version, person) -> None:
    predict(version, "1", helpline_prediction(urgent=0.5))
    leases.take_next(person(Role.SUPERVISOR))
    Case.objects.update(held_until=timezone.now() - timedelta(seconds=1))
    assert predict(trained_version(helpline, 2), "1", helpline_prediction(**SURE)).state == CaseState.ACCEPTED


@pytest.mark.parametrize("state", [CaseState.DECIDED, CaseState.WITHDRAWN, CaseState.ERASED])
def test_what_is_not_open_gets_no_flag_and_keeps_its_state(case, version, state) -> None:
    Case.objects.update(state=state)
    found = predict(version, "1", helpline_prediction(urgent=0.9, **UNSURE))
    assert (found.state, open_flags(found), waiting(found)) == (state, [], [])
    assert found.current_prediction.version == version


# --- Label Studio ----------------------------------------------------------------------------------------------------


def test_a_case_that_leaves_the_annotators_is_taken_back(helpline, case, version) -> None:
    predict(version, "1", helpline_prediction(**UNSURE))
    put_in_label_studio(case, version)
    assert waiting(predict(version, "1", helpline_prediction(urgent=0.5))) == ["withdraw"]


def test_a_case_that_was_never_sent_is_just_not_sent(helpline, case, version) -> None:
    predict(version, "1", helpline_prediction(**UNSURE))
    assert waiting(predict(version, "1", helpline_prediction(**SURE))) == []


def test_a_case_that_comes_back_is_not_taken_back(helpline, case, version) -> None:
    predict(version, "1", helpline_prediction(**UNSURE))
    put_in_label_studio(case, version)
    predict(version, "1", helpline_prediction(**SURE))
    assert waiting(predict(version, "1", helpline_prediction(**UNSURE))) == []


def test_annotators_are_shown_the_answers_of_the_new_version(helpline, case, version) -> None:
    predict(version, "1", helpline_prediction(**UNSURE))
    put_in_label_studio(case, version)
    assert waiting(predict(trained_version(helpline, 2), "1", helpline_prediction(**UNSURE))) == ["refresh"]


def test_the_outbox_is_emptied_only_after_the_commit(case, version, sent, django_capture_on_commit_callbacks) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        predict(version, "1", helpline_prediction(**UNSURE))
        assert sent == []
    assert sent == [("deliver_outbox",)]


# --- Order and claims ------------------------------------------------------------------------------------------------


def test_cases_of_more_harm_come_first_and_waiting_outweighs_harm(helpline, import_rows, version) -> None:
    import_rows(helpline, *({"id": name, "text": name} for name in ("mild", "grave", "old and mild")))
    Case.objects.update(received_at=NOON)
    Case.objects.filter(external_id="old and mild").update(received_at=NOON - timedelta(days=4))
    mild, grave = helpline_prediction(urgent=0.2), helpline_prediction(urgent=0.9)
    for name, prediction in (("mild", mild), ("grave", grave), ("old and mild", mild)):
        predict(version, name, prediction)
    queued = Case.objects.filter(state=CaseState.REVIEW).order_by("-rank")
    assert list(queued.values_list("external_id", flat=True)) == ["old and mild", "grave", "mild"]
    assert case_named("mild").harm == case_named("old and mild").harm < case_named("grave").harm
    assert case_named("old and mild").rank == pytest.approx(case_named("mild").rank + 4)  # Doublings, one a day


def test_a_claimed_case_is_not_claimed_again_before_its_time(helpline, case, version) -> None:
    assert predictions.claim(helpline, 10, most_characters=1000) == [case]
    assert predictions.claim(helpline, 10, most_characters=1000) == []
    Case.objects.update(predicting_until=timezone.now() - timedelta(seconds=1))
    assert predictions.claim(helpline, 10, most_characters=1000) == [case]
    assert predict(version, "1", helpline_prediction()).predicting_until is None


def test_decided_cases_wait_for_a_trained_version_and_come_last(helpline, import_rows, version) -> None:
    decided = {"main_category": "VANE", "sub_category": "Child Neglect", "priority": "1"}
    import_rows(helpline, {"id": "decided", "text": "a", "labels": decided}, {"id": "open", "text": "b"})
    assert [case.external_id for case in pending.cases(helpline)] == ["open"]
    promotions.promote(version, by=None, reason="the first")
    assert [case.external_id for case in pending.cases(helpline)] == ["open", "decided"]
    for name in ("open", "decided"):
        predict(version, name, helpline_prediction())
    assert list(pending.cases(helpline)) == []
    second = trained_version(helpline, 2)
    promotions.promote(second, by=None, reason="better")
    assert [case.external_id for case in pending.cases(helpline)] == ["open"]


def test_several_cases_are_stored_each_with_its_own(helpline, import_rows, version) -> None:
    import_rows(helpline, {"id": "1", "text": "a"}, {"id": "2", "text": "b"})
    cases = [case_named("2"), case_named("1")]
    predictions.store(version, cases, [helpline_prediction(**SURE), helpline_prediction("GBV", "Other", **UNSURE)])
    assert {case.external_id: case.state for case in Case.objects.all()} == {"1": "labelling", "2": "accepted"}
    assert case_named("1").current_prediction.heads["main_category"]["answer"] == "GBV"


def test_as_many_predictions_as_cases_are_expected(case, version) -> None:
    with pytest.raises(ValueError, match="zip"):
        predictions.store(version, [case], [])
    assert list(Prediction.objects.all()) == []
