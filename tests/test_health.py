"""The page about Label Studio, and the examinations that are asked for there."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO
from threading import Thread
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.utils import timezone

from webapp.actions import doctor, sweeping
from webapp.locks import only_one
from webapp.models import Checkup, LabelStudioProject, Outbox
from webapp.roles import Role

PAGE = "/status/label-studio/"


@pytest.fixture
def project(helpline) -> LabelStudioProject:
    return LabelStudioProject.objects.create(schema=helpline, schema_version=helpline.versions.get(), project=7)


def test_the_page_says_since_when_label_studio_is_down_and_what_waits(project, case, sent, signed_in) -> None:
    since = timezone.now() - timedelta(hours=3)
    LabelStudioProject.objects.update(failing_since=since, failure="Label Studio cannot be reached (ConnectError)")
    Outbox.objects.update(attempts=2, created_at=since)
    page = signed_in(Role.ADMIN).get(PAGE).content.decode()
    assert f"not since {timezone.localtime(since):%-d %B %Y %H:%M}" in page
    assert "cannot be reached (ConnectError)" in page
    assert "1 waiting" in page
    assert "1 were tried" in page
    assert "the oldest for about 3 hours" in page


def test_the_page_shows_what_the_polls_noticed(project, signed_in) -> None:
    desk = signed_in(Role.ADMIN)
    LabelStudioProject.objects.update(polled_at=timezone.now(), tasks_there=0)
    assert "◆" not in desk.get(PAGE).content.decode()
    LabelStudioProject.objects.update(drifted_since=timezone.now())
    assert "the configuration was changed there" in desk.get(PAGE).content.decode()


def test_an_examination_is_asked_for_on_the_page_and_done_in_a_worker(
    project, sent, signed_in, django_capture_on_commit_callbacks
) -> None:
    desk = signed_in(Role.ADMIN)
    with django_capture_on_commit_callbacks(execute=True):
        assert desk.post(f"{PAGE}examine/").headers["Location"] == PAGE
    row = Checkup.objects.get()
    assert (row.repairs, sent) == ([], [("examine_label_studio", row.pk)])
    assert "A worker is asked to examine it" in desk.get(PAGE).content.decode()
    doctor.carry_out(row.pk)
    row.refresh_from_db()
    assert row.report["problems"] == ["Label Studio cannot be reached (ConnectError)"]
    page = desk.get(PAGE).content.decode()
    assert "Label Studio cannot be reached (ConnectError)" in page
    assert "A worker is asked" not in page
    finished_at = row.finished_at
    doctor.carry_out(row.pk)
    row.refresh_from_db()
    assert row.finished_at == finished_at


def test_an_examination_that_breaks_off_is_not_begun_again(project, monkeypatch) -> None:
    def broken() -> None:
        raise RuntimeError("my stepfather locks the door")

    monkeypatch.setattr(doctor.sync, "connected", broken)
    row = Checkup.objects.create()
    with pytest.raises(RuntimeError):
        doctor.carry_out(row.pk)
    doctor.carry_out(row.pk)
    row.refresh_from_db()
    assert row.report["problems"] == ["RuntimeError while examining; the log says where"]


def test_a_worker_leaves_alone_what_the_command_is_examining(project, monkeypatch) -> None:
    connected, is_free = doctor.sync.connected, []

    def look_at_the_lock(name: str) -> None:
        try:
            with only_one(name) as is_mine:
                is_free.append(is_mine)
        finally:
            connection.close()

    def meanwhile() -> Any:
        worker = Thread(target=look_at_the_lock, args=[f"checkup {Checkup.objects.get().pk}"])
        worker.start()
        worker.join()
        return connected()

    monkeypatch.setattr(doctor.sync, "connected", meanwhile)
    with pytest.raises(SystemExit):
        call_command("label_studio", "doctor", "--json", stdout=StringIO())
    assert (is_free, Checkup.objects.get().finished_at is None) == ([False], False)


def test_a_repair_has_to_be_confirmed(project, sent, signed_in) -> None:
    desk = signed_in(Role.ADMIN)
    desk.post(f"{PAGE}examine/", {"repair": ["tasks"]})
    assert Checkup.objects.count() == 0
    assert "Nothing was repaired" in desk.get(PAGE).content.decode()
    desk.post(f"{PAGE}examine/", {"repair": ["tasks", "everything"], "confirmed": "yes"})
    assert Checkup.objects.get().repairs == ["tasks"]


def test_what_was_changed_in_the_configuration_is_shown_as_text(project, signed_in) -> None:
    line = '+<Choice value="<script>alert(1)</script>"/>'
    found = {"schema": "helpline", "tasks": 1, "difference": [line], "missing": {"count": 1, "first": [3]}}
    Checkup.objects.create(finished_at=timezone.now(), report={"problems": ["x"], "projects": [found]})
    page = signed_in(Role.ADMIN).get(PAGE).content.decode()
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert 'href="/cases/3/"' in page


def test_the_sweep_sends_an_examination_again_that_nobody_did(project, sent, db) -> None:
    row = Checkup.objects.create()
    sweeping.sweep()
    assert ("examine_label_studio", row.pk) not in sent
    Checkup.objects.update(created_at=timezone.now() - timedelta(minutes=1))
    sweeping.sweep()
    assert ("examine_label_studio", row.pk) in sent


def test_the_doctor_prints_what_it_finds_and_exits_with_1(project, capsys) -> None:
    LabelStudioProject.objects.update(failing_since=timezone.now())
    with pytest.raises(SystemExit, match="1"):
        call_command("label_studio", "doctor")
    said = capsys.readouterr()
    since = f"{timezone.localtime(LabelStudioProject.objects.get().failing_since):%Y-%m-%d %H:%M} EAT"
    assert f"(key: legacy token) does not answer since {since}\nOutbox: 0 waiting\n" in said.out
    assert said.err == "Wrong: Label Studio cannot be reached (ConnectError)\n"
