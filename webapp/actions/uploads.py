"""Files that were uploaded to be imported: kept until the import is done, read in a worker."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from uuid import uuid4

from django.conf import settings
from django.contrib.auth.models import User
from django.core.files.uploadedfile import UploadedFile
from django.db import transaction
from django.utils import timezone

from webapp import tasks
from webapp.actions import imports
from webapp.casefiles.rows import SUFFIXES
from webapp.errors import UnreadableFile
from webapp.locks import only_one
from webapp.models import Import, ImportState, Schema

PREVIEW_KEPT = timedelta(hours=24)
UNWANTED_KEPT = timedelta(hours=1)  # Of a file that still arrives, or that a worker is about to remove


def receive(upload: UploadedFile, schema: Schema, *, mapping: dict[str, str], source: str, by: User) -> Import:
    """Keep an uploaded file and have a worker preview it.

    Raises:
        UnreadableFile: the file is too large or of another kind.
    """
    name = Path(upload.name or "").name
    suffix = Path(name).suffix.lower()
    if suffix not in SUFFIXES:
        raise UnreadableFile(f"the file ends in {suffix or 'nothing'!r}; expected one of {', '.join(SUFFIXES)}")
    if (upload.size or 0) > settings.IMPORT_MAX_BYTES:
        most = settings.IMPORT_MAX_BYTES
        raise UnreadableFile(f"the file has {upload.size:,} bytes; expected at most {most:,}: split it")
    settings.IMPORTS_DIR.mkdir(mode=0o700, parents=True, exist_ok=True)
    arriving = settings.IMPORTS_DIR / f"arriving-{uuid4().hex}{suffix}"
    with arriving.open("xb") as file:
        for chunk in upload.chunks():
            file.write(chunk)
    row = imports.open_import(schema, arriving, name=name, mapping=mapping, source=source, by=by)
    arriving.rename(path_of(row))
    transaction.on_commit(partial(tasks.preview_import.delay, row.pk))
    return row


def path_of(row: Import) -> Path:
    """Return where the file of an import is kept."""
    return Path(settings.IMPORTS_DIR) / f"{row.pk}{Path(row.name).suffix.lower()}"


def kept_until(row: Import) -> datetime:
    """Return when the preview of an import expires."""
    return row.created_at + PREVIEW_KEPT


def clear_out() -> None:
    """Let previews expire that nobody confirmed, and remove the files that no import waits for.

    A file that no import waits for was left by a process that died, while it arrived or before it was removed.
    """
    now = timezone.now()
    previews = Import.objects.filter(state=ImportState.PREVIEWED)
    previews.filter(created_at__lt=now - PREVIEW_KEPT).update(state=ImportState.EXPIRED, finished_at=now)
    waiting = (ImportState.PREVIEWED, ImportState.QUEUED, ImportState.RUNNING)
    wanted = {path_of(row) for row in Import.objects.filter(state__in=waiting).only("name")}
    for path in Path(settings.IMPORTS_DIR).glob("*"):
        with suppress(FileNotFoundError):  # Removed meanwhile by the worker that was at it
            if path not in wanted and path.stat().st_mtime < (now - UNWANTED_KEPT).timestamp():
                path.unlink()


def confirm(row: Import) -> bool:
    """Have a worker import a previewed file; False if it does not wait for that any more."""
    waiting = Import.objects.filter(pk=row.pk, state=ImportState.PREVIEWED)
    if waiting.update(state=ImportState.QUEUED) != 1:
        return False
    transaction.on_commit(partial(tasks.apply_import.delay, row.pk))
    return True


def preview(import_id: int) -> None:
    """Preview a file in a worker."""
    with only_one(f"import {import_id}") as is_mine:
        row = Import.objects.select_related("schema").get(pk=import_id)
        if not is_mine or row.state != ImportState.PREVIEWED or row.report:
            return
        if not path_of(row).exists():
            _fail(row, "the file is not kept any more; upload it again")
            return
        try:
            found = imports.preview(row, path_of(row))
            Import.objects.filter(pk=row.pk).update(report=found.as_json())
        except UnreadableFile as exc:
            _fail(row, str(exc))
        except Exception as exc:
            _fail(row, f"{type(exc).__name__} while reading; nothing was imported. The worker's log says where.")
            raise


def apply(import_id: int) -> None:
    """Import a file in a worker; the kept file goes when it is done.

    The sweep sends again what takes long, so a second worker has to find out that one is at it.
    """
    with only_one(f"import {import_id}") as is_mine:
        row = Import.objects.select_related("schema").get(pk=import_id)
        if not is_mine or row.state not in (ImportState.QUEUED, ImportState.RUNNING):
            return
        if not path_of(row).exists():
            _fail(row, "the file is not kept any more; import it again")
            return
        try:
            with suppress(UnreadableFile):  # The import's row says what was wrong
                imports.apply(row, path_of(row), progress=lambda done: _show(row, done))
        except Exception as exc:
            # Only the kind: the message of a foreign error may quote a row
            _fail(row, f"{type(exc).__name__} while importing; the rows before it are in. The worker's log says where.")
            raise
        path_of(row).unlink(missing_ok=True)
        tasks.predict_cases.delay(row.schema_id)


def _fail(row: Import, reason: str) -> None:
    Import.objects.filter(pk=row.pk).update(state=ImportState.FAILED, failure=reason[:500], finished_at=timezone.now())
    path_of(row).unlink(missing_ok=True)


def _show(row: Import, done: int) -> None:
    Import.objects.filter(pk=row.pk).update(report={**row.report, "done": done})
