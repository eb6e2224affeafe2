"""Who said what of a case, and what happens when somebody changes it while another reads it."""

from __future__ import annotations

import pytest

from tests.conftest import (
    decide,
    helpline_prediction,
    predict,
    submission,
    trained_version,
)
from webapp.actions import submissions
from webapp.models import Annotation, Case


@pytest.fixture
def case(marked: Case) -> Case:
    return marked


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
