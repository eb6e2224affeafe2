"""When trainings begin that no person asks for."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, time

from django.db.models import F
from django_celery_beat.models import PeriodicTask

from webapp.models import AuditEvent, Case, Profile, Schema
from webapp.models.cases import GONE_STATES
from webapp.queries import schemas

DAYS = {"mon": 1, "tue": 2, "wed": 3, "thu": 4, "fri": 5, "sat": 6, "sun": 0}  # As crontabs number them
MOST_CASES = 1_000_000  # With new labels that a training may wait for


@dataclass(frozen=True, slots=True)
class Times:
    """When a schema is trained by itself, and what stands in for it until it is."""

    schema: Schema
    days: tuple[str, ...]  # None: never
    at: time | None
    profile: str
    train_after: int  # Cases with new labels; 0 never
    newly_labelled: int
    skipped: AuditEvent | None  # The last time that it was due and not begun


def of(schema: Schema) -> Times:
    """Return when a schema is trained by itself."""
    days: tuple[str, ...] = ()
    at, profile = None, Profile.FAST.value
    row = PeriodicTask.objects.select_related("crontab").filter(name=name_of(schema), enabled=True).first()
    if row is not None and row.crontab is not None:
        numbers = row.crontab.day_of_week.split(",")
        days = tuple(day for day, number in DAYS.items() if str(number) in numbers)
        at, profile = time(int(row.crontab.hour), int(row.crontab.minute)), json.loads(row.kwargs)["profile"]
    skipped = AuditEvent.objects.filter(subject=f"schema {schema.name}", action="scheduled run skipped")
    return Times(
        schema=schema,
        days=days,
        at=at,
        profile=profile,
        train_after=schemas.policy(schema).parsed.train_after,
        newly_labelled=newly_labelled(schema),
        skipped=skipped.order_by("-id").first(),
    )


def name_of(schema: Schema) -> str:
    """Return the name under which the scheduler knows the times of a schema."""
    return f"train {schema.name}"


def newly_labelled(schema: Schema) -> int:
    """Count the cases with labels that came since the last snapshot was taken, or the last run began."""
    cases = Case.objects.filter(schema=schema, labels__isnull=False).exclude(state__in=GONE_STATES)
    if since := _last_learnt(schema):
        cases = cases.filter(labels__annotation__created_at__gt=since)
    return cases.distinct().count()


def _last_learnt(schema: Schema) -> datetime | None:
    """Return when labels were last read. The same labels are the same snapshot, with the time of the first."""
    last = schema.runs.order_by("-id").values_list("requested_at", "started_at").first() or ()
    snapshots = schema.versions.filter(snapshots__isnull=False).order_by(F("snapshots__created_at").desc())
    taken = snapshots.values_list("snapshots__created_at", flat=True).first()
    return max((moment for moment in (*last, taken) if moment), default=None)
