"""The record only grows: the database itself refuses the rest."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import IntegrityError, models, transaction

from tests.conftest import change_policy, helpline_prediction, predict, submission, trained_version
from webapp.actions import covers, escalations, promotions, reveals, reviews, sightings, submissions
from webapp.models import (
    Acknowledgement,
    Annotation,
    AuditEvent,
    Cover,
    Escalation,
    ModelVersion,
    Prediction,
    Promotion,
    Reveal,
    RevealReason,
    Review,
    Schema,
    Sighting,
)
from webapp.roles import Role

CHANGES = [
    pytest.param(Annotation, {"note": "another"}, id="annotation"),
    pytest.param(ModelVersion, {"folder": "another"}, id="model version"),
    pytest.param(Promotion, {"reason": "another"}, id="promotion"),
    pytest.param(AuditEvent, {"action": "another"}, id="audit event"),
    pytest.param(Review, {"note": "another"}, id="review"),
    pytest.param(Escalation, {"note": "another"}, id="escalation"),
    pytest.param(Acknowledgement, {"at": datetime(2026, 1, 1, tzinfo=UTC)}, id="acknowledgement"),
    pytest.param(Cover, {"pieces": []}, id="cover"),
    pytest.param(Reveal, {"reason": "other"}, id="reveal"),
    pytest.param(Sighting, {"at": datetime(2026, 1, 1, tzinfo=UTC)}, id="sighting"),
]


@pytest.fixture(autouse=True)
def record(helpline: Schema, import_rows: Callable[..., Any], person: Callable[..., Any]) -> None:
    """One row at least of every table that only grows."""
    import_rows(helpline, {"id": "1", "text": "Call 0712 345 678."})
    version = trained_version(helpline)
    case = predict(version, "1", helpline_prediction(sure=0.6))
    submissions.record(case, submission(helpline, "Wanjiru", {"priority": "2"}, shown=case.current_prediction))
    promotions.promote(version, by=None, reason="the first")
    supervisor = person(Role.SUPERVISOR)
    sightings.record(case, supervisor)
    change_policy(helpline, hidden_labels=["NAME"])
    covers.current(case)
    reveals.reveal(case, supervisor, RevealReason.DANGER)
    escalations.acknowledge(escalations.escalate(case, supervisor), person(Role.ADMIN))
    reviews.ask_second_opinion(case, supervisor, revision=1)


@pytest.mark.parametrize(("model", "change"), CHANGES)
def test_a_row_of_the_record_cannot_be_changed(model: type[models.Model], change: dict[str, str]) -> None:
    before = list(model._default_manager.values())
    with pytest.raises(IntegrityError, match="are only added"), transaction.atomic():
        model._default_manager.update(**change)
    assert list(model._default_manager.values()) == before


@pytest.mark.parametrize(("model", "change"), CHANGES)
def test_a_row_of_the_record_cannot_be_deleted(model: type[models.Model], change: dict[str, str]) -> None:
    before = list(model._default_manager.values())
    with pytest.raises(IntegrityError, match="are only added"), transaction.atomic():
        model._default_manager.all()._raw_delete("default")
    assert list(model._default_manager.values()) == before


def test_erasing_a_prediction_empties_the_reference_of_an_annotation_and_nothing_else() -> None:
    before = Annotation.objects.values().get()
    assert before["prediction_id"] is not None
    Prediction.objects.all().delete()
    assert Annotation.objects.values().get() == before | {"prediction_id": None}


def test_a_change_that_hides_behind_an_emptied_reference_is_refused() -> None:
    with pytest.raises(IntegrityError, match="only added"), transaction.atomic():
        Annotation.objects.update(prediction=None, note="another")
