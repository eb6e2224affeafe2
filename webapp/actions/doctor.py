"""Examining Label Studio against our database, and repairing what can be repaired. Both can be repeated.

A task that is gone there never takes its labels along: the database is the truth, and the task is rebuilt from it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from annotate import client, inspection
from annotate.errors import AnnotateError, LabelStudioError
from webapp import tasks
from webapp.actions import audit, outbox, rebuilding
from webapp.actions import label_studio as sync
from webapp.actions.rebuilding import Findings
from webapp.locks import only_one
from webapp.models import Checkup, LabelStudioProject
from webapp.queries import health

CONFIGURATION, TASKS = "configuration", "tasks"
REPAIRS = (CONFIGURATION, TASKS)
LONGEST_WAIT = 60.0  # Seconds for the process that speaks to a project just now
SHOWN = 20  # Ids of each kind in a report


def request(repairs: Sequence[str], *, by: User) -> Checkup:
    """Have a worker examine Label Studio, and repair what is named."""
    row = Checkup.objects.create(requested_by=by, repairs=list(repairs))
    transaction.on_commit(partial(tasks.examine_label_studio.delay, row.pk))
    return row


def carry_out(checkup_id: int) -> None:
    """Do an examination that was asked for; nothing if it is done or another process is at it."""
    with only_one(f"checkup {checkup_id}") as is_mine:
        row = Checkup.objects.select_related("requested_by").get(pk=checkup_id)
        if is_mine and row.finished_at is None:
            _run(row)


def _run(row: Checkup) -> None:
    """Examine every project, repair what was asked for, and keep what is found then, however it ends."""
    report: dict[str, Any] = {
        "url": settings.LABEL_STUDIO_URL,
        "key": inspection.kind_of_key(settings.LABEL_STUDIO_API_KEY),
        "version": "",
        "answers": False,
        "problems": [],
        "projects": [],
        "repaired": {},
    }
    try:
        _expect_address()
        with sync.connected() as label_studio:
            report["version"] = inspection.version(label_studio)
            report["answers"] = True
            _send_lost_cases(row, report)
            for project in LabelStudioProject.objects.select_related("schema", "schema_version").order_by("pk"):
                _look_after(label_studio, project, row, report)
    except AnnotateError as exc:
        report["problems"].append(str(exc))
    except Exception as exc:  # Only the kind: the message of a foreign error may quote a text
        report["problems"].append(f"{type(exc).__name__} while examining; the log says where")
        raise
    finally:
        since = health.down_since()
        report |= {"down_since": since and since.isoformat(), "outbox": health.outbox()}
        row.report, row.finished_at = report, timezone.now()
        row.save(update_fields=["report", "finished_at"])
        if report["repaired"]:
            audit.record(row.requested_by, "label studio repaired", f"checkup {row.pk}", **report["repaired"])


def _expect_address() -> None:
    if not settings.LABEL_STUDIO_URL:
        raise LabelStudioError("LABEL_STUDIO_URL is not set; expected the address of a Label Studio")


def _send_lost_cases(row: Checkup, report: dict[str, Any]) -> None:
    lost = list(health.lost_cases())
    if lost and TASKS in row.repairs:
        with transaction.atomic():
            outbox.want_in(lost)
        _count(report, "cases sent again", len(lost))
    elif lost:
        report["problems"].append(f"{len(lost)} cases are with annotators and were never sent")


def _look_after(label_studio: client.Client, project: LabelStudioProject, row: Checkup, report: dict[str, Any]) -> None:
    with _held(f"label studio {project.schema_id}") as is_held:
        if not is_held:
            report["problems"].append(f"{project.schema.name}: another process is speaking to the project; try again")
            return
        found = rebuilding.compare(label_studio, project)
        if TASKS in row.repairs:
            if not found.is_gone:
                with sync.telling(project):  # What was answered up to now
                    sync.poll(label_studio, project)
            for what, number in rebuilding.repair(label_studio, project, found).items():
                _count(report, what, number)
        if CONFIGURATION in row.repairs and found.difference:
            try:
                sync.set_up(label_studio, project.schema, number=project.project)
            except AnnotateError as exc:
                report["problems"].append(f"{project.schema.name}: the configuration was not restored: {exc}")
            else:
                _count(report, "configurations restored", 1)
        project = LabelStudioProject.objects.select_related("schema", "schema_version").get(pk=project.pk)
        if row.repairs:
            found = rebuilding.compare(label_studio, project)
    report["projects"].append(_as_json(project, found))
    report["problems"] += [f"{project.schema.name}: {problem}" for problem in _problems(found)]


def _problems(found: Findings) -> Iterator[str]:
    """Say what is wrong with a project, and what a repair does about it."""
    if found.is_gone:
        yield f"the project is gone; a repair makes it anew with {len(found.missing)} tasks and their annotations"
        return
    if found.difference:
        yield "the configuration was changed there; a repair puts it back"
    if found.missing:
        yield f"{len(found.missing)} tasks are gone; a repair makes them anew with their annotations"
    if found.waiting:
        yield f"{found.waiting} annotations are not put back yet; a repair goes on with it"
    if astray := len(found.strays) + len(found.moved):
        yield f"{astray} tasks are not those that we know of; a repair adopts or removes them"
    if found.duplicates:
        yield f"{len(found.duplicates)} cases have more than one task; a repair removes those that nobody has begun"


def _as_json(project: LabelStudioProject, found: Findings) -> dict[str, Any]:
    kinds = {
        "missing": found.missing,
        "strays": list(found.strays),
        "moved": list(found.moved),
        "duplicates": list(found.duplicates),
        "foreign": found.foreign,
    }
    return {
        "schema": project.schema.name,
        "project": project.project,
        "seconds_since_poll": health.age(project.polled_at),
        "is_gone": found.is_gone,
        "tasks": found.tasks,
        "difference": found.difference,
        **{kind: {"count": len(ids), "first": ids[:SHOWN]} for kind, ids in kinds.items()},
    }


def _count(report: dict[str, Any], what: str, number: int) -> None:
    if number:
        report["repaired"][what] = report["repaired"].get(what, 0) + number


@contextmanager
def _held(name: str) -> Iterator[bool]:
    """Hold a lock, and wait for it as long as another process may need."""
    deadline = time.monotonic() + LONGEST_WAIT
    while True:
        with only_one(name) as is_mine:
            if is_mine or time.monotonic() > deadline:
                yield is_mine
                return
        time.sleep(0.2)
