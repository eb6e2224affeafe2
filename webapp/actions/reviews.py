"""A supervisor's decision on a case."""

from __future__ import annotations

from django.contrib.auth.models import User
from django.db import transaction

from ml.types import Labels
from webapp.actions import audit, flags, labels, outbox, people, submissions
from webapp.errors import StaleCase
from webapp.models import Case, CaseState, Origin, Prediction
from webapp.queries import schemas


def decide(
    case: Case,
    user: User,
    *,
    answers: Labels,
    revision: int,
    shown: Prediction | None = None,
    reason: str = "",
    note: str = "",
) -> None:
    """Store a supervisor's answers as the labels that stand.

    Args:
        shown: the prediction that was on the page.
        reason: a `Correction`; why an answer differs from the model's.

    Raises:
        StaleCase: somebody changed the case since the form was opened.
    """
    with transaction.atomic():
        case = Case.objects.select_for_update(of=("self",)).select_related("schema").get(pk=case.pk)
        if case.revision != revision:
            raise StaleCase(
                "Somebody changed this case since you opened it, so your answers are not saved yet. "
                "They are still here: what was said meanwhile is marked as new; save again if yours hold."
            )
        submission = submissions.Submission(
            annotator=people.annotator_of(user),
            schema_version=schemas.newest_version(case.schema),
            origin=Origin.REVIEW,
            answers=answers,
            shown=None if case.is_audit and case.is_open else shown,  # Audits are blind until decided
            reason=reason,
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
