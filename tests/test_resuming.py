"""A training that died, and the one that goes on from where it was."""

from __future__ import annotations

import os
import time
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from ml import registry
from ml.savepoint import Savepoints
from tests import tiny
from tests.conftest import row_of
from webapp import worker
from webapp.actions import runs, sweeping
from webapp.errors import NotResumable, RunInProgress
from webapp.models import Label, Run, RunState, Schema
from webapp.queries import savepoints
from webapp.roles import Role


@pytest.fixture
def labelled(toy: Schema, import_rows: Any, sent: Any, monkeypatch: pytest.MonkeyPatch) -> Schema:
    import_rows(toy, *(row_of(case) for case in tiny.cases(80)))
    monkeypatch.setattr("ml.contrast.head_to_learn", lambda *_: None)
    return toy


class Killed(BaseException):
    """Stands for the death of the worker."""


def dies(schema: Schema, monkeypatch: pytest.MonkeyPatch, *, after: int = 1, run: Run | None = None) -> Run:
    """Train until some savepoints are written, and leave the run as a killed worker does, for the reaper."""
    run = run or runs.request(schema, profile="full", seed=3)
    write, left = Savepoints.write, [after]

    def dying(self: Savepoints, course: Any) -> None:
        write(self, course)
        left[0] -= 1
        if not left[0]:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Savepoints, "write", dying)
        with pytest.raises(Killed):
            worker.train(run.pk)
    Run.objects.filter(pk=run.pk).update(heartbeat_at=timezone.now() - timedelta(minutes=5))
    assert runs.reap() == 1
    run.refresh_from_db()
    return run


def test_a_new_run_goes_on_from_where_the_dead_one_was(labelled, monkeypatch, person) -> None:
    admin = person(Role.ADMIN)
    dead = dies(labelled, monkeypatch)
    folder = savepoints.folder(dead)
    assert (folder.stat().st_mode & 0o777, registry.has_savepoint(folder)) == (0o700, True)
    Label.objects.filter(case__external_id="labelled-3").delete()  # It still learns from what the dead one did

    seen: list[str] = []
    again = runs.resume(dead, by=admin)
    real = runs.beat
    monkeypatch.setattr(runs, "beat", lambda run, at: (seen.append((at["phase"], at["epoch"])), real(run, at)))
    worker.train(again.pk)
    again.refresh_from_db()
    assert (again.state, again.failure) == (RunState.SUCCEEDED, "")
    assert (again.resumes, again.seed, again.profile, again.requested_by) == (dead, 3, "full", admin)
    assert again.snapshot == dead.snapshot
    assert next(epoch for phase, epoch in seen if phase == "tune" and epoch) == 2
    assert not folder.exists(), "nothing is left to go on from"


def test_one_that_dies_again_is_gone_on_from_too(labelled, monkeypatch) -> None:
    first = dies(labelled, monkeypatch)
    second = dies(labelled, monkeypatch, run=runs.resume(first))
    assert not savepoints.can_resume(first)
    assert savepoints.folder(second) == savepoints.folder(first)
    third = runs.resume(second)
    worker.train(third.pk)
    third.refresh_from_db()
    assert third.state == RunState.SUCCEEDED


def test_one_open_run_is_enough(labelled, monkeypatch) -> None:
    dead = dies(labelled, monkeypatch)
    runs.request(labelled)
    with pytest.raises(RunInProgress):
        runs.resume(dead)


@pytest.mark.parametrize(
    "changes",
    [{"state": RunState.CANCELLED}, {"state": RunState.SUCCEEDED}, {"profile": "fast"}, {"snapshot": None}],
    ids=["cancelled", "succeeded", "fast", "died before it learnt"],
)
def test_other_runs_are_not_gone_on_from(labelled, monkeypatch, changes) -> None:
    dead = dies(labelled, monkeypatch)
    Run.objects.filter(pk=dead.pk).update(**changes)
    dead.refresh_from_db()
    with pytest.raises(NotResumable, match=rf"^Training {dead.pk} left nothing to go on from; train anew\.$"):
        runs.resume(dead)


def test_a_text_that_was_erased_since_makes_a_training_begin_anew(labelled, monkeypatch) -> None:
    dead = dies(labelled, monkeypatch)
    labelled.cases.filter(side="train").first().stored_text.delete()
    again = runs.resume(dead)
    worker.train(again.pk)
    again.refresh_from_db()
    assert again.state == RunState.FAILED
    assert again.failure.endswith("train anew.")


def test_the_page_of_the_dead_one_offers_it_to_admins(labelled, monkeypatch, signed_in) -> None:
    dead = dies(labelled, monkeypatch)
    page = f"/models/runs/{dead.pk}/"
    assert "Go on from where it died" not in signed_in(Role.SUPERVISOR).get(page).content.decode()
    desk = signed_in(Role.ADMIN)
    assert "Go on from where it died" in desk.get(page).content.decode()
    shown = desk.post(f"{page}resume/", follow=True).content.decode()
    assert f'<a href="{page}">It goes on from where training {dead.pk} died.</a>' in shown
    assert "Asked for by admin on " in shown
    assert f"Training {dead.pk} left nothing to go on from" in desk.post(f"{page}resume/", follow=True).content.decode()


def test_the_command_goes_on_from_a_run(labelled, monkeypatch) -> None:
    dead, out = dies(labelled, monkeypatch), StringIO()
    call_command("retrain", "--schema", "toy", "--resume", str(dead.pk), stdout=out)
    assert Run.objects.latest("id").resumes == dead
    with pytest.raises(CommandError, match=r"^Toy has no run 0$"):
        call_command("retrain", "--schema", "toy", "--resume", "0")


def test_old_savepoints_are_removed(labelled, monkeypatch) -> None:
    dead = dies(labelled, monkeypatch)
    folder = savepoints.folder(dead)
    for days, is_kept in ((6, True), (8, False)):
        at = time.time() - days * 86400
        os.utime(folder, (at, at))
        sweeping.sweep()
        assert folder.exists() == is_kept
