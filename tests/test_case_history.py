"""Who said what of a case, and what happens when somebody changes it while another reads it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from ml.types import HeadPrediction
from tests.conftest import case_named, change_policy, helpline_prediction, predict, submission, trained_version
from webapp.actions import submissions
from webapp.models import Annotation, Case, Schema
from webapp.roles import Role

TEXT = "Agent: Hello?\nCaller: I am Amina. My baby is hungry."
AMINA = {"start": 27, "end": 32, "label": "NAME"}
FORM = {"main_category": "VANE", "sub_category": "Child Neglect", "priority": "2", "revision": "0"}
ANSWERS = {"main_category": "VANE", "sub_category": "Child Neglect", "priority": "2"}


@pytest.fixture
def case(helpline: Schema, import_rows: Callable[..., Any]) -> Case:
    """A case in review, on which the model marked a name."""
    import_rows(helpline, {"id": "1", "text": TEXT, "county": "Meru"})
    prediction = helpline_prediction(sure=0.62, urgent=0.31) | {"entities": HeadPrediction([AMINA], None)}
    return predict(trained_version(helpline), "1", prediction)


@pytest.fixture
def audited(helpline: Schema, import_rows: Callable[..., Any]) -> Case:
    """A case that is audited blind, that came with labels, and that the model calls urgent."""
    change_policy(helpline, audit_share=1.0)
    import_rows(helpline, {"id": "1", "text": TEXT, "labels": ANSWERS | {"intervention": ["Referral"]}})
    prediction = helpline_prediction(sure=0.62, urgent=0.31) | {"entities": HeadPrediction([AMINA], None)}
    return predict(trained_version(helpline), "1", prediction)


@pytest.fixture
def desk(signed_in: Callable[..., Client]) -> Client:
    return signed_in(Role.SUPERVISOR, "halima")


def decide(desk: Client, **form: Any) -> Any:
    return desk.post(f"/cases/{case_named('1').pk}/", FORM | form)


def test_a_correction_is_kept_with_its_reason_and_shown_in_the_history(case, desk) -> None:
    decide(desk, priority="1", prediction=case.current_prediction.pk, reason="misread", note="she said so twice")
    assert Annotation.objects.get().reason == "misread"
    (line,) = desk.get(f"/cases/{case.pk}/").context["page"].history
    assert (line.who, line.how, line.reason, line.note) == (
        "halima",
        "review",
        "the model misread the text",
        "she said so twice",
    )
    assert [(said.head, said.words, said.is_changed) for said in line.said] == [
        ("Main category", "Violence, abuse, neglect and exploitation", False),
        ("Sub-category", "Child neglect", False),
        ("Priority", "1 Critical", True),
    ]


def test_a_reason_that_nobody_offers_is_left_out(case, desk) -> None:
    decide(desk, reason="1; drop table")
    assert Annotation.objects.get().reason == ""


def test_what_other_versions_said_is_shown_beside(helpline, case, desk) -> None:
    predict(trained_version(helpline, 2), "1", helpline_prediction("GBV", "Sexual Violence", urgent=0.5))
    page = desk.get(f"/cases/{case.pk}/").context["page"]
    (other,) = page.versions
    assert (other.who, [said.words for said in other.said][1]) == ("version 1", "Child neglect")
    assert str(page.shown.version) == "version 2"


def test_who_saves_over_a_change_sees_what_is_new(helpline, case, desk) -> None:
    submissions.record(case, submission(helpline, "Wanjiru", {"priority": "2"}))
    opened = desk.get(f"/cases/{case.pk}/").context["page"].known
    submissions.record(case, submission(helpline, "Otieno", {"priority": "3"}, id=2))
    answer = decide(desk, revision="1", known=opened, reason="misread", note="a note")
    assert answer.status_code == 409
    assert [(line.who, line.is_new) for line in answer.context["page"].history] == [
        ("Otieno", True),
        ("Wanjiru", False),
    ]
    assert '<option value="misread" selected>' in answer.content.decode()


def test_the_open_page_tells_of_a_change_before_anything_is_saved(helpline, case, desk) -> None:
    address = f"/cases/{case.pk}/hold/?revision=0"
    assert "changed" not in desk.get(address).content.decode()
    submissions.record(case, submission(helpline, "Wanjiru", {"priority": "3"}))
    assert "◆ changed by Wanjiru at" in desk.get(address).content.decode()
    assert "changed" not in desk.get(f"/cases/{case.pk}/hold/?revision=1").content.decode()


def test_the_page_of_a_blind_case_tells_of_a_change_but_not_whose(helpline, audited, desk) -> None:
    submissions.record(audited, submission(helpline, "Wanjiru", {"priority": "3"}))
    assert "◆ changed meanwhile" in (found := desk.get(f"/cases/{audited.pk}/hold/?revision=0").content.decode())
    assert "Wanjiru" not in found
