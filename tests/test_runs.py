"""Trainings: one at a time, claimed once, failed when silent, ended once."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from threading import Barrier
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from tests.conftest import change_policy, trained_version
from webapp.actions import runs, schemas, snapshots, versions
from webapp.errors import NotEnoughLabels, RunInProgress
from webapp.models import AuditEvent, Evaluation, ModelVersion, Run, RunState, Schema
from webapp.roles import Role

FIGURES = {"priority": {"n": 4, "accuracy": 0.5, "macro_f1": 0.4, "majority": 0.5, "ece": 0.1}}


@pytest.fixture
def labelled(helpline, import_rows) -> Schema:
    import_rows(helpline, *({"id": str(n), "text": f"text {n}", "priority": "1"} for n in range(20)))
    return helpline


@pytest.fixture
def running(labelled) -> Run:
    run = runs.claim(runs.request(labelled).pk)
    assert run is not None
    return run


def ended_well(run: Run, **changes: Any) -> ModelVersion:
    measured = versions.Measured(snapshots.take(run.schema_version), FIGURES, **changes)
    return runs.succeed(run, folder="helpline/x", manifest={"seed": 0}, manifest_hash="ab", measured=measured)


def test_a_run_is_queued_and_sent_only_after_the_commit(
    labelled, person, sent, django_capture_on_commit_callbacks
) -> None:
    admin = person(Role.ADMIN)
    with django_capture_on_commit_callbacks(execute=True):
        run = runs.request(labelled, by=admin, seed=7)
        assert sent == []
    assert sent == [("train_model", run.pk)]
    run.refresh_from_db()
    assert (run.state, run.requested_by, run.seed, run.profile) == (RunState.QUEUED, admin, 7, "fast")
    assert run.schema_version == labelled.versions.get()
    event = AuditEvent.objects.get(action="run requested")
    assert (event.actor, event.subject) == (admin, f"run {run.pk}")


def test_a_run_with_too_few_labelled_cases_is_refused(helpline, import_rows) -> None:
    import_rows(helpline, *({"id": str(n), "text": f"text {n}", "priority": "1"} for n in range(19)))
    with pytest.raises(NotEnoughLabels) as refused:
        runs.request(helpline)
    assert str(refused.value) == (
        "Child helpline calls has 19 labelled cases; training needs 20. "
        "Import labelled cases, or label the ones that wait."
    )
    assert list(Run.objects.all()) == []


@pytest.mark.parametrize("state", [RunState.QUEUED, RunState.RUNNING])
def test_a_second_run_is_refused_while_one_is_open(labelled, state) -> None:
    first = runs.request(labelled)
    Run.objects.update(state=state)
    with pytest.raises(RunInProgress, match=r"^A training of Child helpline calls is under way"):
        runs.request(labelled)
    assert list(Run.objects.all()) == [first]


def test_the_database_itself_refuses_a_second_open_run(labelled) -> None:
    runs.request(labelled)
    with pytest.raises(IntegrityError, match="one_open_run_by_schema"), transaction.atomic():
        Run.objects.create(schema=labelled, schema_version=labelled.versions.get())


@pytest.mark.parametrize("state", [RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED])
def test_a_run_may_follow_one_that_has_ended(labelled, state) -> None:
    runs.request(labelled)
    Run.objects.update(state=state)
    assert runs.request(labelled).state == RunState.QUEUED


def test_a_run_is_claimed_once(labelled) -> None:
    run = runs.request(labelled)
    claimed = runs.claim(run.pk)
    assert (claimed.pk, claimed.state, claimed.started_at) == (run.pk, RunState.RUNNING, claimed.heartbeat_at)
    assert runs.claim(run.pk) is None
    assert runs.claim(999_999) is None


def test_a_heartbeat_keeps_the_progress(running) -> None:
    Run.objects.update(heartbeat_at=timezone.now() - timedelta(seconds=30))
    runs.beat(running, {"phase": "train", "done": 3, "total": 10})
    running.refresh_from_db()
    assert running.progress == {"phase": "train", "done": 3, "total": 10}
    assert running.heartbeat_at > timezone.now() - timedelta(seconds=5)


def test_a_run_whose_worker_went_silent_is_failed_with_the_reason(running) -> None:
    Run.objects.update(heartbeat_at=timezone.now() - timedelta(seconds=41))
    assert runs.reap() == 1
    running.refresh_from_db()
    assert (running.state, running.failure) == (
        RunState.FAILED,
        "The worker was not heard of for 40 seconds: it was stopped or ran out of memory. Train again.",
    )
    assert running.finished_at <= timezone.now()
    assert runs.reap() == 0


def test_a_run_that_is_heard_of_or_waits_is_not_failed(labelled, running) -> None:
    Run.objects.update(heartbeat_at=timezone.now() - timedelta(seconds=35))
    assert runs.reap() == 0
    Run.objects.update(state=RunState.QUEUED, heartbeat_at=None, requested_at=timezone.now() - timedelta(days=1))
    assert runs.reap() == 0


def test_the_worker_of_a_run_that_was_ended_learns_it_at_its_next_heartbeat(running, person) -> None:
    admin = person(Role.ADMIN)
    assert runs.cancel(running, by=admin) is True
    with pytest.raises(runs.Cancelled, match=f"^run {running.pk} was ended from outside$"):
        runs.beat(running, {})
    with pytest.raises(runs.Cancelled):
        ended_well(running)
    running.refresh_from_db()
    assert (running.state, running.version) == (RunState.CANCELLED, None)
    assert list(ModelVersion.objects.filter(kind="trained")) == []
    assert AuditEvent.objects.get(action="run cancelled").actor == admin


def test_a_run_that_has_ended_cannot_be_cancelled(running, person) -> None:
    runs.fail(running, reason="out of memory")
    assert runs.cancel(running, by=person(Role.ADMIN)) is False
    running.refresh_from_db()
    assert (running.state, running.failure) == (RunState.FAILED, "out of memory")
    assert list(AuditEvent.objects.filter(action="run cancelled")) == []


def test_a_failure_after_the_end_changes_nothing_and_a_long_one_is_cut(running, person) -> None:
    runs.cancel(running, by=person(Role.ADMIN))
    runs.fail(running, reason="too late")
    running.refresh_from_db()
    assert (running.state, running.failure) == (RunState.CANCELLED, "")
    Run.objects.update(state=RunState.RUNNING)
    runs.fail(running, reason="x" * 2000)
    running.refresh_from_db()
    assert running.failure == "x" * 1000


def test_versions_count_up_within_a_schema(labelled, running) -> None:
    first = ended_well(running)
    second = ended_well(runs.claim(runs.request(labelled).pk))
    assert (first.number, second.number, first.kind) == (1, 2, "trained")
    customer = Schema.objects.get(name="customer")
    assert trained_version(customer, 1).number == 1
    running.refresh_from_db()
    assert (running.state, running.version, running.snapshot) == (
        RunState.SUCCEEDED,
        first,
        snapshots.take(labelled.versions.get()),
    )
    assert (first.folder, first.manifest, first.manifest_hash) == ("helpline/x", {"seed": 0}, "ab")
    assert Evaluation.objects.get(version=first).heads == FIGURES


def test_the_champion_is_measured_on_the_same_cases(running, labelled) -> None:
    champion = trained_version(labelled, 5)
    theirs = {"priority": FIGURES["priority"] | {"accuracy": 0.25}}
    version = ended_well(running, champion=champion, champion_figures=theirs)
    assert version.number == 6
    mine = version.evaluations.get()
    assert (mine.compared_with, champion.evaluations.get().heads) == (champion, theirs)
    assert mine.snapshot == champion.evaluations.get().snapshot


@pytest.mark.django_db(transaction=True)
def test_of_runs_that_are_asked_for_at_once_one_is_queued(import_rows, sent) -> None:
    schemas.register_shipped()
    helpline = Schema.objects.get(name="helpline")
    change_policy(helpline, audit_share=0.0)
    import_rows(helpline, *({"id": str(n), "text": f"text {n}", "priority": "1"} for n in range(20)))
    start = Barrier(3)

    def request(_: int) -> str:
        try:
            start.wait(5)
            return str(runs.request(helpline))
        except RunInProgress:
            return "refused"
        finally:
            connection.close()

    with ThreadPoolExecutor(3) as threads:
        answers = sorted(threads.map(request, range(3)))
    run = Run.objects.get()
    assert answers == sorted(["refused", "refused", str(run)])
    assert sent == [("train_model", run.pk)]


# --- The heartbeat ---------------------------------------------------------------------------------------------------


@pytest.fixture
def silent(transactional_db: None, import_rows: Any, sent: list[Any], monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run that tells nothing, was last heard of half a minute ago, and would beat twenty times a second."""
    monkeypatch.setattr(runs, "BEAT_EVERY", timedelta(seconds=0.05))
    schemas.register_shipped()
    helpline = Schema.objects.get(name="helpline")
    change_policy(helpline, audit_share=0.0)
    import_rows(helpline, *({"id": str(n), "text": f"text {n}", "priority": "1"} for n in range(20)))
    run = runs.claim(runs.request(helpline).pk)
    Run.objects.update(heartbeat_at=timezone.now() - timedelta(seconds=30))
    return run


