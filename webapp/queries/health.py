"""How the traffic with Label Studio stands, as far as our own database tells: it does so while Label Studio is down."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db.models import Exists, Min, OuterRef, QuerySet
from django.utils import timezone

from webapp.models import Case, CaseState, Checkup, Delivery, LabelStudioProject, LabelStudioTask, Outbox, OutboxPurpose


def outbox() -> dict[str, Any]:
    """Return how many rows wait, how many of them were tried in vain, and for how long the oldest has waited."""
    waiting = Outbox.objects.filter(sent_at=None)
    oldest = waiting.aggregate(at=Min("created_at"))["at"]
    return {
        "waiting": waiting.count(),
        "failing": waiting.filter(attempts__gt=0).count(),
        "oldest_seconds": age(oldest),
    }


def webhooks() -> dict[str, Any]:
    """Return how many messages to subscribers wait, failed so far among them, were given up, and since when one waits.

    What waits for a subscription that is paused is not counted.
    """
    waiting = Delivery.objects.filter(delivered_at=None, given_up_at=None, subscription__paused_at=None)
    return {
        "waiting": waiting.count(),
        "failing": waiting.filter(attempts__gt=0).count(),
        "given_up": Delivery.objects.exclude(given_up_at=None).count(),
        "oldest_seconds": age(waiting.aggregate(at=Min("wanted_at"))["at"]),
    }


def down_since() -> datetime | None:
    """Return since when Label Studio has not done what was asked, by the polls or, before the first, by the outbox."""
    polled = LabelStudioProject.objects.all()
    tried = Outbox.objects.filter(sent_at=None, attempts__gt=0)
    since: datetime | None
    if polled.exists():
        since = polled.aggregate(at=Min("failing_since"))["at"]
    else:
        since = tried.aggregate(at=Min("created_at"))["at"]
    return since


def projects() -> list[dict[str, Any]]:
    """Return what the last poll of each project found."""
    return [_project(row) for row in LabelStudioProject.objects.select_related("schema").order_by("schema__name")]


def lost_cases() -> QuerySet[Case]:
    """Return the cases that annotators should have, and that neither are in Label Studio nor wait to be sent."""
    there = LabelStudioTask.objects.filter(case=OuterRef("pk"), withdrawn_at=None)
    waiting = Outbox.objects.filter(case=OuterRef("pk"), sent_at=None, purpose=OutboxPurpose.PUSH)
    return Case.objects.filter(~Exists(there), ~Exists(waiting), state=CaseState.LABELLING)


def last_checkup() -> Checkup | None:
    """Return the newest examination that is finished."""
    return Checkup.objects.exclude(finished_at=None).order_by("-id").first()


def checkup_under_way() -> Checkup | None:
    """Return the oldest examination that is not finished."""
    return Checkup.objects.filter(finished_at=None).order_by("id").first()


def _project(row: LabelStudioProject) -> dict[str, Any]:
    sent = row.tasks.filter(withdrawn_at=None).count()
    return {
        "schema": row.schema.name,
        "project": row.project,
        "seconds_since_poll": age(row.polled_at),
        "failing_since": row.failing_since and row.failing_since.isoformat(),
        "failure": row.failure,
        "drifted_since": row.drifted_since and row.drifted_since.isoformat(),
        "tasks_sent": sent,
        "tasks_there": row.tasks_there,
    }


def age(moment: datetime | None) -> float | None:
    """Return how many seconds ago something was."""
    return None if moment is None else round((timezone.now() - moment).total_seconds(), 1)
