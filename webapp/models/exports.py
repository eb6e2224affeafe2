"""Files of cases that people take out."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from webapp.models.schemas import Schema


class ExportFormat(models.TextChoices):
    """What an export is written as."""

    JSONL = "jsonl", "JSONL: one example a line, as imports and python -m ml read it"
    CSV = "csv", "CSV, for spreadsheets"
    PARQUET = "parquet", "Parquet"
    DATASET = "dataset", "a folder for Hugging Face datasets, zipped"


class ExportState(models.TextChoices):
    """How far an export has come."""

    QUEUED = "queued", "queued"
    RUNNING = "running", "running"
    DONE = "done", "done"
    FAILED = "failed", "failed"
    EXPIRED = "expired", "removed"


class Export(models.Model):
    """One file of cases with their texts and labels: who asked for which, and how far it is."""

    schema = models.ForeignKey(Schema, on_delete=models.PROTECT)
    format = models.CharField(max_length=10, choices=ExportFormat)
    limits = models.JSONField(default=dict)  # Any of state, source, since, before
    state = models.CharField(max_length=10, choices=ExportState, default=ExportState.QUEUED)
    total = models.PositiveIntegerField(default=0)  # Cases that fitted when it began
    done = models.PositiveIntegerField(default=0)
    bytes = models.PositiveBigIntegerField(default=0)
    failure = models.CharField(max_length=200, default="", blank=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True)
    created_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"export {self.pk}"

    @property
    def is_open(self) -> bool:
        """Whether it still waits or is written."""
        return self.state in (ExportState.QUEUED, ExportState.RUNNING)
