"""What a supervisor does with a case: accept it, fix it, send it back, or ask for a second opinion."""

from __future__ import annotations

from django.contrib.auth.models import User
from django.db import transaction

from ml.policy import FlagKind
from ml.types import Labels
from webapp.actions import audit, flags, labels, leases, outbox, people, submissions
from webapp.errors import NotSendable, StaleCase
from webapp.models import Act, Annotator, Case, CaseState, Origin, Prediction, Review
from webapp.queries import history, schemas


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
        case = _locked(case, revision)
        known = history.newest(case)
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
        _move(case, CaseState.DECIDED)
        act = Act.FIX if annotation.changed_heads else Act.ACCEPT
        Review.objects.create(case=case, person=user, act=act, annotation=annotation, known=known, note=note[:2000])
        audit.record(user, "case decided", f"case {case.pk}", changed=annotation.changed_heads)


def send_back(case: Case, user: User, *, revision: int, note: str, to: Annotator | None = None) -> None:
    """Let annotators answer a case again.

    Args:
        to: who is asked, whether or not they answered it before; None means whoever comes.
        note: what they should look at.

    Raises:
        NotSendable: nothing says what they should look at, or the case is decided.
        StaleCase: somebody changed the case since the form was opened.
    """
    if not note:
        raise NotSendable("Say in the note what the annotator should look at.")
    with transaction.atomic():
        case = _locked(case, revision)
        _refuse_decided(case)
        Review.objects.create(
            case=case, person=user, act=Act.SEND_BACK, to=to, known=history.newest(case), note=note[:2000]
        )
        flags.resolve_all(case)
        _move(case, CaseState.LABELLING)
        outbox.want_in([case])
        audit.record(user, "case sent back", f"case {case.pk}", to=to.pk if to else None)


def ask_second_opinion(case: Case, user: User, *, revision: int, note: str = "") -> None:
    """Leave a case to another supervisor: it stays in review, and is not given to this person again.

    Raises:
        NotSendable: the case is decided.
        StaleCase: somebody changed the case since the form was opened.
    """
    with transaction.atomic():
        case = _locked(case, revision)
        _refuse_decided(case)
        known = history.newest(case)
        Review.objects.create(case=case, person=user, act=Act.SECOND_OPINION, known=known, note=note[:2000])
        name = user.get_full_name() or user.get_username()
        flags.raise_flag(
            case, FlagKind.SECOND_OPINION, facts={"by": "supervisor", leases.ASKED_BY: user.pk, "name": name}
        )
        _move(case, CaseState.REVIEW)
        outbox.want_out([case])
        audit.record(user, "second opinion asked", f"case {case.pk}")


def _locked(case: Case, revision: int) -> Case:
    case = Case.objects.select_for_update(of=("self",)).select_related("schema").get(pk=case.pk)
    if case.revision != revision:
        raise StaleCase(
            "Somebody changed this case since you opened it, so your answers are not saved yet. "
            "They are still here: what was said meanwhile is marked as new; save again if yours hold."
        )
    return case


def _refuse_decided(case: Case) -> None:
    if not case.is_open:
        raise NotSendable("This case is decided; change the decision instead.")


def _move(case: Case, state: CaseState) -> None:
    """Put a case where it goes next, out of the hands of whoever had it."""
    case.state, case.held_by, case.held_until = state, None, None
    case.revision += 1
    case.save(update_fields=["state", "held_by", "held_until", "revision"])
