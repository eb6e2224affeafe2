"""Files of cases that people take out: written by a worker, kept for a week, then removed.

They hold texts, so who asked for one, and who took it, is in the audit log. What was erased is in none, and what was
withdrawn only where somebody asks for that state. Whoever erases a case has the files of its schema removed.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from ml.policy import Side
from ml.schema import Schema as ParsedSchema
from ml.types import Answer, Example
from webapp import tasks
from webapp.actions import audit
from webapp.locks import only_one
from webapp.models import Case, CaseState, Export, ExportFormat, ExportState, Label, Schema
from webapp.queries import schemas

if TYPE_CHECKING:
    from webapp.casefiles.writing import Written

logger = logging.getLogger(__name__)

KEPT = timedelta(days=7)
UNWANTED_KEPT = timedelta(hours=1)
CHUNK = 500
CURSOR = 5000  # Numbers of cases that the database hands over at once
FIELDS = (
    "pk",
    "external_id",
    "source",
    "side",
    "sent_at",
    "metadata",
    "stored_text__text",
    "conversation__external_id",
)
SUFFIXES = {
    ExportFormat.JSONL: ".jsonl",
    ExportFormat.CSV: ".csv",
    ExportFormat.PARQUET: ".parquet",
    ExportFormat.DATASET: ".zip",
}


class _Removed(Exception):
    """The file is not wanted any more: what is in it may have been erased."""


def request(schema: Schema, format: str, limits: dict[str, str], *, by: User) -> Export:
    """Have a worker write the cases of a schema to a file.

    Args:
        limits: any of state, source, since and before, the latter two as ISO 8601 times of arrival.
    """
    limits = {name: value for name, value in limits.items() if value}
    row = Export.objects.create(schema=schema, format=format, limits=limits, created_by=by)
    Export.objects.filter(pk=row.pk).update(total=_cases(row).count())
    row.refresh_from_db()
    facts = {name: value for name, value in limits.items() if name != "source"}
    audit.record(by, "export asked for", str(row), schema=schema.name, format=format, cases=row.total, **facts)
    transaction.on_commit(partial(tasks.write_export.delay, row.pk))
    return row


def write(export_id: int) -> None:
    """Write a file in a worker. One that was left behind is begun again; a second delivery does nothing."""
    with only_one(f"export {export_id}") as is_mine:
        row = Export.objects.select_related("schema").get(pk=export_id)
        if not is_mine or not row.is_open:
            return
        Export.objects.filter(pk=row.pk).update(state=ExportState.RUNNING, done=0)
        path = path_of(row)
        draft = path.with_name(f"writing-{path.name}")
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            _write(row, draft)
            draft.rename(path)
        except _Removed:
            draft.unlink(missing_ok=True)
            return
        except Exception as exc:
            draft.unlink(missing_ok=True)
            # Only the kind: the message of a foreign error may quote a row
            reason = f"{type(exc).__name__} while writing; the worker's log says where."
            _finish(row, ExportState.FAILED, failure=reason)
            raise
        if not _finish(row, ExportState.DONE, bytes=path.stat().st_size):
            path.unlink()


def take(row: Export, *, by: User) -> Path | None:
    """Record that a person takes the file, and return where it is; None if it is not there."""
    path = path_of(row)
    if row.state != ExportState.DONE or not path.exists():
        return None
    audit.record(by, "export taken", str(row))
    return path


def remove_all(schema: Schema) -> None:
    """Remove the files of a schema, those that are being written too: a case of it was erased."""
    rows = Export.objects.filter(schema=schema, state__in=(ExportState.RUNNING, ExportState.DONE))
    for row in list(rows):
        rows.filter(pk=row.pk).update(state=ExportState.EXPIRED)
        path_of(row).unlink(missing_ok=True)


def clear_out() -> None:
    """Remove the files that are a week old, and those that no export waits for."""
    now = timezone.now()
    done = Export.objects.filter(state=ExportState.DONE)
    done.filter(finished_at__lt=now - KEPT).update(state=ExportState.EXPIRED)
    wanted = {path_of(row) for row in done.only("format")}
    for path in Path(settings.EXPORTS_DIR).glob("*"):
        with suppress(FileNotFoundError):
            if path not in wanted and path.stat().st_mtime < (now - UNWANTED_KEPT).timestamp():
                path.unlink()


def path_of(row: Export) -> Path:
    """Return where the file of an export is kept."""
    return Path(settings.EXPORTS_DIR) / f"{row.pk}{SUFFIXES[ExportFormat(row.format)]}"


def _write(row: Export, path: Path) -> None:
    from webapp.casefiles import writing  # noqa: PLC0415 - web processes write no files

    path.touch(mode=0o600)
    schema = schemas.newest_version(row.schema).parsed
    writing.WRITERS[row.format](path, schema, _chunks(row, schema))


def _chunks(row: Export, schema: ParsedSchema) -> Iterator[list[Written]]:
    """Read the cases a chunk at a time, as they are then; only their numbers are looked up when it begins."""
    done = 0
    numbers = _cases(row).order_by("pk").values_list("pk", flat=True).iterator(chunk_size=CURSOR)
    while chunk := list(islice(numbers, CHUNK)):
        answers: dict[int, dict[str, Answer]] = defaultdict(dict)
        for case_id, head, answer in Label.objects.filter(case__in=chunk).values_list("case_id", "head", "answer"):
            answers[case_id][head] = answer
        # No objects: those of a case and its text hold each other, and stay in memory for long
        found = _cases(row).filter(pk__in=chunk).order_by("pk").values(*FIELDS)
        yield [_written(case, answers[case["pk"]], schema) for case in found]
        done += len(chunk)
        if not Export.objects.filter(pk=row.pk, state=ExportState.RUNNING).update(done=done):
            raise _Removed


def _cases(row: Export) -> QuerySet[Case]:
    limits: dict[str, Any] = row.limits
    found = Case.objects.filter(schema=row.schema_id, stored_text__isnull=False).exclude(state=CaseState.ERASED)
    found = found.filter(state=limits["state"]) if "state" in limits else found.exclude(state=CaseState.WITHDRAWN)
    if "source" in limits:
        found = found.filter(source=limits["source"])
    if "since" in limits:
        found = found.filter(received_at__gte=datetime.fromisoformat(limits["since"]))
    if "before" in limits:
        found = found.filter(received_at__lt=datetime.fromisoformat(limits["before"]))
    return found


def _written(case: dict[str, Any], answers: dict[str, Answer], schema: ParsedSchema) -> Written:
    from webapp.casefiles.writing import Written  # noqa: PLC0415 - web processes write no files

    example = Example(
        id=case["external_id"],
        text=case["stored_text__text"],
        labels={head: answers[head] for head in schema.by_key if head in answers},
        source=case["source"],
        conversation=case["conversation__external_id"] or "",
        sent_at=case["sent_at"].isoformat() if case["sent_at"] else "",
        metadata=case["metadata"],
    )
    return Written(example, Side(case["side"]))


def _finish(row: Export, state: ExportState, **changes: Any) -> bool:
    """Record how it ended; False where it was removed meanwhile."""
    running = Export.objects.filter(pk=row.pk, state=ExportState.RUNNING)
    logger.info("export ended", extra={"export": row.pk, "state": state.value})
    return running.update(state=state, finished_at=timezone.now(), **changes) == 1
