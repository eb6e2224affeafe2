"""Raising and resolving the flags that ask for a person."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.utils import timezone

from ml.policy import FlagKind, Reason
from webapp.models import Case, Flag

# Raised by routing, and so replaced when another version answers; the others stay until a person has decided.
BY_MODEL = (FlagKind.LOW_CONFIDENCE, FlagKind.UNTRAINED, FlagKind.URGENT)


def replace_by_model(reasons: dict[int, Iterable[Reason]]) -> None:
    """Put the reasons of a new prediction in the place of those of the one before, for several cases by id."""
    Flag.objects.filter(case__in=reasons, kind__in=BY_MODEL, resolved_at=None).update(resolved_at=timezone.now())
    Flag.objects.bulk_create(
        [
            Flag(case_id=case_id, kind=reason.kind, head=reason.head or "", facts=dict(reason.facts))
            for case_id, found in reasons.items()
            for reason in found
        ],
        ignore_conflicts=True,  # An audit flag that is still open stays as it is
    )


def raise_flag(case: Case, kind: FlagKind, *, head: str = "", facts: dict[str, Any] | None = None) -> None:
    """Raise one flag, unless it is open already."""
    Flag.objects.bulk_create([Flag(case=case, kind=kind, head=head, facts=facts or {})], ignore_conflicts=True)


def resolve_all(case: Case) -> None:
    """Close every flag of a case that a person has decided."""
    case.flags.filter(resolved_at=None).update(resolved_at=timezone.now())
