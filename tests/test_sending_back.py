"""Sending a case back to annotators, and asking another supervisor."""

from __future__ import annotations

from dataclasses import replace
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
from webapp.actions import labelling as next_cases
from webapp.actions import leases, people, reviews, submissions
from webapp.errors import NotSendable
from webapp.models import Case, CaseState, LabelStudioProject, LabelStudioTask, Outbox, Review
from webapp.queries import asks, labelling
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
    submissions.record(case, submission(helpline, "Chiku", {}, id=3, is_skip=True))
    assert case_named("1").state == CaseState.LABELLING
    submissions.record(case, submission(helpline, "Otieno", ANSWERS, id=2, minute=2))
    assert case_named("1").state == CaseState.DECIDED


def test_what_the_one_who_was_asked_skips_goes_to_review(helpline, case, halima, signed_in) -> None:
    reviews.send_back(case, halima, revision=case.revision, note="again", to=annotator_named("Otieno"))
    submissions.record(case, submission(helpline, "Otieno", {}, id=2, is_skip=True))
    assert case_named("1").state == CaseState.REVIEW
    page = signed_in(Role.SUPERVISOR, "juma").get(f"/cases/{case.pk}/").content.decode()
    assert "Otieno was asked, and skipped it" in page
    submissions.record(case, submission(helpline, "Otieno", ANSWERS, id=2, minute=2))
    predict(trained_version(helpline, 2), "1", helpline_prediction(sure=0.99, urgent=0.0))
    assert case_named("1").state == CaseState.REVIEW


def test_what_whoever_comes_skips_still_waits(helpline, case, halima) -> None:
    reviews.send_back(case, halima, revision=case.revision, note="again")
    submissions.record(case, submission(helpline, "Otieno", {}, id=2, is_skip=True))
    assert case_named("1").state == CaseState.LABELLING


def test_who_is_gone_is_not_asked_and_whoever_comes_may_answer_for_them(helpline, case, halima, person) -> None:
    amina, otieno = (person(Role.ANNOTATOR, name) for name in ("amina", "otieno"))
    reviews.send_back(case, halima, revision=case.revision, note="again", to=people.annotator_of(amina))
    assert not asks.of(otieno)
    assert not labelling.cases_for(otieno).exists()
    people.deactivate(amina, by=None)
    assert "amina" not in [one.name for one, _answered in asks.annotators(case)]
    assert [review.note for review in asks.of(otieno)] == ["again"]
    assert labelling.cases_for(otieno).get() == case
    by = people.annotator_of(otieno).name
    submissions.record(case, submission(helpline, by, ANSWERS, id=2))
    assert case_named("1").state == CaseState.DECIDED


def test_who_answered_before_and_is_gone_is_not_offered(helpline, case, person) -> None:
    amina = person(Role.ANNOTATOR, "amina")
    people.annotator_of(amina)
    said = submission(helpline, "Chiku", ANSWERS, id=2)
    submissions.record(case, replace(said, annotator=people.annotator_of(amina)))
    people.deactivate(amina, by=None)
    assert [one.name for one, _answered in asks.annotators(case)] == ["Wanjiru"]


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


def test_what_was_sent_back_stays_with_annotators_whatever_the_next_version_says(helpline, case, halima) -> None:
    reviews.send_back(case, halima, revision=case.revision, note="again")
    predict(trained_version(helpline, 2), "1", helpline_prediction(sure=0.62, urgent=0.9))
    assert case_named("1").state == CaseState.LABELLING
    assert case_named("1").flags.filter(kind="urgent", resolved_at=None).exists()


def test_what_is_asked_outlives_an_act_that_was_taken_back(helpline, case, halima, person) -> None:
    otieno = person(Role.ANNOTATOR, "otieno")
    reviews.send_back(case, halima, revision=case.revision, note="again", to=people.annotator_of(otieno))
    for number, act in enumerate([reviews.decide, reviews.ask_second_opinion, reviews.send_back]):
        options: dict[str, Any] = {} if act is reviews.ask_second_opinion else {"note": "other"}
        options |= {"answers": ANSWERS} if act is reviews.decide else {}
        act(case, halima, revision=case.revision + 1 + 2 * number, **options)
        reviews.undo(halima)
        assert [review.note for review in asks.of(otieno)] == ["again"], act


def test_a_case_is_taken_first_by_the_one_who_is_asked_and_by_no_other(helpline, import_rows, case, person) -> None:
    import_rows(helpline, {"id": "2", "text": "Caller: I am cold."})
    other = predict(trained_version(helpline, 2), "2", helpline_prediction(sure=0.3))
    Case.objects.filter(pk=other.pk).update(state=CaseState.LABELLING, rank=9)
    amina, otieno = (person(Role.ANNOTATOR, name) for name in ("amina", "otieno"))
    project = LabelStudioProject.objects.create(schema=helpline, schema_version=helpline.versions.get(), project=7)
    for number, one in enumerate([case, other]):
        LabelStudioTask.objects.create(case=one, project=project, task=70 + number)
    by = annotator_named("Wanjiru")  # Who has answered it
    by.user = amina
    by.save()
    halima = person(Role.SUPERVISOR)
    reviews.send_back(case, halima, revision=case.revision, note="again", to=by)
    assert list(labelling.cases_for(otieno)) == [other]
    first = next_cases.take_next(amina, project)
    assert first is not None
    assert first.case == case
    submissions.record(case, submission(helpline, "Wanjiru", ANSWERS, minute=1))
    assert not labelling.cases_for(amina).filter(pk=case.pk).exists()


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


def test_two_who_ask_for_another_opinion_are_both_kept_out_of_it(case, halima, person, signed_in) -> None:
    juma, zawadi = person(Role.SUPERVISOR, "juma"), signed_in(Role.SUPERVISOR, "zawadi")
    reviews.ask_second_opinion(case, halima, revision=case.revision)
    reviews.ask_second_opinion(case, juma, revision=case.revision + 1)
    assert (leases.take_next(halima), leases.take_next(juma)) == (None, None)
    assert "halima and juma ask for another opinion" in zawadi.get(f"/cases/{case.pk}/").content.decode()
    leases.release(case, User.objects.get(username="zawadi"))
    reviews.undo(juma)
    leases.release(case, juma)
    assert (leases.take_next(halima), leases.take_next(juma)) == (None, case)
    assert "halima asks for a second opinion" in zawadi.get(f"/cases/{case.pk}/").content.decode()


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
