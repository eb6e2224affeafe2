"""Which case an annotator is taken to next, and what they are told of their work."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.contrib.auth.models import User
from django.core import signing
from django.db import connection
from django.utils import timezone

from tests.conftest import case_named, helpline_prediction, predict, submission, trained_version
from webapp.actions import labelling, people, schemas, submissions
from webapp.models import AuditEvent, CaseState, LabelStudioProject, LabelStudioTask, Schema
from webapp.roles import Role

ANSWERS = {"main_category": "VANE", "sub_category": "Child Neglect", "priority": "2"}


@pytest.fixture
def project(helpline: Schema, import_rows: Callable[..., Any]) -> LabelStudioProject:
    return three_cases(helpline, import_rows)


def three_cases(helpline: Schema, import_rows: Callable[..., Any]) -> LabelStudioProject:
    """A project with three cases, 1 being the one that matters most."""
    import_rows(helpline, *({"id": str(number), "text": "a"} for number in (3, 1, 2)))
    version = trained_version(helpline)
    found = LabelStudioProject.objects.create(schema=helpline, schema_version=helpline.versions.get(), project=5)
    for number in (1, 2, 3):
        case = predict(version, str(number), helpline_prediction(sure=number / 10))
        LabelStudioTask.objects.create(case=case, project=found, task=70 + number, version=version)
    return found


def take(user: User, project: LabelStudioProject) -> str | None:
    task = labelling.take_next(user, project)
    return task.case.external_id if task else None


def answer(user: User, external_id: str, **changes: Any) -> None:
    case = case_named(external_id)
    by = people.annotator_of(user)
    said = submission(case.schema, by.name, {} if changes else ANSWERS, id=100 * user.pk + case.pk, **changes)
    submissions.record(case, said)


def test_each_is_taken_to_the_case_of_most_harm_that_nobody_else_has(project, person) -> None:
    amina, otieno = person(Role.ANNOTATOR, "amina"), person(Role.ANNOTATOR, "otieno")
    assert (take(amina, project), take(otieno, project)) == ("1", "2")
    assert (take(amina, project), take(otieno, project)) == ("1", "2"), "they go on with what they have open"
    LabelStudioTask.objects.filter(opened_by=amina).update(opened_until=timezone.now() - timedelta(seconds=1))
    answer(otieno, "2")
    assert take(otieno, project) == "1", "Amina has left it open for too long"
    assert take(amina, project) == "3"


def test_who_has_just_answered_a_case_is_taken_to_another_before_we_know_of_it(project, person) -> None:
    amina, otieno = person(Role.ANNOTATOR, "amina"), person(Role.ANNOTATOR, "otieno")
    assert take(amina, project) == "1"
    assert labelling.take_next(amina, project, done=[71]).case.external_id == "2"
    assert take(otieno, project) == "3", "what is answered is not given to others meanwhile"


def test_a_case_that_somebody_skipped_is_for_others(project, person) -> None:
    amina, otieno = person(Role.ANNOTATOR, "amina"), person(Role.ANNOTATOR, "otieno")
    take(amina, project)
    answer(amina, "1", is_skip=True)
    assert (take(amina, project), take(otieno, project)) == ("2", "1")


def test_what_is_not_with_annotators_or_was_taken_back_is_offered_to_nobody(project, person) -> None:
    amina = person(Role.ANNOTATOR, "amina")
    LabelStudioTask.objects.filter(case__external_id="1").update(withdrawn_at=timezone.now())
    case = case_named("2")
    case.state = CaseState.REVIEW
    case.save()
    assert take(amina, project) == "3"
    answer(amina, "3")
    assert take(amina, project) is None


@pytest.mark.django_db(transaction=True)
def test_two_who_ask_at_once_are_taken_to_different_cases(import_rows, person, sent) -> None:
    schemas.register_shipped()
    project = three_cases(Schema.objects.get(name="helpline"), import_rows)
    users = [person(Role.ANNOTATOR, name) for name in ("amina", "otieno", "chiku")]
    start = Barrier(3)

    def ask(user: User) -> str | None:
        try:
            start.wait(5)
            return take(user, project)
        finally:
            connection.close()

    with ThreadPoolExecutor(3) as threads:
        assert sorted(threads.map(ask, users)) == ["1", "2", "3"]


def test_the_page_says_what_waits_and_what_was_done_today_and_in_all(project, signed_in, monkeypatch) -> None:
    desk = signed_in(Role.ANNOTATOR, "amina")
    amina = User.objects.get()
    with monkeypatch.context() as earlier:
        then = timezone.now() - timedelta(days=2)
        earlier.setattr(timezone, "now", lambda: then)
        answer(amina, "1")
    answer(amina, "2")
    answer(amina, "3", is_skip=True)
    page = desk.get("/label/").content.decode()
    assert "0 cases wait; you answered 1 today, 2 in all." in page
    other = signed_in(Role.ANNOTATOR, "otieno")
    assert "1 case waits; you answered 0 today, 0 in all." in other.get("/label/").content.decode()


def test_the_next_case_is_a_link_into_its_task_that_signs_its_reader_in(
    project, signed_in, sent, settings, tmp_path
) -> None:
    settings.LABEL_STUDIO_IS_EMBEDDED, settings.LABEL_STUDIO_URL = True, "http://127.0.0.1:8081"
    settings.LABEL_STUDIO_PEOPLE = tmp_path / "people.json"
    desk = signed_in(Role.ANNOTATOR, "amina")
    assert "Your next case" in desk.get("/label/").content.decode()
    place = urlsplit(desk.get("/label/helpline/open/").headers["Location"])
    (token,) = parse_qs(place.query)["bridge"]
    found = signing.loads(token, key=settings.LABEL_STUDIO_BRIDGE_SECRET, salt="caseloop-bridge", max_age=60)
    assert (place.netloc, place.path) == ("127.0.0.1:8081", "/bridge/")
    assert (found["email"], found["next"]) == ("amina@example.org", "/projects/5/data?task=71")
    assert found["back"] == "http://testserver/label/helpline/open/"
    assert sent == [("link_annotator", User.objects.get().pk)], "on first use"
    opened = AuditEvent.objects.get(action="case opened in Label Studio")
    assert (opened.actor.username, opened.subject, opened.facts) == ("amina", f"case {case_named('1').pk}", {})
    assert settings.LABEL_STUDIO_PEOPLE.read_text() == '["amina@example.org"]'
    people.number_in_label_studio(people.annotator_of(User.objects.get()), 7)
    following = parse_qs(urlsplit(desk.get("/label/helpline/open/?done=71").headers["Location"]).query)["bridge"][0]
    following = signing.loads(following, key=settings.LABEL_STUDIO_BRIDGE_SECRET, salt="caseloop-bridge")
    assert (following["next"], following["back"]) == ("/projects/5/data?task=72", found["back"])
    assert "bridge=" in desk.get("/label/helpline/open/?done=72").headers["Location"]
    assert desk.get("/label/helpline/open/?done=73").headers["Location"] == "/label/", "all three were answered"
    assert len(sent) == 1


def test_a_case_that_is_asked_for_is_theirs_and_one_that_is_not_there_yet_is_no_other(
    project, signed_in, sent, settings
) -> None:
    settings.LABEL_STUDIO_URL = "https://labels.example.org/"
    desk, third = signed_in(Role.ANNOTATOR, "amina"), case_named("3")
    place = desk.get(f"/label/helpline/open/?case={third.pk}").headers["Location"]
    assert place == "https://labels.example.org/projects/5/data?task=73"
    assert LabelStudioTask.objects.get(case=third).opened_by.get_username() == "amina"
    other = signed_in(Role.ANNOTATOR, "otieno").get(f"/label/helpline/open/?case={third.pk}", follow=True)
    assert "or another has it open" in other.content.decode()
    LabelStudioTask.objects.filter(case=third).update(withdrawn_at=timezone.now())
    for number in (str(third.pk), "9" * 30, "²"):
        page = desk.get("/label/helpline/open/", {"case": number}, follow=True).content.decode()
        assert "This case is on its way to Label Studio, or" in page
    assert LabelStudioTask.objects.filter(opened_by=None).count() == 2


def test_in_another_label_studio_people_sign_in_themselves(project, signed_in, sent, settings) -> None:
    settings.LABEL_STUDIO_URL = "https://labels.example.org/"
    desk = signed_in(Role.ANNOTATOR, "amina")
    assert "where you sign in yourself" in desk.get("/label/").content.decode()
    assert desk.get("/label/helpline/open/").headers["Location"] == "https://labels.example.org/projects/5/data?task=71"


def test_where_nothing_waits_the_page_says_so(project, signed_in, sent) -> None:
    LabelStudioTask.objects.update(withdrawn_at=timezone.now())
    page = signed_in(Role.ANNOTATOR).get("/label/helpline/open/", follow=True).content.decode()
    assert "No case waits for you at the moment." in page
