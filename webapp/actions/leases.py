"""Leases: who works on a case, for how long. The database decides between two who want the same one.

A lease is no record of reading: a case may be leased before it is shown; see `sightings`.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Exists, OuterRef, Q
from django.utils import timezone

from ml.policy import FlagKind
from webapp.actions import drafts
from webapp.models import Case, CaseState, Flag
from webapp.queries.queue import ORDERS

AFTER_LEAVING = timedelta(seconds=10)
ASKED_BY = "people"  # Among the facts of a flag that asks for a second opinion: who asked, by number


@transaction.atomic
def take_next(user: User, *, order: str = "") -> Case | None:
    """Lease the first case in review, in an order of the queue, that nobody else holds; None if there is none.

    Two people never get the same one: the row is locked while it is chosen, and locked rows are passed over. Who asked
    for a second opinion is not given the case again.
    """
    asked = {
        f"facts__{ASKED_BY}__has_key": str(user.pk),
        "kind": FlagKind.SECOND_OPINION,
        "head": "",
        "resolved_at": None,
    }
    is_theirs = Exists(Flag.objects.filter(case=OuterRef("pk"), **asked))
    free = Q(held_by=None) | Q(held_until__lt=timezone.now()) | Q(held_by=user)
    case = (
        Case.objects.select_for_update(skip_locked=True)
        .filter(free, ~is_theirs, state=CaseState.REVIEW)
        .order_by(*ORDERS[order])
        .first()
    )
    if case is not None:
        _lease(case, user)
    return case


@transaction.atomic
def take(case: Case, user: User) -> bool:
    """Lease one case, or extend the lease on it, unless it is decided or somebody else holds it."""
    case = Case.objects.select_for_update().get(pk=case.pk)
    if (case.is_held and case.held_by_id != user.pk) or not case.is_open:
        return False
    _lease(case, user)
    return True


def release(case: Case, user: User) -> None:
    """Let a case go that this person holds."""
    Case.objects.filter(pk=case.pk, held_by=user).update(held_by=None, held_until=None)


def leave(case: Case, user: User, *, until: datetime) -> None:
    """Shorten the lease on a case whose page this person has left, unless they typed something.

    It ends after seconds rather than at once: a page that is loaded again has its lease by then.

    Args:
        until: when the lease ended as that page knew it. One that was extended since is another page's.
    """
    if drafts.of(case, user) is None:
        soon = timezone.now() + AFTER_LEAVING
        Case.objects.filter(pk=case.pk, held_by=user, held_until=until, held_until__gt=soon).update(held_until=soon)


def _lease(case: Case, user: User) -> None:
    case.held_by, case.held_until = user, timezone.now() + timedelta(minutes=settings.LEASE_MINUTES)
    case.save(update_fields=["held_by", "held_until"])
