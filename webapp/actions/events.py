"""Telling other systems: a delivery for each subscriber, written in the transaction that decides what it tells of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from django.db import transaction
from django.db.models import Q
from django.utils import timezone
from django_guid import get_guid

from webapp import tasks
from webapp.models import Case, Delivery, Event, Promotion, Schema, Subscription
from webapp.queries import answers


def tell(event: Event, cases: Iterable[Case]) -> None:
    """Tell of cases of one schema as they now stand in the database: save them first."""
    cases = list(cases)
    if not cases:
        return
    subscriptions = _subscribers(event, cases[0].schema_id)
    if subscriptions:
        write(subscriptions, event, answers.told_outside(case.pk for case in cases))


def tell_promotion(row: Promotion) -> None:
    """Tell that a version was put in use."""
    replaced = row.replaced and str(row.replaced)
    facts = {"schema": row.schema.name, "version": str(row.version), "replaced": replaced}
    write(_subscribers(Event.PROMOTED, row.schema_id), Event.PROMOTED, [facts | {"is_rollback": row.is_rollback}])


def write(subscriptions: Sequence[Subscription], event: str, told: Iterable[dict[str, Any]]) -> None:
    """Write a delivery of each fact for each subscription, and have them brought there."""
    now = timezone.now()
    rows = [
        Delivery(
            subscription=subscription,
            event=event,
            payload={"type": event, "timestamp": now, "data": facts},
            wanted_at=now,
            due_at=now,
            request_id=get_guid() or "",
        )
        for facts in told
        for subscription in subscriptions
    ]
    if rows:
        Delivery.objects.bulk_create(rows)
        transaction.on_commit(tasks.deliver_webhooks.delay)


def _subscribers(event: Event, schema: int | Schema) -> list[Subscription]:
    """Return who wants to hear of it. Who is paused gets it later."""
    return list(Subscription.objects.filter(Q(schema=schema) | Q(schema=None), events__contains=[event]))
