"""A supervisor's work on a flagged case: take it, decide it, let it go."""

from __future__ import annotations

from datetime import timedelta

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from ml.types import Labels
from webapp.actions import audit, flags, labels, outbox, people, submissions
from webapp.errors import StaleCase
from webapp.models import Case, CaseState, Origin, Prediction
from webapp.queries import schemas

LEASE = timedelta(minutes=15)


@transaction.atomic
def take_next(user: User) -> Case | None:
    """Lease the case in review that matters most and nobody else holds; None if there is none.

    Two people never get the same one: the row is locked while it is chosen, and locked rows are passed over.
    """
    now = timezone.now()
    free = Q(held_by=None) | Q(held_until__lt=now) | Q(held_by=user)
    case = (
        Case.objects.select_for_update(skip_locked=True)
        .filter(free, state=CaseState.REVIEW)
        .order_by("-rank", "id")
        .first()
    )
    if case is not None:
        _lease(case, user)
    return case


@transaction.atomic
def take(case: Case, user: User) -> bool:
    """Lease one case, unless it is decided or somebody else holds it."""
    case = Case.objects.select_for_update().get(pk=case.pk)
    if (case.is_held and case.held_by_id != user.pk) or not case.is_open:
        return False
    _lease(case, user)
    return True


def release(case: Case, user: User) -> None:
    """Let a case go that this person holds."""
    Case.objects.filter(pk=case.pk, held_by=user).update(held_by=None, held_until=None)


def decide(
    case: Case, user: User, *, answers: Labels, revision: int, shown: Prediction | None = None, note: str = ""
) -> None:
    """Store a supervisor's answers as the labels that stand.

    Args:
        shown: the prediction that was on the page.

    Raises:
        StaleCase: somebody changed the case since the form was opened.
    """
    with transaction.atomic():
        case = Case.objects.select_for_update(of=("self",)).select_related("schema").get(pk=case.pk)
        if case.revision != revision:
            raise StaleCase(
                "Somebody changed this case since you opened it, so your answers are not saved yet. "
                "They are still here: look at the history, and save again if they hold."
            )
        submission = submissions.Submission(
            annotator=people.annotator_of(user),
            schema_version=schemas.newest_version(case.schema),
            origin=Origin.REVIEW,
            answers=answers,
            shown=None if case.is_audit and case.is_open else shown,  # Audits are blind until decided
            note=note,
        )
        annotation = submissions.store(case, submission)
        labels.resolve(case)
        flags.resolve_all(case)
        outbox.want_out([case])
        case.state, case.held_by, case.held_until = CaseState.DECIDED, None, None
        case.revision += 1
        case.save(update_fields=["state", "held_by", "held_until", "revision"])
        audit.record(user, "case decided", f"case {case.pk}", changed=annotation.changed_heads)


def _lease(case: Case, user: User) -> None:
    case.held_by, case.held_until = user, timezone.now() + LEASE
    case.save(update_fields=["held_by", "held_until"])
