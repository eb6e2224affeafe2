"""Keeping what people type before they send it."""

from __future__ import annotations

from collections.abc import Mapping

from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from webapp.models import Case, Draft

Values = Mapping[str, list[str]]


@transaction.atomic
def save(case: Case, person: User, values: Values, *, revision: int) -> bool:
    """Keep what a person typed on a case; tell whether it is kept. What comes after the form itself is late."""
    known = Draft.objects.select_for_update().filter(case=case, person=person).first()
    if known is not None and known.sent_at is not None and known.revision == revision:
        return False
    changes = {"values": dict(values), "revision": revision, "sent_at": None}
    Draft.objects.update_or_create(case=case, person=person, defaults=changes)
    return True


@transaction.atomic
def send(case: Case, person: User, values: Values, *, revision: int) -> None:
    """Set aside what was sent, for as long as it can be undone: until the person sends something else."""
    Draft.objects.filter(person=person).exclude(sent_at=None).exclude(case=case).delete()
    changes = {"values": dict(values), "revision": revision, "sent_at": timezone.now()}
    Draft.objects.update_or_create(case=case, person=person, defaults=changes)


def bring_back(case: Case, person: User, *, revision: int) -> None:
    """Make a draft again of what was sent, for the case as it is now."""
    Draft.objects.filter(case=case, person=person).update(sent_at=None, revision=revision)


def discard(case: Case, person: User) -> None:
    """Forget what a person typed on a case."""
    Draft.objects.filter(case=case, person=person).delete()


def of(case: Case, person: User) -> Draft | None:
    """Return what a person typed on a case and has not sent."""
    return Draft.objects.filter(case=case, person=person, sent_at=None).first()
