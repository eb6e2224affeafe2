"""The audit log as admins search and export it."""

from __future__ import annotations

import csv
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tests.conftest import trained_version
from webapp.actions import audit, people, reveals, sightings
from webapp.models import AuditEvent, Case, RevealReason, Run
from webapp.queries import naming, trail
from webapp.queries.trail import Asked
from webapp.roles import Role


@pytest.fixture
def halima(person) -> User:
    return person(Role.SUPERVISOR, "halima")


@pytest.fixture
def case(helpline, import_rows) -> Case:
    import_rows(helpline, {"id": "1", "text": "a"})
    return Case.objects.get()


ALL = Asked()


def told(asked: Asked = ALL) -> list[tuple[str, str, str]]:
    return [(one.who, one.action, one.subject) for one in trail.lines(asked)]


def test_what_was_seen_revealed_and_changed_is_one_list_the_newest_first(case, halima) -> None:
    before = told()
    audit.record(halima, "case decided", f"case {case.pk}")
    sightings.record(case, halima)
    reveals.reveal(case, halima, RevealReason.DANGER, note="now")
    subject = f"case {case.pk}"
    assert told() == [
        ("halima", "names revealed", subject),
        ("halima", "case seen", subject),
        ("halima", "case decided", subject),
        *before,
    ]
    newest = next(trail.lines(Asked()))
    assert (newest.facts["reason"], newest.facts["note"]) == ("somebody may be in danger", "now")


def test_the_list_is_limited_by_person_action_subject_and_day(case, halima, person) -> None:
    other = person(Role.SUPERVISOR, "juma")
    sightings.record(case, halima)
    sightings.record(case, other)
    audit.record(other, "policy set", "policy 3")
    subject = f"case {case.pk}"
    assert told(Asked(person="Juma")) == [("juma", "policy set", "policy 3"), ("juma", "case seen", subject)]
    assert told(Asked(action="seen", person="halima")) == [("halima", "case seen", subject)]
    assert told(Asked(subjects=("policy 3",))) == [("juma", "policy set", "policy 3")]
    assert told(Asked(subjects=(subject,), person="juma")) == [("juma", "case seen", subject)]
    today = timezone.localdate()
    assert told(Asked(since=today, until=today)) == told()
    assert told(Asked(since=today + timedelta(days=1))) == told(Asked(until=today - timedelta(days=1))) == []


def test_pages_hold_each_line_once_however_many_have_the_same_moment(case, halima, monkeypatch) -> None:
    monkeypatch.setattr(trail, "PAGE", 2)
    for number in range(3):
        sightings.record(case, halima)
        audit.record(halima, "a", f"thing {number}")
        reveals.reveal(case, halima, RevealReason.SAME)
    found = list(trail.lines(Asked(person="halima")))  # One transaction: the database's own moments may be alike
    assert len(found) == len({(one.source, one.number) for one in found}) == 9
    assert [one.at for one in found] == sorted((one.at for one in found), reverse=True)


def test_lines_of_one_moment_are_not_lost_between_pages(case, halima, monkeypatch) -> None:
    monkeypatch.setattr(trail, "PAGE", 1)
    moment = timezone.now()
    monkeypatch.setattr(timezone, "now", lambda: moment)
    for number in range(2):
        reveals.reveal(case, halima, RevealReason.SAME)
        sightings.record(case, halima)
        audit.record(halima, "a", f"thing {number}")
    found = list(trail.lines(Asked(person="halima")))
    assert [one.source for one in found] == ["event"] * 2 + ["sighting"] * 2 + ["reveal"] * 2
    assert [one.subject for one in found[:2]] == ["thing 1", "thing 0"]


def test_a_page_reads_each_table_once_and_no_more_than_it_shows(case, halima) -> None:
    AuditEvent.objects.bulk_create(AuditEvent(actor=halima, action="a", subject="b") for _ in range(300))
    with CaptureQueriesContext(connection) as asked:
        found, following = trail.page(Asked())
    assert (len(found), len(asked)) == (100, 3)
    assert all("LIMIT 101" in query["sql"] for query in asked)
    assert trail.page(Asked(), after=following)[0][0].number == found[-1].number - 1
    assert trail.page(Asked(), after="nonsense")[0] == found


