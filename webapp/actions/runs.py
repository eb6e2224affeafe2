"""Trainings: asked for, claimed by one worker, kept alive by a heartbeat, ended once."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from threading import Event, Thread
from typing import Any

from django.contrib.auth.models import User
from django.db import DatabaseError, IntegrityError, InterfaceError, connection, transaction
from django.utils import timezone

from webapp import faults, tasks
from webapp.actions import audit, promotions, versions
from webapp.errors import NotEnoughLabels, NotResumable, RunInProgress
from webapp.models import Cause, Label, ModelVersion, Profile, Run, RunState, Schema, Snapshot
from webapp.models.learning import OPEN_RUN_STATES
from webapp.queries import savepoints, schemas

logger = logging.getLogger(__name__)

BEAT_EVERY = timedelta(seconds=10)
SILENT_AFTER = timedelta(seconds=40)  # With the reaper's turn every 10 s, a dead run is failed within a minute
FEWEST_LABELLED_CASES = 20


class Cancelled(Exception):
    """The run was cancelled, or failed by the reaper, while it trained."""


def request(
    schema: Schema,
    *,
    by: User | None = None,
    profile: str = Profile.FAST,
    seed: int = 0,
    cause: Cause = Cause.PERSON,
) -> Run:
    """Queue a training.

    Raises:
        NotEnoughLabels: too few cases are labelled.
        RunInProgress: one waits or trains already.
    """
    labelled = Label.objects.filter(case__schema=schema).values("case").distinct().count()
    if labelled < FEWEST_LABELLED_CASES:
        raise NotEnoughLabels(
            f"{schema.title} has {labelled} labelled cases; training needs {FEWEST_LABELLED_CASES}. "
            "Import labelled cases, or label the ones that wait."
        )
    version = schemas.newest_version(schema)
    return _queue(Run(schema=schema, schema_version=version, profile=profile, seed=seed, requested_by=by, cause=cause))


def request_unasked(schema: Schema, *, cause: Cause, profile: str) -> Run | None:
    """Queue a training that no person asked for; where it cannot be, say why in the log and do nothing."""
    try:
        return request(schema, cause=cause, profile=profile)
    except (NotEnoughLabels, RunInProgress) as exc:
        why = type(exc).__name__
        logger.info("training not begun", extra={"schema": schema.pk, "cause": cause.value, "why": why})
        if cause == Cause.SCHEDULE:
            audit.record(None, "scheduled run skipped", f"schema {schema.name}", why=str(exc))
        return None


def resume(dead: Run, *, by: User | None = None) -> Run:
    """Queue a training that goes on from the savepoint of one that died, with the rows that it learnt from.

    Raises:
        NotResumable: it did not die, left no savepoint, or was gone on from already.
        RunInProgress: one waits or trains already.
    """
    if not savepoints.can_resume(dead):
        raise NotResumable(f"Training {dead.pk} left nothing to go on from; train anew.")
    again = Run(schema=dead.schema, schema_version=dead.schema_version, profile=dead.profile, seed=dead.seed)
    again.snapshot, again.resumes, again.requested_by = dead.snapshot, dead, by
    return _queue(again)


def _queue(run: Run) -> Run:
    try:
        with transaction.atomic():
            run.save(force_insert=True)
            audit.record(run.requested_by, "run requested", f"run {run.pk}", cause=run.cause, resumes=run.resumes_id)
            transaction.on_commit(partial(faults.point, "run-queued"))
            transaction.on_commit(partial(tasks.train_model.delay, run.pk))
    except IntegrityError as exc:
        raise RunInProgress(
            f"A training of {run.schema.title} is under way; it has to end before the next begins."
        ) from exc
    return run


def claim(run_id: int) -> Run | None:
    """Move a queued run to running, or return None if another worker did so first."""
    now = timezone.now()
    queued = Run.objects.filter(pk=run_id, state=RunState.QUEUED)
    if queued.update(state=RunState.RUNNING, started_at=now, heartbeat_at=now) != 1:
        return None
    return Run.objects.select_related("schema", "schema_version", "snapshot").get(pk=run_id)


def learns_from(run: Run, snapshot: Snapshot) -> None:
    """Keep what a run learns from, before it does: one that dies is gone on from with the same rows."""
    Run.objects.filter(pk=run.pk).update(snapshot=snapshot)


def beat(run: Run, progress: dict[str, Any]) -> None:
    """Tell that a run is alive, and how far it is.

    Raises:
        Cancelled: the run is not running any more.
    """
    running = Run.objects.filter(pk=run.pk, state=RunState.RUNNING)
    if running.update(heartbeat_at=timezone.now(), progress=progress) != 1:
        raise Cancelled(f"run {run.pk} was ended from outside")


@contextmanager
def kept_alive(run: Run) -> Iterator[None]:
    """Tell that a run is alive for as long as the block runs, also while a long step tells no progress.

    Only a process that is dead, or stopped, is silent then. A run that was ended meanwhile stays so.
    """
    ended = Event()
    thread = Thread(target=_beat_until, args=(ended, run.pk), name=f"heartbeat of run {run.pk}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _beat_until(ended: Event, run_id: int) -> None:
    """Beat on a connection of this thread's own."""
    while not ended.wait(BEAT_EVERY.total_seconds()):
        try:
            if Run.objects.filter(pk=run_id, state=RunState.RUNNING).update(heartbeat_at=timezone.now()) != 1:
                break
        except (
            DatabaseError,
            InterfaceError,
        ):
            connection.close()  # The next beat opens another
    connection.close()


