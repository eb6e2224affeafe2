"""Ratings by agents of what a version said; a low one flags the case."""

from __future__ import annotations

from collections.abc import Iterable

from django.db import transaction
from django.db.models import OuterRef, Subquery

from ml.policy import FlagKind
from webapp.actions import events, flags, outbox
from webapp.models import Case, CaseState, Event, Feedback

LOW = 2  # A rating from which downward a case is flagged


@transaction.atomic
def give(*, source: str, external_id: str, task: str, rating: int, reason: str = "") -> Feedback:
    """Store a rating in the place of the one before; that of a case that is not known yet waits for it."""
    case = Case.objects.filter(source=source, external_id=external_id).first()
    is_erased = case is not None and case.state == CaseState.ERASED
    values = {"case": case, "rating": rating, "reason": "" if is_erased else reason[:2000]}
    row, _ = Feedback.objects.update_or_create(source=source, external_id=external_id, task=task, defaults=values)
    if case is not None:
        _flag(case, [row])
    return row


@transaction.atomic
def attach(cases: Iterable[Case]) -> None:
    """Give new cases the ratings that came before them."""
    by_key = {(case.source, case.external_id): case for case in cases}
    waiting = Feedback.objects.filter(
        case=None,
        source__in={source for source, _ in by_key},
        external_id__in={external_id for _, external_id in by_key},
    )
    for row in waiting:
        if (case := by_key.get((row.source, row.external_id))) is not None:
            row.case = case
            row.save(update_fields=["case"])
            _flag(case, [row])


def attach_waiting() -> None:
    """Do the same for ratings that came at the very moment of their case."""
    case = Case.objects.filter(source=OuterRef("source"), external_id=OuterRef("external_id"))
    found = Feedback.objects.filter(case=None).annotate(found=Subquery(case.values("pk")[:1]))
    attach(Case.objects.filter(pk__in=found.exclude(found=None).values("found")))


def _flag(case: Case, rows: Iterable[Feedback]) -> None:
    """Flag a case by low ratings, and have a supervisor see it while nobody has decided it."""
    low = [row for row in rows if row.rating <= LOW]
    case = Case.objects.select_for_update().get(pk=case.pk)
    if not low or case.state in (CaseState.WITHDRAWN, CaseState.ERASED):
        return
    raised = [
        flags.raise_flag(case, FlagKind.LOW_RATING, facts={"by": "agent", "task": row.task, "rating": row.rating})
        for row in low
    ]
    if case.is_open:
        case.state = CaseState.REVIEW
        case.save(update_fields=["state"])
        outbox.want_out([case])
    if any(raised):
        events.tell(Event.FLAGGED, [case])