def test_the_page_shows_lines_escaped_and_what_it_is_limited_to(case, halima, signed_in) -> None:
    admin = signed_in(Role.ADMIN)
    reveals.reveal(case, halima, RevealReason.OTHER, note="<b>why</b>")
    page = admin.get("/audit/", {"action": "revealed"}).content.decode()
    assert "note: &lt;b&gt;why&lt;/b&gt;" in page
    assert 'value="revealed"' in page
    assert "No line fits." in admin.get("/audit/", {"person": "nobody"}).content.decode()
    assert admin.get("/audit/", {"since": "soon", "after": "x_y_z"}).status_code == 200


def test_an_export_holds_what_fits_without_formulas_and_is_a_line_itself(case, halima, signed_in) -> None:
    audit.record(halima, "=1+1", f"case {case.pk}", heads=["priority"])
    answer = signed_in(Role.ADMIN).post("/audit/export/", {"person": "halima"})
    rows = list(csv.reader(b"".join(answer.streaming_content).decode().splitlines()))
    assert rows[0] == ["at", "who", "action", "subject", "facts", "of", "details"]
    exact = ["halima", "'=1+1", f"case {case.pk}", '{"heads": ["priority"]}']
    assert [row[1:] for row in rows[1:]] == [[*exact, "case 1", "questions: Priority"]]
    newest = AuditEvent.objects.latest("pk")
    assert (newest.action, newest.actor.username, newest.facts) == ("audit log exported", "admin", {"person": "halima"})


def test_lines_name_cases_people_and_versions_as_people_know_them(helpline, import_rows, halima, signed_in) -> None:
    import_rows(helpline, {"id": "K-0042", "text": "a"})
    case, version = Case.objects.get(), trained_version(helpline)
    annotator = people.annotator_of(halima)
    audit.record(halima, "case sent back", f"case {case.pk}", to=annotator.pk, changed=["sub_category"], why=None)
    audit.record(halima, "role changed", f"person {halima.pk}", before="annotator", role="supervisor", is_new=True)
    audit.record(None, "promoted", f"version {version.pk}", replaced=version.pk, promotion=9)
    run = Run.objects.create(schema=helpline, schema_version=helpline.versions.get(), profile="fast")
    audit.record(None, "run requested", f"run {run.pk}", cause="person", resumes=None)
    audit.record(halima, "run requested", f"run {run.pk}", cause="person", resumes=run.pk)
    audit.record(None, "gone", "run 999999")
    audit.record(halima, "schedule removed", "schema helpline")
    found = [(one.subject, one.details) for one in reversed(naming.named(trail.page(ALL)[0]))]
    training = f"training {run.pk} of {helpline.title}"
    assert found[-7:] == [
        ("case K-0042", "asked: halima; changed: Sub-category"),
        ("person halima", "role: supervisor; before: annotator; is new: yes"),
        (f"version 1 of {helpline.title}", f"instead of: version 1 of {helpline.title}"),
        (training, "asked for by: a command"),
        (training, f"asked for by: a person; goes on from: {training}"),
        ("run 999999", ""),
        (helpline.title, ""),
    ]
    page = signed_in(Role.ADMIN).get("/audit/").content.decode()
    assert f'<a href="/cases/{case.pk}/">case K-0042</a>' in page
    assert f"case {case.pk}<" not in page
    assert "None" not in page.split("<tbody>")[1]


def test_a_subject_is_searched_for_by_what_people_call_it(helpline, import_rows, halima, signed_in) -> None:
    import_rows(helpline, {"id": "K-0042", "text": "a"})
    case = Case.objects.get()
    sightings.record(case, halima)
    audit.record(halima, "role changed", f"person {halima.pk}")
    admin = signed_in(Role.ADMIN)
    for written, action in (
        ("case K-0042", "case seen"),
        ("K-0042", "case seen"),
        (f"case {case.pk}", "case seen"),
        ("person Halima", "role changed"),
    ):
        entries = admin.get("/audit/", {"subject": written}).context["entries"]
        assert [line.entry.action for line in entries] == [action], written


def test_naming_a_page_asks_once_for_each_kind(case, halima) -> None:
    for _ in range(30):
        audit.record(halima, "case decided", f"case {case.pk}", changed=["priority"])
        audit.record(halima, "person added", f"person {halima.pk}")
    entries = trail.page(ALL)[0]
    with CaptureQueriesContext(connection) as asked:
        naming.named(entries)
    assert len(asked) <= 6
