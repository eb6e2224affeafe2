"""Who is told of events, and what came of it."""

from __future__ import annotations

from django.db.models import Count, Q, QuerySet

from webapp.models import Delivery, Subscription

LISTED = 100


def everyone() -> QuerySet[Subscription]:
    """Return all subscriptions, each with how many deliveries wait, failed so far among them, and were given up."""
    waiting = Q(deliveries__delivered_at=None, deliveries__given_up_at=None)
    return (
        Subscription.objects.select_related("schema", "created_by")
        .annotate(
            waiting=Count("deliveries", filter=waiting),
            failing=Count("deliveries", filter=waiting & Q(deliveries__attempts__gt=0)),
            given_up=Count("deliveries", filter=~Q(deliveries__given_up_at=None)),
            delivered=Count("deliveries", filter=~Q(deliveries__delivered_at=None)),
        )
        .order_by("pk")
    )


def newest(row: Subscription) -> QuerySet[Delivery]:
    """Return what was sent to an address last, or is to be, the newest first."""
    return row.deliveries.order_by("-pk")[:LISTED]
