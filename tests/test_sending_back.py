"""Sending a case back to annotators, and asking another supervisor."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from tests.conftest import (
    annotator_named,
    case_named,
    change_policy,
    helpline_prediction,
    predict,
    submission,
    trained_version,
)
from webapp.actions import leases, people, reviews, submissions
from webapp.errors import NotSendable
from webapp.models import Case, CaseState, LabelStudioProject, LabelStudioTask, Outbox, Review
from webapp.roles import Role

ANSWERS = {"main_category": "VANE", "sub_category": "Child Neglect", "priority": "2"}


@pytest.fixture
def case(helpline, import_rows) -> Case:
    """A case in review that Wanjiru has answered."""
    import_rows(helpline, {"id": "1", "text": "Caller: I am hungry."})
    predict(trained_version(helpline), "1", helpline_prediction(sure=0.62, urgent=0.31))
    submissions.record(case_named("1"), submission(helpline, "Wanjiru", ANSWERS))
    return case_named("1")


@pytest.fixture
def halima(person) -> User:
    return person(Role.SUPERVISOR, "halima")


def test_a_case_that_is_sent_back_goes_to_annotators_with_a_note(case, signed_in) -> None:
    desk = signed_in(Role.SUPERVISOR, "halima")
    wanjiru = annotator_named("Wanjiru")
    form = {"revision": case.revision, "note": "listen to the end", "to": wanjiru.pk}
    assert desk.post(f"/cases/{case.pk}/send-back/", form)["Location"] == "/queue/"
    review = Review.objects.get()
    assert (review.act, review.to, review.note, review.person.username) == (
        "send_back",
        wanjiru,
        "listen to the end",
        "halima",
    )
    found = case_named("1")
    assert (found.state, found.held_by, found.flags.filter(resolved_at=None).count()) == (CaseState.LABELLING, None, 0)
    assert [row.purpose for row in Outbox.objects.filter(sent_at=None)] == ["push"]
    (line, *_) = desk.get(f"/cases/{case.pk}/").context["page"].history
    assert (line.who, line.how, line.note) == ("halima", "sent back to annotators: Wanjiru", "listen to the end")


@pytest.mark.parametrize(
    ("form", "words"),
    [({"note": " "}, "Say in the note what"), ({"note": "a", "to": "999999"}, "This annotator cannot be asked")],
    ids=["without a note", "to nobody"],
)
def test_what_cannot_be_sent_back_stays_with_what_was_typed(case, signed_in, form: dict[str, Any], words) -> None:
    desk = signed_in(Role.SUPERVISOR)
    answer = desk.post(f"/cases/{case.pk}/send-back/", {"revision": case.revision, "priority": "1"} | form)
    assert answer.status_code == 422
    assert words in answer.content.decode()
    assert 'name="priority" value="1" checked' in answer.content.decode()
    assert case_named("1").state == CaseState.REVIEW


def test_a_decided_case_is_not_sent_back(case, halima) -> None:
    reviews.decide(case, halima, answers=ANSWERS, revision=case.revision)
    with pytest.raises(NotSendable, match="This case is decided"):
        reviews.send_back(case, halima, revision=case.revision + 1, note="again")


def test_what_was_sent_back_waits_for_the_answer_that_was_asked_for(helpline, case, halima) -> None:
    reviews.send_back(case, halima, revision=case.revision, note="again", to=annotator_named("Otieno"))
    submissions.record(case, submission(helpline, "Wanjiru", ANSWERS, minute=1))  # The one who answered before
    submissions.record(case, submission(helpline, "Otieno", {}, id=2, is_skip=True))
    assert case_named("1").state == CaseState.LABELLING
    submissions.record(case, submission(helpline, "Otieno", ANSWERS, id=2, minute=2))
    assert case_named("1").state == CaseState.DECIDED


def test_the_same_annotator_may_be_asked_again(helpline, case, halima) -> None:
    reviews.send_back(case, halima, revision=case.revision, note="again", to=annotator_named("Wanjiru"))
    submissions.record(case, submission(helpline, "Wanjiru", ANSWERS | {"priority": "3"}, minute=1))
    found = case_named("1")
    assert (found.state, found.labels.get(head="priority").answer) == (CaseState.DECIDED, "3")


def test_another_who_answers_otherwise_brings_the_case_back_to_the_supervisor(helpline, case, halima) -> None:
    reviews.send_back(case, halima, revision=case.revision, note="again")
    submissions.record(case, submission(helpline, "Otieno", ANSWERS | {"priority": "3"}, id=2))
    assert case_named("1").state == CaseState.REVIEW
    assert case_named("1").flags.get(resolved_at=None).kind == "disagreement"


def test_a_version_that_is_sure_does_not_accept_what_was_sent_back(helpline, case, halima) -> None:
    reviews.send_back(case, halima, revision=case.revision, note="again")
    predict(trained_version(helpline, 2), "1", helpline_prediction(sure=0.99, urgent=0.0))
    assert case_named("1").state == CaseState.LABELLING


def test_an_annotator_is_told_what_was_sent_back_to_them(helpline, case, halima, signed_in) -> None:
    client, other = signed_in(Role.ANNOTATOR, "wanjiru"), signed_in(Role.ANNOTATOR, "otieno")
    theirs = people.annotator_of(User.objects.get(username="wanjiru"))
    reviews.send_back(case, halima, revision=case.revision, note="listen to the end", to=theirs)
    project = LabelStudioProject.objects.create(schema=helpline, schema_version=helpline.versions.get(), project=7)
    LabelStudioTask.objects.create(case=case, project=project, task=70)
    assert "listen to the end" in client.get("/label/").content.decode()
    assert "listen to the end" not in other.get("/label/").content.decode()
    assert client.get(f"/label/helpline/open/?case={case.pk}")["Location"].endswith("/projects/7/data?task=70")


def test_a_second_opinion_is_another_supervisors(case, signed_in) -> None:
    desk, other = signed_in(Role.SUPERVISOR, "halima"), signed_in(Role.SUPERVISOR, "juma")
    desk.get(f"/cases/{case.pk}/")
    assert desk.post(f"/cases/{case.pk}/second-opinion/", {"revision": case.revision})["Location"] == "/queue/"
    assert desk.post("/queue/next/")["Location"] == "/queue/"
    assert other.post("/queue/next/")["Location"] == f"/cases/{case.pk}/"
    page = other.get(f"/cases/{case.pk}/").content.decode()
    assert "halima asks for a second opinion" in page
    other.post(f"/cases/{case.pk}/", ANSWERS | {"revision": case.revision + 1})
    assert case_named("1").state == CaseState.DECIDED
    assert list(Review.objects.order_by("pk").values_list("act", "person__username")) == [
        ("second_opinion", "halima"),
        ("accept", "juma"),
    ]


def test_accepting_and_fixing_are_told_apart(helpline, case, halima) -> None:
    shown = case.current_prediction
    reviews.decide(case, halima, answers=ANSWERS, revision=case.revision, shown=shown)
    reviews.decide(case, halima, answers=ANSWERS | {"priority": "1"}, revision=case.revision + 1, shown=shown)
    assert list(Review.objects.order_by("pk").values_list("act", flat=True)) == ["accept", "fix"]


def test_a_blind_case_stays_blind_for_the_second_supervisor(helpline, import_rows, person, signed_in) -> None:
    change_policy(helpline, audit_share=1.0)
    import_rows(helpline, {"id": "1", "text": "a"})
    predict(trained_version(helpline), "1", helpline_prediction(sure=0.62, urgent=0.31))
    Case.objects.update(received_at=timezone.now())
    reviews.ask_second_opinion(case_named("1"), person(Role.SUPERVISOR, "halima"), revision=0, note="GBV perhaps")
    other = signed_in(Role.SUPERVISOR, "juma")
    page = other.get(f"/cases/{leases.take_next(User.objects.get(username='juma')).pk}/").content.decode()
    assert "halima asks for a second opinion" in page
    assert "GBV perhaps" not in page
