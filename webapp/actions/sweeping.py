"""Doing again what was left undone when a process died between a row and its effect."""

from __future__ import annotations

from datetime import timedelta

from django.utils import timezone

from webapp import tasks
from webapp.actions import uploads
from webapp.models import Import, ImportState, Outbox, Run, RunState, Schema
from webapp.queries import pending

LEFT_BEHIND = timedelta(seconds=30)


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
    if Outbox.objects.filter(sent_at=None, due_at__lt=timezone.now()).exists():
        tasks.deliver_outbox.delay()
    uploads.clear_out()  # Last: a file that cannot be removed must hold up nothing else
