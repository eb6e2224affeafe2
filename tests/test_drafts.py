"""What is typed is kept before it is sent, and what was sent last can be taken back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from ml.answers import Problem
from tests.conftest import case_named, helpline_prediction, predict, submission, trained_version
from webapp.actions import escalations, reviews, snapshots, submissions
from webapp.errors import NotUndoable, StaleCase
from webapp.models import Annotation, Case, CaseState, Draft, Review, Schema
from webapp.queries import schemas
from webapp.roles import Role

FORM = {"main_category": "VANE", "sub_category": "Child Neglect", "priority": "1", "revision": "0", "note": "at noon"}
ANSWERS = {"main_category": "VANE", "sub_category": "Child Neglect", "priority": "1"}


@pytest.fixture
def case(helpline: Schema, import_rows: Callable[..., Any]) -> Case:
    """A case in review."""
    import_rows(helpline, {"id": "1", "text": "Caller: I am hungry."})
    return predict(trained_version(helpline), "1", helpline_prediction(sure=0.62, urgent=0.31))


@pytest.fixture
def desk(signed_in: Callable[..., Client]) -> Client:
    return signed_in(Role.SUPERVISOR, "halima")


def standing(case: Case) -> tuple[str, dict[str, Any], set[str]]:
    """What undoing must bring back: the state, the labels and the open flags."""
    found = case_named(case.external_id)
    labels = dict(found.labels.values_list("head", "answer"))
    return found.state, labels, set(found.flags.filter(resolved_at=None).values_list("kind", flat=True))


def test_what_was_typed_is_there_again_for_the_same_person_alone(case, desk, signed_in) -> None:
    said = desk.post(f"/cases/{case.pk}/draft/", FORM | {"reason": "misread"}).content.decode()
    assert said.startswith("draft saved")
    page = desk.get(f"/cases/{case.pk}/").content.decode()
    for kept in ('name="priority" value="1" checked', ">at noon<", '"misread" selected', "is filled in"):
        assert kept in page
    assert ">at noon<" not in signed_in(Role.SUPERVISOR, "juma").get(f"/cases/{case.pk}/").content.decode()


def test_a_draft_that_is_discarded_is_gone(case, desk) -> None:
    desk.post(f"/cases/{case.pk}/draft/", FORM)
    assert desk.post(f"/cases/{case.pk}/draft/discard/")["Location"] == f"/cases/{case.pk}/"
    assert ">at noon<" not in desk.get(f"/cases/{case.pk}/").content.decode()


def test_a_draft_goes_with_the_decision_and_one_that_comes_after_it_is_late(case, desk) -> None:
    desk.post(f"/cases/{case.pk}/draft/", FORM)
    desk.post(f"/cases/{case.pk}/", FORM)
    assert desk.post(f"/cases/{case.pk}/draft/", FORM | {"note": "late"}).content.decode().strip() == ""
    assert "is filled in" not in desk.get(f"/cases/{case.pk}/").content.decode()


def test_a_draft_of_a_case_that_changed_is_kept_and_says_so(helpline, case, desk) -> None:
    known = desk.get(f"/cases/{case.pk}/").context["page"].known
    desk.post(f"/cases/{case.pk}/draft/", FORM | {"known": known})
    submissions.record(case, submission(helpline, "Wanjiru", {"priority": "3"}))
    answer = desk.get(f"/cases/{case.pk}/")
    assert "The case changed since" in answer.content.decode()
    assert [(line.who, line.is_new) for line in answer.context["page"].history] == [("Wanjiru", True)]
    desk.post(f"/cases/{case.pk}/", FORM | {"revision": answer.context["revision"]})
    assert case_named("1").state == CaseState.DECIDED


@pytest.mark.parametrize("act", ["release", "escalate"])
def test_what_was_typed_survives_what_is_done_without_javascript(case, desk, act) -> None:
    desk.post(f"/cases/{case.pk}/{act}/", FORM)
    assert ">at noon<" in desk.get(f"/cases/{case.pk}/").content.decode()


@pytest.mark.parametrize("act", ["release", "reveal", "escalate"])
def test_a_page_on_which_nothing_was_changed_is_no_draft(case, desk, act) -> None:
    as_shown = {"main_category": "VANE", "sub_category": "Child Neglect", "priority": "2", "revision": "0"}
    as_shown |= {"entities.shown": "1", "entities.words": "", "entities.label": "NAME", "note": "", "reason": ""}
    desk.post(f"/cases/{case.pk}/{act}/", as_shown)
    assert not Draft.objects.exists()
    for change in ({"priority": "3"}, {"intervention": "Referral"}, {"entities.words": "hungry"}, {"note": "a"}):
        desk.post(f"/cases/{case.pk}/{act}/", as_shown | change)
        assert Draft.objects.get().values["priority"] == [change.get("priority", "2")], change
        Draft.objects.all().delete()


def test_a_draft_that_is_put_back_as_it_was_is_kept_so(case, desk) -> None:
    desk.post(f"/cases/{case.pk}/draft/", FORM)
    desk.post(f"/cases/{case.pk}/draft/", FORM | {"note": "", "priority": "2"})
    assert Draft.objects.get().values["note"] == [""]


@pytest.mark.parametrize("revision", ["", "-1", "9" * 30, "²"])
def test_a_form_without_its_revision_is_no_draft(case, desk, revision) -> None:
    desk.post(f"/cases/{case.pk}/draft/", {"note": "a", "revision": revision})
    assert not Draft.objects.exists()


@pytest.mark.parametrize("act", ["", "draft/", "escalate/", "send-back/"])
def test_a_character_that_the_database_cannot_hold_is_left_out(case, desk, act) -> None:
    assert desk.post(f"/cases/{case.pk}/{act}", FORM | {"note": "at\x00 noon"}).status_code in (200, 302)
    assert {tuple(draft.values["note"]) for draft in Draft.objects.all()} == {("at noon",)}


# --- Taking back -----------------------------------------------------------------------------------------------------


def test_a_decision_is_taken_back_with_all_that_followed_and_what_was_typed(case, desk) -> None:
    before = standing(case)
    answer = desk.post(f"/cases/{case.pk}/", FORM, follow=True)
    assert 'aria-keyshortcuts="u"' in answer.content.decode()
    assert desk.post("/queue/undo/")["Location"] == f"/cases/{case.pk}/"
    assert standing(case) == before
    page = desk.get(f"/cases/{case.pk}/")
    assert 'name="priority" value="1" checked' in page.content.decode()
    assert case_named("1").held_by.get_username() == "halima"
    assert [line.how for line in page.context["page"].history] == ["review, taken back", "review"]
    desk.post(f"/cases/{case.pk}/", FORM | {"revision": page.context["revision"]})
    assert standing(case)[:2] == (CaseState.DECIDED, ANSWERS)


def test_nothing_is_removed_by_taking_it_back(case, desk) -> None:
    desk.post(f"/cases/{case.pk}/", FORM)
    desk.post("/queue/undo/")
    first, second = Annotation.objects.order_by("pk")
    assert (second.supersedes, second.is_deletion, first.answers) == (first, True, ANSWERS)
    assert list(Review.objects.order_by("pk").values_list("act", flat=True)) == ["accept", "undo"]


def test_a_changed_decision_that_is_taken_back_leaves_the_one_before(case, desk) -> None:
    desk.post(f"/cases/{case.pk}/", FORM)
    desk.post(f"/cases/{case.pk}/", FORM | {"priority": "3", "revision": "1", "prediction": case.current_prediction.pk})
    desk.post("/queue/undo/")
    assert standing(case)[:2] == (CaseState.DECIDED, ANSWERS)


def test_sending_back_and_asking_are_taken_back_too(case, desk) -> None:
    before = standing(case)
    desk.post(f"/cases/{case.pk}/send-back/", FORM | {"to": ""})
    desk.post("/queue/undo/")
    assert standing(case) == before
    desk.post(f"/cases/{case.pk}/second-opinion/", FORM | {"revision": "2"})
    desk.post("/queue/undo/")
    assert standing(case) == before


def test_what_another_has_changed_since_is_not_taken_back(helpline, case, desk, person) -> None:
    desk.post(f"/cases/{case.pk}/", FORM)
    reviews.decide(case_named("1"), person(Role.SUPERVISOR, "juma"), answers=ANSWERS | {"priority": "3"}, revision=1)
    after = standing(case)
    with pytest.raises(StaleCase, match="nothing is taken back"):
        reviews.undo(User.objects.get(username="halima"))
    assert "nothing is taken back" in desk.post("/queue/undo/", follow=True).content.decode()
    assert standing(case) == after


def test_a_case_that_another_has_open_is_not_taken_from_them(case, desk, signed_in) -> None:
    desk.post(f"/cases/{case.pk}/second-opinion/", FORM)
    other = signed_in(Role.SUPERVISOR, "juma")
    other.get(f"/cases/{case.pk}/")
    said = desk.post("/queue/undo/", follow=True).content.decode()
    assert "juma has this case open, so that nothing is taken back" in said
    assert case_named("1").held_by.get_username() == "juma"
    other.post(f"/cases/{case.pk}/release/", FORM)
    assert "Taken back" in desk.post("/queue/undo/", follow=True).content.decode()


def test_a_step_is_taken_back_once_and_only_by_who_took_it(case, desk, person) -> None:
    desk.post(f"/cases/{case.pk}/", FORM)
    with pytest.raises(NotUndoable):
        reviews.undo(person(Role.SUPERVISOR, "juma"))
    desk.post("/queue/undo/")
    assert "There is nothing to take back." in desk.post("/queue/undo/", follow=True).content.decode()


def test_an_alert_stands_whatever_is_taken_back(case, desk, person) -> None:
    escalation = escalations.escalate(case, person(Role.SUPERVISOR, "juma"))
    desk.post(f"/cases/{case.pk}/", FORM)
    desk.post("/queue/undo/")
    assert escalation.case.flags.get(kind="escalation").resolved_at is None
    assert "by juma at" in desk.get("/queue/").content.decode()


@pytest.mark.parametrize("state", [CaseState.LABELLING, CaseState.REVIEW])
def test_an_alert_that_came_after_the_decision_puts_the_case_into_review_when_it_is_taken_back(
    case, desk, person, state
) -> None:
    Case.objects.update(state=state)
    desk.post(f"/cases/{case.pk}/", FORM)
    escalations.escalate(case, person(Role.SUPERVISOR, "juma"))
    desk.post("/queue/undo/")
    assert standing(case)[0] == CaseState.REVIEW
    assert "escalation" in standing(case)[2]


def test_an_audit_that_was_decided_before_is_not_blind_when_it_is_decided_again(case, desk) -> None:
    Case.objects.update(is_audit=True)
    whole = FORM | {"intervention.none": "1", "entities.none": "1", "call_quality.rest": "na"}
    desk.post(f"/cases/{case.pk}/", whole)
    desk.get(f"/cases/{case.pk}/")  # Which shows what the model answered
    desk.post("/queue/undo/")
    desk.post(f"/cases/{case.pk}/", whole | {"revision": "2"})
    blind, _withdrawal, again = Annotation.objects.order_by("pk")
    assert (blind.prediction, again.prediction) == (None, case.current_prediction)
    assert snapshots.take(schemas.newest_version(case.schema)).rows.count() == 0


def test_an_answer_that_was_taken_back_is_no_review_for_what_annotators_say_next(helpline, case, desk) -> None:
    desk.post(f"/cases/{case.pk}/", FORM)
    desk.post("/queue/undo/")
    faulty = submission(helpline, "Wanjiru", {"priority": "2"}, problems=[Problem("intervention", "is faulty")])
    submissions.record(case, faulty)
    assert case_named("1").flags.filter(kind="invalid", head="intervention", resolved_at=None).exists()


def test_the_keyboard_map_is_on_every_page_and_a_page_of_its_own(desk) -> None:
    for page in ("/queue/", "/keys/"):
        assert "an alert for all supervisors and admins" in desk.get(page).content.decode()
