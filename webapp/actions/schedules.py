"""Trainings that no person asks for: at set times, and once enough new labels have come."""

from __future__ import annotations

import json
from collections.abc import Collection
from datetime import time

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django_celery_beat.models import CrontabSchedule, PeriodicTask

from webapp.actions import audit, runs
from webapp.actions.schemas import policy_of, set_policy
from webapp.errors import NotSchedulable
from webapp.models import Cause, Profile, Schema
from webapp.queries import schedules, schemas

TASK = "webapp.tasks.train_by_schedule"


@transaction.atomic
def put(schema: Schema, *, days: Collection[str], at: time | None, profile: str, by: User | None) -> None:
    """Have a schema trained on some days of the week at a time of the day; on none, never.

    Raises:
        NotSchedulable: a day is none, or there are days and no time.
    """
    if unknown := sorted(set(days) - schedules.DAYS.keys()):
        raise NotSchedulable(f"{unknown[0]!r} is no day; expected some of {', '.join(schedules.DAYS)}")
    known = PeriodicTask.objects.filter(name=schedules.name_of(schema))
    if not days:
        removed, _ = known.delete()
        if removed:
            audit.record(by, "schedule removed", f"schema {schema.name}")
        return
    if at is None:
        raise NotSchedulable("There are days, and no time of the day at which to begin.")
    numbers = sorted(schedules.DAYS[day] for day in days)
    when = {"minute": at.minute, "hour": at.hour, "day_of_week": ",".join(map(str, numbers))}
    when |= {"day_of_month": "*", "month_of_year": "*", "timezone": settings.TIME_ZONE}
    crontab = CrontabSchedule.objects.filter(**when).first() or CrontabSchedule.objects.create(**when)
    values = {"task": TASK, "crontab": crontab, "kwargs": json.dumps({"schema_id": schema.pk, "profile": profile})}
    # Not `update`: the scheduler learns of it by what saving sends
    PeriodicTask.objects.update_or_create(name=schedules.name_of(schema), defaults={**values, "enabled": True})
    facts = {"days": list(days), "at": f"{at:%H:%M}", "profile": profile}
    audit.record(by, "schedule set", f"schema {schema.name}", **facts)


@transaction.atomic
def wait_for_labels(schema: Schema, cases: int, *, by: User | None) -> None:
    """Have a schema trained once so many cases have new labels; 0 never. Another policy is in force from then on.

    Raises:
        NotSettable: so many cannot be waited for.
    """
    policy = schemas.policy(schema)
    if policy.parsed.train_after != cases:
        words = f"a training after {cases} newly labelled cases" if cases else "no training for new labels"
        wanted = policy_of(schemas.newest_version(schema).parsed, {**policy.values, "train_after": cases})
        row = set_policy(schema, wanted, reason=words, by=by)
        audit.record(by, "policy set", f"policy {row.pk}")


def begin(schema_id: int, profile: str) -> None:
    """Ask for the training of a schema that is due."""
    runs.request_unasked(Schema.objects.get(pk=schema_id), cause=Cause.SCHEDULE, profile=profile)


def begin_on_new_labels() -> None:
    """Ask for a training, like the last one, of each schema of which enough cases were labelled since."""
    for schema in Schema.objects.order_by("pk"):
        enough = schemas.policy(schema).parsed.train_after
        if enough and schedules.newly_labelled(schema) >= enough:
            last = schema.runs.order_by("-id").first()
            runs.request_unasked(schema, cause=Cause.LABELS, profile=last.profile if last else Profile.FAST)
