"""Who is told of events: subscribing an address, trying it, pausing and ending it."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Iterable

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.crypto import salted_hmac

from webapp import posting, tasks
from webapp.actions import audit, events
from webapp.errors import NotReachable, NotSubscribable
from webapp.models import Event, Schema, Subscription
from webapp.models.events import TEST

PREFIX = "whsec_"  # As Standard Webhooks writes secrets


def subscribe(address: str, wanted: Iterable[str], *, schema: Schema | None, by: User | None) -> Subscription:
    """Have an address told of events, of one schema or of all.

    Raises:
        NotSubscribable: it wants nothing, is subscribed already, or may not be posted to.
    """
    wanted = [event.value for event in Event if event in set(wanted)]
    if not wanted:
        raise NotSubscribable(f"it would be told of nothing; expected some of {', '.join(Event)}")
    try:
        posting.check(address)
    except NotReachable as exc:
        raise NotSubscribable(f"{exc}.") from exc
    try:
        with transaction.atomic():
            row = Subscription.objects.create(
                address=address, events=wanted, schema=schema, salt=secrets.token_hex(16), created_by=by
            )
    except IntegrityError as exc:
        raise NotSubscribable("this address is subscribed already; remove that subscription first") from exc
    audit.record(by, "webhook subscribed", str(row), events=wanted)
    return row


def secret_of(row: Subscription) -> str:
    """Return the secret that signs what is sent there. Another SECRET_KEY gives another."""
    key = salted_hmac("webapp.subscription", row.salt, algorithm="sha256").digest()
    return PREFIX + base64.b64encode(key).decode()


def pause(row: Subscription, *, by: User | None) -> None:
    """Send nothing there; what happens meanwhile waits for a day at most."""
    if Subscription.objects.filter(pk=row.pk, paused_at=None).update(paused_at=timezone.now()):
        audit.record(by, "webhook paused", str(row))


def resume(row: Subscription, *, by: User | None) -> None:
    """Send again what waits."""
    paused = Subscription.objects.filter(pk=row.pk).exclude(paused_at=None)
    if paused.update(paused_at=None, failures=0, resting_until=None):
        audit.record(by, "webhook resumed", str(row))
        transaction.on_commit(tasks.deliver_webhooks.delay)


def remove(row: Subscription, *, by: User | None) -> None:
    """End a subscription, and forget what was sent there."""
    audit.record(by, "webhook removed", str(row))
    row.delete()


def test(row: Subscription) -> None:
    """Send an event that tells of nothing, without waiting for the address to recover."""
    Subscription.objects.filter(pk=row.pk).update(resting_until=None)
    events.write([row], TEST, [{}])
