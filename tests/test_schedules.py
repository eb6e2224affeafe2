"""Trainings that no person asks for."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, time, timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone
from django_celery_beat.models import PeriodicTask
from django_celery_beat.schedulers import DatabaseScheduler

from tests.conftest import change_policy
from webapp import tasks
from webapp.actions import runs, schedules, snapshots
from webapp.celery_app import app
from webapp.errors import NotSchedulable, NotSettable
from webapp.models import AuditEvent, Cause, Policy, Run, RunState, Schema
from webapp.queries import schedules as times
from webapp.queries import schemas as in_force
from webapp.roles import Role


@pytest.fixture
def labelled(helpline, import_rows) -> Schema:
    label(helpline, import_rows, 0, 20)
    return helpline


def label(schema: Schema, import_rows: Any, first: int, end: int) -> None:
    rows = ({"id": str(n), "text": f"text {n}", "priority": "1"} for n in range(first, end))
    import_rows(schema, *rows, name=f"{first}.jsonl")


def scheduler() -> DatabaseScheduler:
    made = DatabaseScheduler(app=app)
    made._finalize.cancel()  # It would write to the database when Python ends, after that has
    return made


def daily(schema: Schema, at: time = time(2, 30), profile: str = "full") -> None:
    schedules.put(schema, days=list(times.DAYS), at=at, profile=profile, by=None)


@pytest.mark.django_db(transaction=True)  # The scheduler opens its connection anew
def test_the_scheduler_sends_a_training_once_when_it_is_due(labelled, sent) -> None:
    in_an_hour = timezone.localtime() + timedelta(hours=1)
    daily(labelled, time(in_an_hour.hour, in_an_hour.minute))
    entry = scheduler().schedule["train helpline"]
    assert (entry.task, entry.kwargs) == (schedules.TASK, {"schema_id": labelled.pk, "profile": "full"})
    assert entry.is_due().is_due is False

    PeriodicTask.objects.filter(name="train helpline").update(last_run_at=timezone.now() - timedelta(days=2))
    again = scheduler()
    entry = again.schedule["train helpline"]
    assert entry.is_due().is_due is True
    assert again.reserve(entry).is_due().is_due is False


def test_times_are_those_of_the_place(labelled, settings) -> None:
    schedules.put(labelled, days=["mon", "sun"], at=time(2, 30), profile="fast", by=None)
    crontab = PeriodicTask.objects.get(name="train helpline").crontab
    assert str(crontab.timezone) == settings.TIME_ZONE == "Africa/Nairobi"
    assert (crontab.minute, crontab.hour, crontab.day_of_week) == ("30", "2", "0,1")
    monday = datetime(2026, 3, 2, 2, 30, tzinfo=crontab.timezone)
    assert monday.astimezone(UTC).hour == 23
    found = times.of(labelled)
    assert (found.days, found.at, found.profile) == (("mon", "sun"), time(2, 30), "fast")


@pytest.mark.django_db(transaction=True)
def test_what_the_scheduler_always_did_it_still_does() -> None:
    names = set(scheduler().schedule)
    assert {"reap silent runs", "sweep what was left unsent", "poll Label Studio", "look for new labels"} <= names
    assert PeriodicTask.objects.get(name="reap silent runs").expire_seconds == 10


def test_what_is_due_begins_a_run_that_says_what_asked_for_it(labelled, sent) -> None:
    tasks.train_by_schedule(labelled.pk, "full")
    run = Run.objects.get()
    assert (run.cause, run.asked_by, run.profile, run.requested_by) == (Cause.SCHEDULE, "the schedule", "full", None)


def test_what_is_due_while_a_run_is_open_does_nothing_and_says_so(labelled, sent, caplog) -> None:
    first = runs.request(labelled)
    with caplog.at_level(logging.INFO, logger="webapp.actions.runs"):
        tasks.train_by_schedule(labelled.pk, "fast")
    assert list(Run.objects.all()) == [first]
    [record] = [record for record in caplog.records if record.message == "training not begun"]
    assert (record.schema, record.cause, record.why) == (labelled.pk, "schedule", "RunInProgress")
    assert times.of(labelled).skipped.facts["why"].startswith("A training of Child helpline calls is under way")


def test_a_schedule_is_changed_and_taken_away(labelled, person) -> None:
    admin = person(Role.ADMIN)
    daily(labelled)
    schedules.put(labelled, days=["wed"], at=time(4), profile="fast", by=admin)
    assert PeriodicTask.objects.filter(name="train helpline").count() == 1
    assert times.of(labelled).days == ("wed",)
    schedules.put(labelled, days=[], at=None, profile="fast", by=admin)
    assert (times.of(labelled).days, times.of(labelled).at) == ((), None)
    assert [event.action for event in AuditEvent.objects.filter(actor=admin).order_by("id")] == [
        "schedule set",
        "schedule removed",
    ]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"days": ["monday"], "at": time(1)}, "^'monday' is no day; expected some of mon, tue,"),
        ({"days": ["mon"], "at": None}, "^There are days, and no time"),
    ],
)
def test_times_that_cannot_be_are_refused(helpline, given, words) -> None:
    with pytest.raises(NotSchedulable, match=words):
        schedules.put(helpline, profile="fast", by=None, **given)
    assert not PeriodicTask.objects.filter(name="train helpline").exists()


def test_new_labels_begin_a_run_once_there_are_enough(labelled, import_rows, sent) -> None:
    change_policy(labelled, train_after=5)
    snapshots.take(labelled.versions.get())
    label(labelled, import_rows, 20, 24)
    tasks.train_on_new_labels()
    assert (times.newly_labelled(labelled), list(Run.objects.all())) == (4, [])
    label(labelled, import_rows, 24, 25)
    tasks.train_on_new_labels()
    tasks.train_on_new_labels()
    run = Run.objects.get()
    assert (run.cause, run.asked_by, run.profile) == (Cause.LABELS, "new labels", "fast")


def test_labels_that_a_run_has_begun_with_are_new_no_more_however_it_ends(labelled, sent) -> None:
    change_policy(labelled, train_after=20)
    tasks.train_on_new_labels()
    Run.objects.update(state=RunState.FAILED, profile="full")
    tasks.train_on_new_labels()
    assert Run.objects.count() == 1
    assert times.newly_labelled(labelled) == 0


def test_a_run_for_new_labels_is_like_the_last_one(labelled, import_rows, sent) -> None:
    change_policy(labelled, train_after=2)
    Run.objects.create(
        schema=labelled, schema_version=labelled.versions.get(), profile="full", state=RunState.SUCCEEDED
    )
    label(labelled, import_rows, 20, 22)
    tasks.train_on_new_labels()
    assert Run.objects.latest("id").profile == "full"


def test_without_a_policy_new_labels_begin_nothing(labelled, sent) -> None:
    tasks.train_on_new_labels()
    assert list(Run.objects.all()) == []


def test_an_admin_sets_both_on_the_page(labelled, signed_in) -> None:
    desk = signed_in(Role.ADMIN)
    given = {"days": ["tue", "fri"], "at": "03:15", "profile": "full", "train_after": "50"}
    page = desk.post("/models/helpline/schedule/", given, follow=True).content.decode()
    assert "Set for Child helpline calls." in page
    assert 'name="days" value="tue" checked' in page
    assert 'name="days" value="mon">' in page
    assert 'value="03:15"' in page
    assert 'name="train_after" min="0" max="1000000" required value="50"' in page
    assert "20 since the last training" in page
    assert times.of(labelled).profile == "full"
    assert (Policy.objects.latest("id").reason, Policy.objects.latest("id").created_by.username) == (
        "a training after 50 newly labelled cases",
        "admin",
    )
    page = desk.post("/models/helpline/schedule/", {**given, "train_after": "-1"}, follow=True).content.decode()
    assert "Nothing was changed. train_after:" in page
    assert in_force.policy(labelled).parsed.train_after == 50


def test_the_command_sets_both(labelled) -> None:
    out = StringIO()
    call_command("schedule_training", "helpline", "--days", "mon,sat", "--at", "23:05", "--after", "7", stdout=out)
    found = times.of(labelled)
    assert (found.days, found.at, found.train_after) == (("mon", "sat"), time(23, 5), 7)
    assert out.getvalue() == "Set for Child helpline calls.\n"
    with pytest.raises(CommandError, match=r"^train_after is -1; expected a whole number from 0 \(never\)"):
        call_command("schedule_training", "helpline", "--after", "-1")


def test_a_number_that_no_training_can_wait_for_is_refused(labelled) -> None:
    with pytest.raises(NotSettable):
        schedules.wait_for_labels(labelled, 10**9, by=None)
