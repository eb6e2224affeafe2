"""Doing again what was left undone when a process died between a row and its effect."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path

from django.conf import settings
from django.utils import timezone

from webapp import tasks
from webapp.actions import deliveries, export_files, feedback, label_studio, questions, searches, uploads
from webapp.models import (
    Checkup,
    Export,
    ExportState,
    Import,
    ImportState,
    ModelVersion,
    Outbox,
    Run,
    RunState,
    Schema,
)
from webapp.queries import pending, savepoints

LEFT_BEHIND = timedelta(seconds=30)
ABANDONED = timedelta(hours=1)
KEPT_SAVEPOINTS = timedelta(days=7)


def sweep() -> None:
    """Send again every task whose row still waits; the tasks themselves decide whether anything is left to do."""
    before = timezone.now() - LEFT_BEHIND
    for schema in Schema.objects.all():
        if pending.free_cases(schema).exists():
            tasks.predict_cases.delay(schema.pk)
    for run_id in Run.objects.filter(state=RunState.QUEUED, requested_at__lt=before).values_list("pk", flat=True):
        tasks.train_model.delay(run_id)
    waiting = Import.objects.filter(state__in=(ImportState.QUEUED, ImportState.RUNNING), created_at__lt=before)
    for import_id in waiting.values_list("pk", flat=True):
        tasks.apply_import.delay(import_id)
    for import_id in Import.objects.filter(state=ImportState.PREVIEWED, report={}, created_at__lt=before).values_list(
        "pk", flat=True
    ):
        tasks.preview_import.delay(import_id)
    left = Export.objects.filter(state__in=(ExportState.QUEUED, ExportState.RUNNING), created_at__lt=before)
    for export_id in left.values_list("pk", flat=True):
        tasks.write_export.delay(export_id)
    is_due = Outbox.objects.filter(sent_at=None, due_at__lt=timezone.now()).exists()
    if is_due or label_studio.waiting_projects().exists():
        tasks.deliver_outbox.delay()
    for checkup_id in Checkup.objects.filter(finished_at=None, created_at__lt=before).values_list("pk", flat=True):
        tasks.examine_label_studio.delay(checkup_id)
    deliveries.clear_out()
    if deliveries.waits():
        tasks.deliver_webhooks.delay()
    searches.clear_out()
    questions.clear_out()
    feedback.attach_waiting()
    # Last: a file that cannot be removed must hold up nothing else
    _remove_abandoned_folders()
    uploads.clear_out()
    export_files.clear_out()


def _remove_abandoned_folders() -> None:
    """Remove what runs saved, or had begun to, that ended before it became a version: a cancelled or killed one's."""
    if Run.objects.filter(state=RunState.RUNNING).exists():
        return  # It may have saved its folder, and still be measuring
    oldest = (timezone.now() - KEPT_SAVEPOINTS).timestamp()
    for path in savepoints.root().glob("run-*"):
        if path.stat().st_mtime < oldest:
            shutil.rmtree(path, ignore_errors=True)
    before = (timezone.now() - ABANDONED).timestamp()
    # Only names that runs give; those of half-written folders begin with a dot
    old = [path for path in Path(settings.MODELS_DIR).glob("*-run-*") if path.stat().st_mtime < before]
    kept = set(ModelVersion.objects.filter(folder__in=[path.name for path in old]).values_list("folder", flat=True))
    for path in old:
        if path.name not in kept:
            shutil.rmtree(path, ignore_errors=True)
