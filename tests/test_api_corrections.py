"""What other systems say of cases."""

from __future__ import annotations

from typing import Any

import pytest

from tests.calling import call, token
from tests.conftest import case_named, helpline_prediction, predict, submission, trained_version
from tests.importing import LABELLED
from webapp.actions import intake, submissions
from webapp.models import Annotation, Annotator, CaseState, Origin, Scope
from webapp.queries import answers

TEXT = "She is hungry, says Amina."


@pytest.fixture
def secret(helpline: Any, sent: Any) -> str:
    intake.receive(helpline, [{"id": "1", "text": TEXT}], source="records", by=None)
    return token(Scope.CORRECT, name="records")


def correct(secret: str, *corrections: Any) -> list[Any]:
    answer = call("POST", "/corrections", secret, {"corrections": corrections})
    assert answer.status_code == 200, answer.content
    return answer.json()["results"]


def test_a_correction_is_an_annotation_of_that_system_and_stored_once(secret, helpline) -> None:
    case = predict(trained_version(helpline), "1", helpline_prediction(sure=0.9))
    first = correct(secret, {"external_id": "1", "labels": {"main category": "GBV", "priority": 1}, "note": "x"})
    assert first == [{"status": "stored", "heads": ["main_category", "priority"], "problems": []}]
    row = Annotation.objects.get()
    assert (row.origin, row.annotator.kind, row.annotator.name) == (Origin.API, "system", "records")
    assert (row.answers, row.prediction) == ({"main_category": "GBV", "priority": "1"}, case.current_prediction)
    assert {label.head: (label.answer, label.rule) for label in case.labels.all()} == {
        "main_category": ("GBV", "system"),
        "priority": ("1", "system"),
    }
    again = token(Scope.CORRECT, name="records")
    same = {"id": case.pk, "labels": {"main_category": "GBV", "priority": "1"}}
    assert correct(again, same)[0]["status"] == "known"
    assert (Annotation.objects.count(), Annotator.objects.filter(kind="system").count()) == (1, 1)
    assert answers.ROLES[Origin.API] == "system"


def test_what_people_answered_stands_before_it(secret, helpline) -> None:
    case = case_named("1")
    submissions.record(case, submission(helpline, "Wanjiru", {"priority": "2"}))
    correct(secret, {"external_id": "1", "labels": {"priority": "1"}})
    assert case.labels.get(head="priority").answer == "2"


def test_good_heads_and_items_are_kept_and_others_reported_without_quoting_the_text(secret) -> None:
    found = correct(
        secret,
        {"external_id": "1", "labels": {"priority": "Amina", "main_category": "GBV"}},
        {"external_id": "2", "labels": {"priority": "1"}},
        {"labels": {"priority": "1"}},
        {"external_id": "1", "labels": {}},
    )
    assert [one["status"] for one in found] == ["stored", "refused", "refused", "refused"]
    assert found[0]["heads"] == ["main_category"]
    assert len(found[0]["problems"]) == 1
    assert "Amina" not in str(found)


def test_no_case_of_another_source_is_corrected(secret) -> None:
    other = token(Scope.CORRECT, name="another")
    (refused,) = correct(other, {"id": case_named("1").pk, "labels": {"priority": "1"}})
    assert refused["problems"] == ["there is no such case, or it is not yours"]
    assert not Annotation.objects.exists()


def test_a_correction_does_not_reopen_what_an_import_decided(secret, helpline, import_rows) -> None:
    import_rows(helpline, LABELLED | {"id": "3", "source": "records"})
    assert case_named("3").state == CaseState.DECIDED
    assert correct(secret, {"external_id": "3", "labels": {"priority": "2"}})[0]["status"] == "stored"
    assert case_named("3").state == CaseState.DECIDED
    assert case_named("3").labels.get(head="priority").answer == "2"
