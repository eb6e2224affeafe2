"""Raising and resolving the flags that ask for a person."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db.models import FloatField, Max, OuterRef, Q, QuerySet, Subquery
from django.db.models.fields.json import KeyTextTransform
from django.db.models.functions import Cast, Coalesce
from django.utils import timezone

from ml.policy import FlagKind, Reason
from webapp.models import Case, Flag

BY_ANNOTATOR = {"by": "annotator"}  # Among the facts of what a person called urgent
# Raised by routing, and so replaced when another version answers; the others stay until a person has decided.
BY_ROUTING = (FlagKind.LOW_CONFIDENCE, FlagKind.UNTRAINED, FlagKind.UNFAMILIAR, FlagKind.URGENT)
OF_MODEL = Q(kind__in=BY_ROUTING) & ~Q(facts__has_key="by")
# Raised by people, or about them: no prediction takes a case with one of these out of review
OF_PEOPLE = ~OF_MODEL & ~Q(kind=FlagKind.AUDIT)
# The place of an audited case must not tell what the model said of it
URGENT = Q(kind=FlagKind.URGENT, resolved_at=None) & (Q(facts__has_key="by") | Q(case__is_audit=False))


def replace_by_model(reasons: dict[int, Iterable[Reason]]) -> set[int]:
    """Put the reasons of a new prediction in the place of those of the one before, for several cases by id.

    Returns:
        The cases that have a reason which they had not before.
    """
    were_open = set(Flag.objects.filter(case__in=reasons, resolved_at=None).values_list("case_id", "kind", "head"))
    reasons = {case_id: list(found) for case_id, found in reasons.items()}
    Flag.objects.filter(OF_MODEL, case__in=reasons, resolved_at=None).update(resolved_at=timezone.now())
    Flag.objects.bulk_create(
        [
            Flag(case_id=case_id, kind=reason.kind, head=reason.head or "", facts=dict(reason.facts))
            for case_id, found in reasons.items()
            for reason in found
        ],
        ignore_conflicts=True,  # An audit flag that is still open stays as it is, and so does what a person raised
    )
    urgent = [case_id for case_id, found in reasons.items() if any(one.kind == FlagKind.URGENT for one in found)]
    _weigh(Case.objects.filter(Q(pk__in=urgent) | Q(urgency__gt=0), pk__in=reasons))
    return {
        case_id
        for case_id, found in reasons.items()
        if any((case_id, reason.kind, reason.head or "") not in were_open for reason in found)
    }


def raise_flag(case: Case, kind: FlagKind, *, head: str = "", facts: dict[str, Any] | None = None) -> bool:
    """Raise one flag by what people said, unless it is open already; one that the model raised gives way to it.

    Returns:
        Whether it is open by this; who then saves the case tells of it.
    """
    is_known = case.flags.filter(kind=kind, head=head, resolved_at=None).exists()
    case.flags.filter(OF_MODEL, kind=kind, head=head, resolved_at=None).update(resolved_at=timezone.now())
    Flag.objects.bulk_create([Flag(case=case, kind=kind, head=head, facts=facts or {})], ignore_conflicts=True)
    if kind == FlagKind.URGENT:
        _weigh_one(case)
    return not is_known


def resolve_all(case: Case) -> None:
    """Close every flag of a case that a person has decided."""
    case.flags.filter(resolved_at=None).update(resolved_at=timezone.now())
    _weigh_one(case)


def bring_back(case: Case, ids: Iterable[int]) -> None:
    """Open the flags again that an act closed, and close the one that it raised."""
    case.flags.filter(kind=FlagKind.SECOND_OPINION, resolved_at=None).exclude(pk__in=ids).update(
        resolved_at=timezone.now()
    )
    are_open = set(case.flags.filter(resolved_at=None).values_list("kind", "head"))
    for flag in case.flags.filter(pk__in=ids).exclude(resolved_at=None):
        if (flag.kind, flag.head) not in are_open:  # A version may have raised it anew
            flag.resolved_at = None
            flag.save(update_fields=["resolved_at"])
    _weigh_one(case)


def _weigh(cases: QuerySet[Case]) -> None:
    """Write anew how urgent cases are, by the flags that are open."""
    known = Cast(KeyTextTransform("probability", "facts"), FloatField())
    open_ones = Flag.objects.filter(URGENT, case=OuterRef("pk")).order_by().values("case")
    most = Subquery(open_ones.annotate(most=Max(Coalesce(known, 1.0))).values("most"))  # 1 of what a person said
    cases.update(urgency=Coalesce(most, 0.0))


def _weigh_one(case: Case) -> None:
    _weigh(Case.objects.filter(pk=case.pk))
    case.refresh_from_db(fields=["urgency"])