def cancel(run: Run, *, by: User) -> bool:
    """End an open run; its worker notices at the next heartbeat."""
    open_run = Run.objects.filter(pk=run.pk, state__in=OPEN_RUN_STATES)
    if open_run.update(state=RunState.CANCELLED, finished_at=timezone.now()) != 1:
        return False
    audit.record(by, "run cancelled", f"run {run.pk}")
    return True


@transaction.atomic
def succeed(
    run: Run, *, folder: str, manifest: dict[str, Any], manifest_hash: str, measured: versions.Measured
) -> ModelVersion:
    """Store the trained version with its figures, and those of the champion on the same cases, and end the run.

    Where the policy lets it, a version that the gate finds better is in use from then on.

    Raises:
        Cancelled: the run is not running any more; nothing is stored.
    """
    version = versions.add(run.schema_version, folder=folder, manifest=manifest, manifest_hash=manifest_hash)
    running = Run.objects.filter(pk=run.pk, state=RunState.RUNNING)
    ended = running.update(
        state=RunState.SUCCEEDED, finished_at=timezone.now(), snapshot=measured.snapshot, version=version
    )
    if ended != 1:
        raise Cancelled(f"run {run.pk} was ended from outside")
    versions.record_figures(version, measured)
    audit.record(run.requested_by, "version trained", f"version {version.pk}", run=run.pk)
    promotions.promote_if_better(version)
    return version


def fail(run: Run, *, reason: str) -> None:
    """End a run with the reason, unless it has ended already."""
    running = Run.objects.filter(pk=run.pk, state__in=OPEN_RUN_STATES)
    running.update(state=RunState.FAILED, failure=reason[:1000], finished_at=timezone.now())


def reap() -> int:
    """Fail the runs whose worker went silent; return how many."""
    limit = timezone.now() - SILENT_AFTER
    silent = Run.objects.filter(state=RunState.RUNNING, heartbeat_at__lt=limit)
    seconds = int(SILENT_AFTER.total_seconds())
    return silent.update(
        state=RunState.FAILED,
        finished_at=timezone.now(),
        failure=f"The worker was not heard of for {seconds} seconds: it was stopped or ran out of memory. Train again.",
    )