def heartbeat() -> datetime:
    return Run.objects.get().heartbeat_at


def wait_for_a_beat() -> None:
    last, deadline = heartbeat(), time.monotonic() + 10
    while heartbeat() == last:
        assert time.monotonic() < deadline, "no heartbeat"
        time.sleep(0.01)


def connections() -> int:
    with connection.cursor() as cursor:
        cursor.execute("select count(*) from pg_stat_activity where datname = current_database()")
        return cursor.fetchone()[0]


def test_a_run_that_tells_no_progress_is_heard_of_until_it_ends(silent) -> None:
    before = connections()
    with runs.kept_alive(silent):
        wait_for_a_beat()
        wait_for_a_beat()
        assert (connections(), runs.reap()) == (before + 1, 0)
    last = heartbeat()
    time.sleep(0.2)
    assert (heartbeat(), [thread.name for thread in threading.enumerate() if "heartbeat" in thread.name]) == (last, [])
    deadline = time.monotonic() + 10
    while connections() > before:  # The server takes a moment to notice
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_run_that_was_reaped_is_not_revived_and_stops_at_its_next_progress(silent) -> None:
    with runs.kept_alive(silent):
        wait_for_a_beat()
        Run.objects.update(state=RunState.FAILED)
        last = heartbeat()
        time.sleep(0.2)
        assert heartbeat() == last
        with pytest.raises(runs.Cancelled):
            runs.beat(silent, {})
    assert Run.objects.get().state == RunState.FAILED


def test_the_heart_beats_on_after_the_database_hung_up(silent) -> None:
    with runs.kept_alive(silent):
        wait_for_a_beat()
        with connection.cursor() as cursor:
            cursor.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity "
                "where datname = current_database() and pid <> pg_backend_pid()"
            )
        wait_for_a_beat()
        wait_for_a_beat()
