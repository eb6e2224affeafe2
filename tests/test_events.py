"""What other systems are told of, in the transaction that decides it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import User
from django.db import transaction

from tests.conftest import case_named, helpline_prediction, predict, submission, trained_version
from webapp.actions import escalations, feedback, predictions, promotions, reviews, submissions
from webapp.models import Case, CaseState, Delivery, Event, ModelVersion, Schema, Subscription
from webapp.roles import Role

TEXT = "Amina of Nyeri is hungry."
ANSWERS = {"main_category": "VANE", "sub_category": "Child Neglect", "priority": "2"}


@pytest.fixture
def told(helpline: Schema) -> Callable[[], list[dict[str, Any]]]:
    """Return what was told since the last time, oldest first."""
    Subscription.objects.create(address="https://example.org/", events=list(Event), salt="a")
    seen: set[int] = set()

    def since() -> list[dict[str, Any]]:
        rows = [row for row in Delivery.objects.order_by("pk") if row.pk not in seen]
        seen.update(row.pk for row in rows)
        assert all(row.event == row.payload["type"] for row in rows)
        return [row.payload for row in rows]

    return since


@pytest.fixture
def version(helpline: Schema) -> ModelVersion:
    return trained_version(helpline)


@pytest.fixture
def supervisor(person: Callable[..., User]) -> User:
    return person(Role.SUPERVISOR)


def kinds(told: Callable[[], list[dict[str, Any]]]) -> list[str]:
    return [one["type"] for one in told()]


def test_a_prediction_is_told_with_the_route_and_without_the_text(helpline, import_rows, told, version) -> None:
    import_rows(helpline, {"id": "1", "text": TEXT, "conversation": "c", "caller": "Amina"})
    assert told() == []
    case = predict(version, "1", helpline_prediction(sure=0.6))
    (one,) = told()[:1]
    assert one["type"] == "case.predicted"
    data = one["data"]
    assert {key: data[key] for key in ("id", "source", "external_id", "schema", "conversation", "state", "labels")} == {
        "id": case.pk, "source": "import", "external_id": "1", "schema": "helpline", "conversation": "c",
        "state": "labelling", "labels": {},
    }  # fmt: skip
    assert data["prediction"]["version"] == "version 1"
    assert data["prediction"]["heads"]["main_category"] == {"answer": "VANE", "confidence": 0.6}
    assert "Amina" not in json.dumps(one)
    assert "Nyeri" not in json.dumps(one)


def test_the_same_prediction_again_is_not_told_again(helpline, import_rows, told, version) -> None:
    import_rows(helpline, {"id": "1", "text": TEXT})
    predict(version, "1", helpline_prediction(sure=0.6))
    told()
    predict(version, "1", helpline_prediction(sure=0.6))
    assert told() == []
    predict(trained_version(helpline, 2), "1", helpline_prediction(sure=0.6))
    assert kinds(told) == ["case.predicted"]


def test_a_flag_is_told_when_it_is_raised_and_not_again(helpline, import_rows, told, version) -> None:
    import_rows(helpline, {"id": "1", "text": TEXT})
    predict(version, "1", helpline_prediction(sure=0.95, urgent=0.5))
    predicted, flagged = told()
    assert (predicted["type"], flagged["type"], flagged["data"]["state"]) == (
        "case.predicted", "case.flagged", "review",
    )  # fmt: skip
    assert {"kind": "urgent", "head": "priority"} in flagged["data"]["flags"]
    predict(trained_version(helpline, 2), "1", helpline_prediction(sure=0.95, urgent=0.5))
    assert kinds(told) == ["case.predicted"]


def test_a_case_that_no_model_could_answer_is_told_as_flagged(helpline, import_rows, told) -> None:
    import_rows(helpline, {"id": "1", "text": TEXT})
    predictions.leave_to_people([case_named("1")])
    (one,) = told()
    assert (one["type"], one["data"]["state"], one["data"]["prediction"]) == ("case.flagged", "review", None)


def test_a_decision_is_told_with_labels_and_the_role_of_who_decided(case, told, supervisor) -> None:
    told()
    reviews.decide(case, supervisor, answers=ANSWERS, revision=case.revision, note="Amina")
    (one,) = told()
    assert (one["type"], one["data"]["state"]) == ("case.decided", "decided")
    label = one["data"]["labels"]["priority"]
    assert (label["answer"], label["decided_by"], label["rule"]) == ("2", "supervisor", "review")
    assert "Amina" not in json.dumps(one)
    assert supervisor.username not in json.dumps(one).replace('"decided_by": "supervisor"', "")


def test_a_decision_that_is_taken_back_is_told(case, told, supervisor) -> None:
    reviews.decide(case, supervisor, answers=ANSWERS, revision=case.revision)
    told()
    reviews.undo(supervisor)
    (one,) = told()
    assert (one["type"], one["data"]["state"], one["data"]["labels"]) == ("case.flagged", "labelling", {})


def test_a_second_decision_is_told_and_so_is_going_back_to_the_first(case, told, supervisor) -> None:
    reviews.decide(case, supervisor, answers=ANSWERS, revision=case.revision)
    case = Case.objects.get()
    reviews.decide(case, supervisor, answers=ANSWERS | {"priority": "1"}, revision=case.revision)
    reviews.undo(supervisor)
    said = [(one["type"], one["data"]["labels"]["priority"]["answer"]) for one in told()]
    assert said == [("case.decided", "2"), ("case.decided", "1"), ("case.decided", "2")]


def test_annotators_who_decide_and_who_disagree_are_told(helpline, case, told) -> None:
    submissions.record(case, submission(helpline, "amina", ANSWERS))
    (one,) = told()
    assert (one["type"], one["data"]["state"]) == ("case.decided", "decided")
    assert {label["decided_by"] for label in one["data"]["labels"].values()} == {"annotator"}
    submissions.record(case, submission(helpline, "ben", ANSWERS | {"main_category": "GBV"}, id=2))
    (one,) = told()
    assert (one["type"], one["data"]["state"]) == ("case.flagged", "review")
    assert {"kind": "disagreement", "head": "main_category"} in one["data"]["flags"]


def test_a_second_opinion_is_told_as_a_flag_without_who_asked(case, told, supervisor) -> None:
    told()
    reviews.ask_second_opinion(case, supervisor, revision=case.revision)
    (one,) = told()
    assert (one["type"], one["data"]["flags"][-1]) == ("case.flagged", {"kind": "second_opinion", "head": None})
    assert supervisor.username not in json.dumps(one)


def test_an_escalation_is_told_once_without_its_note(case, told, supervisor) -> None:
    told()
    escalations.escalate(case, supervisor, note="Amina is in danger")
    said = told()
    assert [one["type"] for one in said] == ["case.flagged", "case.escalated"]
    assert all(one["data"]["state"] == "review" for one in said)
    assert "danger" not in json.dumps(said)
    escalations.escalate(case, supervisor)
    assert told() == []


def test_an_escalation_of_a_decided_case_is_no_flag(case, told, supervisor) -> None:
    reviews.decide(case, supervisor, answers=ANSWERS, revision=case.revision)
    told()
    escalations.escalate(case, supervisor)
    assert kinds(told) == ["case.escalated"]


def test_low_ratings_are_told_as_a_flag(case, told) -> None:
    told()
    feedback.give(source=case.source, external_id="1", task="classifier", rating=1)
    (one,) = told()
    assert (one["type"], one["data"]["state"]) == ("case.flagged", "review")


def test_cases_that_come_decided_are_told_with_their_labels(helpline, import_rows, told) -> None:
    import_rows(helpline, {"id": "1", "text": TEXT, "labels": ANSWERS}, {"id": "2", "text": "b"})
    (one,) = told()
    assert (one["type"], one["data"]["external_id"]) == ("case.decided", "1")
    assert one["data"]["labels"]["priority"]["decided_by"] == "import"
    import_rows(helpline, {"id": "2", "text": "b", "labels": ANSWERS}, name="again.jsonl")
    (one,) = told()
    assert (one["type"], one["data"]["external_id"], one["data"]["state"]) == ("case.decided", "2", "decided")


def test_a_version_that_is_put_in_use_is_told(helpline, told, version, person) -> None:
    admin = person(Role.ADMIN)
    promotions.promote(version, by=admin, reason="the first one")
    promotions.promote(trained_version(helpline, 2), by=admin, reason="the second one")
    promotions.roll_back(ModelVersion.objects.get(number=2), by=admin, reason="the first was better")
    common = {"schema": "helpline"}
    assert [one["data"] for one in told()] == [
        common | {"version": "version 1", "replaced": None, "is_rollback": False},
        common | {"version": "version 2", "replaced": "version 1", "is_rollback": False},
        common | {"version": "version 1", "replaced": "version 2", "is_rollback": True},
    ]


def test_each_hears_of_what_it_wants_and_of_its_schema(helpline, import_rows, version, sent) -> None:
    other = Schema.objects.get(name="customer")
    for name, events, schema in (
        ("all", [Event.PREDICTED], None),
        ("ours", [Event.PREDICTED, Event.PROMOTED], helpline),
        ("theirs", list(Event), other),
        ("else", [Event.DECIDED], None),
    ):
        Subscription.objects.create(address=f"https://{name}.org/", events=events, schema=schema, salt=name)
    import_rows(helpline, {"id": "1", "text": TEXT})
    predict(version, "1", helpline_prediction(sure=0.6))
    rows = Delivery.objects.select_related("subscription")
    assert sorted(row.subscription.address for row in rows) == ["https://all.org/", "https://ours.org/"]
    assert len({row.message for row in rows}) == 2
    assert all(isinstance(row.message, UUID) for row in rows)


def test_what_is_rolled_back_is_not_told(case, told, supervisor, sent, django_capture_on_commit_callbacks) -> None:
    told()
    with django_capture_on_commit_callbacks(execute=True):
        with transaction.atomic():
            reviews.decide(case, supervisor, answers=ANSWERS, revision=case.revision)
            transaction.set_rollback(True)
        assert told() == []
    assert ("deliver_webhooks",) not in sent
    with django_capture_on_commit_callbacks(execute=True):
        reviews.decide(case, supervisor, answers=ANSWERS, revision=case.revision)
    assert ("deliver_webhooks",) in sent


def test_with_nobody_who_listens_nothing_is_written(case, supervisor, sent, django_capture_on_commit_callbacks) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        reviews.decide(case, supervisor, answers=ANSWERS, revision=case.revision)
    assert list(Delivery.objects.all()) == []
    assert ("deliver_webhooks",) not in sent
    assert Case.objects.get().state == CaseState.DECIDED
