"""Raising the alarm about a case, whatever any model said of it, and acknowledging that somebody did."""

from __future__ import annotations

from django.contrib.auth.models import User
from django.db import transaction

from ml.policy import FlagKind
from webapp.actions import audit, events, flags, outbox
from webapp.errors import NotAcknowledgeable
from webapp.models import Acknowledgement, Case, CaseState, Escalation, Event


@transaction.atomic
def escalate(case: Case, user: User, *, note: str = "") -> Escalation:
    """Put an alert on the pages of all supervisors and admins, and an undecided case into review.

    Again by the same person, with nothing new in the note, while nobody has acknowledged it, adds no alert. What people
    answered stands, so open forms stay good.
    """
    case = Case.objects.select_for_update().get(pk=case.pk)
    theirs = case.escalations.filter(acknowledgement=None, person=user)
    escalation = (theirs.filter(note=note[:2000]) if note else theirs).first()
    is_new, is_flagged = escalation is None, False
    if escalation is None:
        escalation = Escalation.objects.create(case=case, person=user, note=note[:2000])
        audit.record(user, "case escalated", f"case {case.pk}", escalation=escalation.pk)
    if case.is_open:
        is_flagged = put_in_review(case)
        case.save(update_fields=["state"])
        outbox.want_out([case])
    for event, has_happened in ((Event.FLAGGED, is_flagged), (Event.ESCALATED, is_new)):
        if has_happened:
            events.tell(event, [case])
    return escalation


def put_in_review(case: Case) -> bool:
    """Flag a case for an alert, and put it into review; return whether it had no such flag.

    Saving it, and telling of it, is the business of the caller.
    """
    case.state = CaseState.REVIEW
    return flags.raise_flag(case, FlagKind.ESCALATION, facts={"by": "person"})


@transaction.atomic
def acknowledge(escalation: Escalation, user: User) -> None:
    """Record that somebody took an escalation on; a second time changes nothing.

    Raises:
        NotAcknowledgeable: the person raised it: somebody else must have seen it.
    """
    if escalation.person_id == user.pk:
        raise NotAcknowledgeable("You raised this alert: another supervisor or an admin has to acknowledge it.")
    row, is_new = Acknowledgement.objects.get_or_create(escalation=escalation, defaults={"person": user})
    if is_new:
        seconds = round((row.at - escalation.at).total_seconds(), 1)
        audit.record(user, "escalation acknowledged", f"case {escalation.case_id}", seconds=seconds)
