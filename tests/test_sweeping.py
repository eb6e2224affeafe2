"""What was left undone is sent again; what is not due is left alone."""

from __future__ import annotations

import os
import time
from datetime import timedelta

import pytest
from django.utils import timezone

from tests.conftest import case_named, helpline_prediction, predict
from webapp.actions import sweeping
from webapp.models import Import, ImportState, ModelVersion, Outbox, Run, RunState, Schema

LONG_AGO = timedelta(seconds=31)


@pytest.fixture
def schema(helpline) -> Schema:
    return helpline


def import_in(schema: Schema, state: ImportState, age: timedelta, **changes: object) -> Import:
    row = Import.objects.create(schema=schema, name="a.jsonl", source="import", digest="", state=state, **changes)
    Import.objects.filter(pk=row.pk).update(created_at=timezone.now() - age)
    return row


def run_in(schema: Schema, state: RunState, age: timedelta) -> Run:
    run = Run.objects.create(schema=schema, schema_version=schema.versions.get(), state=state)
    Run.objects.filter(pk=run.pk).update(requested_at=timezone.now() - age)
    return run


def test_with_nothing_left_nothing_is_sent(schema, sent) -> None:
    sweeping.sweep()
    assert sent == []


def test_cases_that_no_version_answered_are_predicted(schema, import_rows, sent) -> None:
    import_rows(schema, {"id": "1", "text": "a"})
    sweeping.sweep()
    assert sent == [("predict_cases", schema.pk)]
    predict(schema.model_versions.get(kind="definitions"), "1", helpline_prediction())
    sent.clear()
    sweeping.sweep()
    assert sent == []


def test_a_run_that_still_waits_is_sent_again(schema, sent) -> None:
    run = run_in(schema, RunState.QUEUED, LONG_AGO)
    sweeping.sweep()
    assert sent == [("train_model", run.pk)]


@pytest.mark.parametrize(
    ("state", "age"),
    [(RunState.QUEUED, timedelta(seconds=20)), (RunState.RUNNING, LONG_AGO), (RunState.FAILED, LONG_AGO)],
    ids=["asked for just now", "running", "failed"],
)
def test_a_run_that_is_new_or_begun_is_left_alone(schema, sent, state, age) -> None:
    run_in(schema, state, age)
    sweeping.sweep()
    assert sent == []


@pytest.mark.parametrize("state", [ImportState.QUEUED, ImportState.RUNNING])
def test_an_import_that_was_confirmed_is_sent_again(schema, sent, state) -> None:
    row = import_in(schema, state, LONG_AGO)
    sweeping.sweep()
    assert sent == [("apply_import", row.pk)]


def test_an_upload_that_was_not_previewed_is_previewed(schema, sent) -> None:
    row = import_in(schema, ImportState.PREVIEWED, LONG_AGO)
    import_in(schema, ImportState.PREVIEWED, LONG_AGO, report={"rows": 3})
    import_in(schema, ImportState.PREVIEWED, timedelta(seconds=20))
    sweeping.sweep()
    assert sent == [("preview_import", row.pk)]


@pytest.mark.parametrize("state", [ImportState.DONE, ImportState.FAILED])
def test_an_import_that_has_ended_is_left_alone(schema, sent, state) -> None:
    import_in(schema, state, LONG_AGO)
    sweeping.sweep()
    assert sent == []


def test_the_outbox_is_emptied_when_something_is_due(schema, import_rows, sent) -> None:
    import_rows(schema, {"id": "1", "text": "a"})
    predict(schema.model_versions.get(kind="definitions"), "1", helpline_prediction())
    row = Outbox.objects.create(case=case_named("1"), purpose="push", due_at=timezone.now() + timedelta(seconds=60))
    sweeping.sweep()
    assert sent == []
    Outbox.objects.filter(pk=row.pk).update(due_at=timezone.now())
    sweeping.sweep()
    assert sent == [("deliver_outbox",)]
    Outbox.objects.filter(pk=row.pk).update(sent_at=timezone.now())
    sent.clear()
    sweeping.sweep()
    assert sent == []


def test_model_folders_that_no_version_names_are_removed_after_an_hour(schema, sent, settings, tmp_path) -> None:
    settings.MODELS_DIR = tmp_path
    ages = {"helpline-run-1": 61, ".helpline-run-2-x1y2": 61, "helpline-run-3": 59, "helpline-run-4": 61, "by-hand": 61}
    for name, minutes in ages.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "manifest.json").touch()
        moment = time.time() - 60 * minutes
        os.utime(tmp_path / name, (moment, moment))
    ModelVersion.objects.create(
        schema=schema, schema_version=schema.versions.get(), kind="trained", number=1, folder="helpline-run-4"
    )
    run = run_in(schema, RunState.RUNNING, LONG_AGO)
    sweeping.sweep()
    assert {path.name for path in tmp_path.iterdir()} == set(ages)  # One that trains may be measuring what it saved
    Run.objects.filter(pk=run.pk).update(state=RunState.CANCELLED)
    sweeping.sweep()
    assert {path.name for path in tmp_path.iterdir()} == {"helpline-run-3", "helpline-run-4", "by-hand"}
