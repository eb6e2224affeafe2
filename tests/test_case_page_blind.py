"""The page of a case that is audited: answered blind, and whole."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from tests.conftest import (
    FORM,
    case_named,
)
from webapp.models import Annotation
from webapp.queries import casepage

NOTHING_ELSE = {"intervention.none": "1", "entities.none": "1", "call_quality.rest": "na"}


def decide(desk: Client, **form: Any) -> Any:
    return desk.post(f"/cases/{case_named('1').pk}/", FORM | NOTHING_ELSE | form)


def test_a_blind_page_shows_neither_what_the_model_said_nor_what_the_import_said(audited, desk) -> None:
    page = desk.get(f"/cases/{audited.pk}/").content.decode()
    assert "Answer every question from the text alone" in page
    assert "why: audit: answered without the model" in page
    for words in ("checked", "%", "Answers of", "may be urgent", "<mark>", "◆", "✓", "import 1", "the model is"):
        assert words not in page.split('<form method="post" aria-label')[1], words
    shown = casepage.page(audited)
    assert [option.key for head in shown.heads for option in head.options if option.is_chosen] == []
    assert (shown.history, shown.shown, {head.spans for head in shown.heads}) == ((), None, {()})
    main = shown.heads[0]
    assert [option.key for option in main.options] == list(main.head.keys)  # Not in the order of the model's answers


def test_a_blind_page_that_comes_back_with_an_error_is_still_blind(audited, desk) -> None:
    answer = decide(desk, priority="")
    assert answer.status_code == 422
    page = answer.content.decode()
    assert "%" not in page.split('<form method="post" aria-label')[1]
    chosen = [option.key for head in answer.context["page"].heads for option in head.options if option.is_chosen]
    assert chosen == ["VANE", "Child Neglect"]


def test_a_blind_case_is_decided_once_every_question_is_answered_or_said_to_have_no_answer(audited, desk) -> None:
    address = f"/cases/{audited.pk}/"
    half = FORM | {"note": "see the end", "call_quality.opening.phrase": "yes", "entities.words": "Amina"}
    half = {key: value for key, value in half.items() if key != "priority"}
    answer = desk.post(address, half | {"entities.label": "NAME"})
    told = [str(message) for message in answer.context["messages"]]
    assert (answer.status_code, told) == (
        422,
        [
            "Intervention has no answer; tick what fits, or that none does.",
            "Priority has no answer; choose one.",
            "Call quality: 16 of 17 have no mark; mark them, or tick that the rest does not apply.",
        ],
    )
    page = answer.content.decode()
    for kept in ("see the end", 'value="Child Neglect" checked', 'value="27:32:NAME" checked'):
        assert kept in page
    assert 'name="call_quality.opening.phrase" value="yes" checked' in page
    nothing = desk.post(address, {"revision": "0"}).context["messages"]
    assert "Entities has no answer; mark what is there, or tick that there is nothing." in map(str, nothing)
    assert case_named("1").is_open
    desk.post(address, half | {"priority": "2", **NOTHING_ELSE, "entities.words": ""})
    said = Annotation.objects.get(origin="review").answers
    assert (said["intervention"], said["entities"], said["call_quality"]["opening"]) == ([], [], {"phrase": True})
    assert set(said["call_quality"]["closing"].values()) == {None}


def test_an_audited_case_shows_everything_once_a_person_has_answered_it(audited, desk) -> None:
    decide(desk)
    page = desk.get(f"/cases/{audited.pk}/").content.decode()
    assert "Answers of version 1" in page
    assert "Answer every question from the text alone" not in page


def test_a_blind_review_names_no_prediction_whatever_the_form_says(audited, desk) -> None:
    assert 'name="prediction" value=""' in desk.get(f"/cases/{audited.pk}/").content.decode()
    decide(desk, prediction=audited.current_prediction.pk)
    assert Annotation.objects.get(origin="review").prediction is None


@pytest.mark.parametrize("nameless", [{"prediction": ""}, {}], ids=["empty", "missing"])
def test_an_audit_that_was_shown_with_answers_never_passes_for_blind_again(audited, desk, nameless) -> None:
    decide(desk)
    again = decide(desk, revision="1", priority="1", **nameless)
    assert again.status_code == 422
    assert "The form is not complete; open the case again." in again.content.decode()
    decide(desk, revision="1", priority="1", prediction=again.context["page"].shown.pk)
    answered = Annotation.objects.filter(origin="review").order_by("pk")
    assert [(one.prediction, one.answers["priority"]) for one in answered] == [
        (None, "2"),
        (audited.current_prediction, "1"),
    ]


def test_a_blind_form_of_an_audit_that_was_decided_meanwhile_is_stale(audited, desk) -> None:
    decide(desk)
    answer = decide(desk, prediction="", priority="1")
    assert answer.status_code == 409
    assert "Somebody changed this case since you opened it" in answer.content.decode()


@pytest.mark.parametrize(
    ("head", "name"), [("priority", "Priority"), ("main_category", "Main category"), ("sub_category", "Sub-category")]
)
def test_a_required_answer_that_is_missing_is_named_and_nothing_is_saved(audited, desk, head, name) -> None:
    form = {key: value for key, value in (FORM | NOTHING_ELSE).items() if key != head}
    if head == "main_category":
        del form["sub_category"]  # Otherwise it follows from it
    answer = desk.post(f"/cases/{audited.pk}/", form)
    assert answer.status_code == 422
    assert f"{name} has no answer; choose one." in answer.content.decode()
    assert (list(Annotation.objects.filter(origin="review")), case_named("1").revision) == ([], 0)
