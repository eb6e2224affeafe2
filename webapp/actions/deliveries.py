"""Bringing events to their subscribers, signed as https://www.standardwebhooks.com says, at least once.

What is not answered with 2xx is tried again after 10 s, 20 s, 40 s, up to 2 hours, for a day. An address that cannot be
connected to at all rests meanwhile with all that waits for it, so that it holds up no other.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from dataclasses import dataclass
from datetime import timedelta

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone
from standardwebhooks import Webhook

from webapp import faults, posting, tasks
from webapp.actions import audit, subscriptions
from webapp.errors import NotReachable
from webapp.locks import only_one
from webapp.models import Delivery, Subscription

logger = logging.getLogger(__name__)

TRIED_FOR = timedelta(days=1)
LONGEST_WAIT = timedelta(hours=2)
LONGEST_REST = timedelta(minutes=10)
KEPT = timedelta(days=30)  # In the log
TURN_SECONDS = 10.0  # Other errands wait for it
MOST_AT_ONCE = 100  # To one address in a turn
TOGETHER = 8
GONE = 410  # By which an address says that it wants no more
TOO_LATE = "not delivered within a day"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one try; without a status, the address could not be connected to."""

    row: Delivery
    status: int | None = None
    failure: str = ""


def deliver() -> None:
    """Send what is due, to all addresses at the same time, and go on in another turn if anything is left."""
    with only_one("webhooks") as is_mine:
        if not is_mine:
            return
        batches = [(row, list(due(row)[:MOST_AT_ONCE])) for row in _ready()]
        for row, outcomes in asyncio.run(_send_all([batch for batch in batches if batch[1]])):
            faults.point("webhook-sent")
            _record(row, outcomes)
        if any(due(row).exists() for row in _ready()):
            tasks.deliver_webhooks.delay()


def due(subscription: Subscription) -> QuerySet[Delivery]:
    """Return what is to be sent to an address now, the oldest first."""
    rows = subscription.deliveries.filter(delivered_at=None, given_up_at=None, due_at__lte=timezone.now())
    return rows.order_by("due_at", "pk")


def replay(row: Delivery, *, by: User | None) -> None:
    """Send something again, whatever became of it; the receiver can tell by its id that it is the same."""
    now = timezone.now()
    again = {"wanted_at": now, "due_at": now, "delivered_at": None, "given_up_at": None, "attempts": 0}
    Delivery.objects.filter(pk=row.pk).update(**again)
    Subscription.objects.filter(pk=row.subscription_id).update(resting_until=None)
    audit.record(by, "webhook replayed", str(row))
    transaction.on_commit(tasks.deliver_webhooks.delay)


def clear_out() -> None:
    """Give up what waited for a day, and forget what was settled a month ago."""
    now = timezone.now()
    waiting = Delivery.objects.filter(delivered_at=None, given_up_at=None, wanted_at__lt=now - TRIED_FOR)
    waiting.filter(failure="").update(failure=TOO_LATE)
    waiting.update(given_up_at=now)
    Delivery.objects.filter(Q(delivered_at__lt=now - KEPT) | Q(given_up_at__lt=now - KEPT)).delete()


def waits() -> bool:
    """Whether anything is to be sent now."""
    return any(due(row).exists() for row in _ready())


def _ready() -> QuerySet[Subscription]:
    is_rested = Q(resting_until=None) | Q(resting_until__lte=timezone.now())
    return Subscription.objects.filter(is_rested, paused_at=None).order_by("pk")


async def _send_all(
    batches: list[tuple[Subscription, list[Delivery]]],
) -> list[tuple[Subscription, list[Outcome]]]:
    outcomes = await asyncio.gather(*(_send(row, waiting) for row, waiting in batches))
    return [(row, found) for (row, _), found in zip(batches, outcomes, strict=True)]


async def _send(subscription: Subscription, rows: list[Delivery]) -> list[Outcome]:
    """Send to one address until all is sent, the turn ends or it cannot be connected to."""
    until = time.monotonic() + TURN_SECONDS
    found: list[Outcome] = []
    try:
        target = await posting.resolve(subscription.address)
    except NotReachable as exc:
        return [Outcome(rows[0], failure=str(exc))]
    signer = Webhook(subscriptions.secret_of(subscription))
    async with posting.connected() as client:

        async def attempt(row: Delivery) -> Outcome:
            body = json.dumps(row.payload)
            now = timezone.now()
            headers = {
                "Content-Type": "application/json",
                "User-Agent": "Caseloop",
                "webhook-id": str(row.message),
                "webhook-timestamp": str(int(now.timestamp())),
                "webhook-signature": signer.sign(str(row.message), now, body),
            }
            try:
                return Outcome(row, await posting.post(client, target, body.encode(), headers))
            except NotReachable as exc:
                return Outcome(row, failure=str(exc))

        for start in range(0, len(rows), TOGETHER):
            found += await asyncio.gather(*map(attempt, rows[start : start + TOGETHER]))
            if time.monotonic() > until or any(one.status is None for one in found):
                break
    return found


def _record(subscription: Subscription, outcomes: list[Outcome]) -> None:
    for one in outcomes:
        _settle(one)
    was_silent = any(one.status is None for one in outcomes)
    if any(one.status == GONE for one in outcomes):
        subscriptions.pause(subscription, by=None)
    elif was_silent:
        rest = min(timedelta(seconds=10 * 2 ** min(subscription.failures, 10)), LONGEST_REST)
        changes = {"failures": subscription.failures + 1, "resting_until": timezone.now() + rest}
        Subscription.objects.filter(pk=subscription.pk).update(**changes)
    elif subscription.failures:
        Subscription.objects.filter(pk=subscription.pk).update(failures=0, resting_until=None)


def _settle(one: Outcome) -> None:
    """Keep what came of a try: delivered, to be tried again, or given up."""
    now = timezone.now()
    row = Delivery.objects.filter(pk=one.row.pk)
    facts = {"delivery": one.row.pk, "subscription": one.row.subscription_id, "status": one.status}
    if one.status is not None and 200 <= one.status < 300:
        row.update(delivered_at=now, status=one.status, failure="", attempts=one.row.attempts + 1)
        logger.info("webhook delivered", extra={**facts, "wished_by": one.row.request_id})
        return
    wait = min(timedelta(seconds=10 * 2 ** min(one.row.attempts, 20)), LONGEST_WAIT)
    is_last = now + wait > one.row.wanted_at + TRIED_FOR
    row.update(
        attempts=one.row.attempts + 1,
        status=one.status,
        failure=(one.failure or _told(one.status))[:200],
        due_at=now + wait,
        given_up_at=now if is_last else None,
    )
    logger.warning("webhook failed", extra={**facts, "is_given_up": is_last})


def _told(status: int | None) -> str:
    if status is not None and 300 <= status < 400:
        return f"answered {status}; redirects are not followed"
    return f"answered {status}; expected 2xx"
