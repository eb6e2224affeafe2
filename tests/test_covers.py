"""What surrogates stand for in a case, written down by the policy in force."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ml.types import HeadPrediction
from tests.conftest import case_named, change_policy, helpline_prediction, predict, submission, trained_version
from webapp.actions import covers, submissions
from webapp.models import Case, Cover, Schema

TEXT = "Amina from Kisumu, says Otieno: 0712 345 678."
AMINA = {"start": 0, "end": 5, "label": "NAME"}
KISUMU = {"start": 11, "end": 17, "label": "LOCATION"}
OTIENO = {"start": 24, "end": 30, "label": "NAME"}


@pytest.fixture
def predicted(helpline: Schema, import_rows: Callable[..., Any]) -> Callable[..., Case]:
    """Let the next version say where entities are in a case."""
    change_policy(helpline, hidden_labels=["NAME"])

    def make(external_id: str, *spans: dict[str, Any], text: str = TEXT, **row: Any) -> Case:
        import_rows(helpline, {"id": external_id, "text": text, **row})
        version = trained_version(helpline, helpline.model_versions.count())
        prediction = helpline_prediction(sure=0.5) | {"entities": HeadPrediction([*spans], None)}  # type: ignore[list-item]
        return predict(version, external_id, prediction)

    return make


def read(case: Case) -> str:
    row = covers.current(case_named(case.external_id))
    return row.parsed.applied(case.stored_text.text) if row else case.stored_text.text


def test_hidden_labels_and_phone_numbers_are_covered_and_others_are_not(predicted) -> None:
    assert read(predicted("1", AMINA, KISUMU)) == "Person A from Kisumu, says Otieno: Phone 1."


def test_without_hidden_labels_nothing_is_covered_or_written_down(predicted, helpline) -> None:
    case = predicted("1", AMINA)
    change_policy(helpline, hidden_labels=[])
    assert (read(case), Cover.objects.count()) == (TEXT, 0)


def test_a_cover_is_written_down_once_while_nothing_changes(predicted) -> None:
    case = predicted("1", AMINA)
    assert covers.current(case) == covers.current(case_named("1"))
    assert Cover.objects.count() == 1


def test_what_was_covered_stays_so_by_the_same_surrogate_when_another_version_finds_other_names(predicted) -> None:
    case = predicted("1", OTIENO)
    assert read(case) == "Amina from Kisumu, says Person A: Phone 1."
    before = Cover.objects.get()
    predicted("1", AMINA)
    assert read(case) == "Person B from Kisumu, says Person A: Phone 1."
    assert covers.named(case, before.pk).parsed.applied(TEXT) == "Amina from Kisumu, says Person A: Phone 1."


def test_other_rules_begin_anew(predicted, helpline) -> None:
    case = predicted("1", AMINA, KISUMU)
    assert read(case).startswith("Person A")
    change_policy(helpline, hidden_labels=["LOCATION"], phone_region="")
    assert read(case) == "Amina from Town A, says Otieno: Phone 1."


def test_what_people_marked_is_covered_too(predicted, helpline) -> None:
    case = predicted("1", AMINA)
    submissions.record(case, submission(helpline, "Wanjiru", {"entities": [OTIENO]}))
    assert read(case) == "Person A from Kisumu, says Person B: Phone 1."


def test_a_name_has_one_surrogate_in_a_conversation_and_a_message_in_which_it_was_missed_hides_it(predicted) -> None:
    assert read(predicted("1", OTIENO, AMINA, conversation="7")).startswith("Person A from Kisumu, says Person B")
    assert read(predicted("2", text="otieno and AMINA again", conversation="7")) == "Person B and Person A again"
    assert read(predicted("3", text="otieno elsewhere", conversation="8")) == "otieno elsewhere"


def test_a_cover_is_found_for_its_own_case_only(predicted) -> None:
    row = covers.current(predicted("1", AMINA))
    other = predicted("2", text="Nobody.")
    assert covers.named(other, row.pk) is None
    assert covers.named(other, 0) is None


def test_a_cover_holds_no_word_of_the_text(predicted) -> None:
    covers.current(predicted("1", AMINA))
    assert Cover.objects.get().pieces == [[0, 5, "Person A"], [32, 44, "Phone 1"]]
