"""What a supervisor does with a case: accept, fix, send back, ask for a second opinion; and taking that back."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

from ml.policy import FlagKind
from ml.types import Labels
from webapp.actions import audit, drafts, escalations, events, flags, labels, leases, outbox, people, submissions
from webapp.errors import NotSendable, NotUndoable, StaleCase
from webapp.models import Act, Annotation, Annotator, Case, CaseState, Event, Origin, Prediction, Review
from webapp.queries import history, schemas

STALE = (
    "Somebody changed this case since you opened it, so your answers are not saved yet. "
    "They are still here: what was said meanwhile is marked as new; save again if yours hold."
)


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
        known, before = history.newest(case), _standing(case)
        if case.is_audit and case.is_open:  # Audits are blind until decided; who decided one before saw the answers
            was_decided = case.annotations.filter(origin=Origin.REVIEW).exists()
            shown = case.current_prediction if was_decided else None
        submission = submissions.Submission(
            annotator=people.annotator_of(user),
            schema_version=schemas.newest_version(case.schema),
            origin=Origin.REVIEW,
            answers=answers,
            shown=shown,
            reason=reason,
            note=note,
        )
        annotation = submissions.store(case, submission)
        labels.resolve(case)
        flags.resolve_all(case)
        outbox.want_out([case])
        _move(case, CaseState.DECIDED)
        act = Act.FIX if annotation.changed_heads else Act.ACCEPT
        _record(case, user, act, before, known=known, note=note, annotation=annotation)
        audit.record(user, "case decided", f"case {case.pk}", changed=annotation.changed_heads)
        events.tell(Event.DECIDED, [case])


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
        known, before = history.newest(case), _standing(case)
        flags.resolve_all(case)
        _move(case, CaseState.LABELLING)
        _record(case, user, Act.SEND_BACK, before, known=known, note=note, to=to)
        outbox.want_in([case])
        audit.record(user, "case sent back", f"case {case.pk}", to=to.pk if to else None)


def ask_second_opinion(case: Case, user: User, *, revision: int, note: str = "") -> None:
    """Leave a case to another supervisor: it stays in review, and is given again to nobody who asked.

    Raises:
        NotSendable: the case is decided.
        StaleCase: somebody changed the case since the form was opened.
    """
    with transaction.atomic():
        case = _locked(case, revision)
        _refuse_decided(case)
        known, before = history.newest(case), _standing(case)
        asked = case.flags.filter(kind=FlagKind.SECOND_OPINION, resolved_at=None)
        names = {number: name for flag in asked for number, name in flag.facts.get(leases.ASKED_BY, {}).items()}
        names[str(user.pk)] = user.get_full_name() or user.get_username()
        asked.update(resolved_at=timezone.now())  # Undoing opens it again
        flags.raise_flag(case, FlagKind.SECOND_OPINION, facts={"by": "supervisor", leases.ASKED_BY: names})
        _move(case, CaseState.REVIEW)
        _record(case, user, Act.SECOND_OPINION, before, known=known, note=note)
        outbox.want_out([case])
        audit.record(user, "second opinion asked", f"case {case.pk}")
        events.tell(Event.FLAGGED, [case])


def undo(user: User) -> Case:
    """Take back the last thing that a person did with a case, and give them the case with what they had typed.

    Nothing is removed: a row says that the answer is withdrawn, as one says that it was given.

    Raises:
        NotUndoable: the person did nothing yet, or took it back already, or somebody else has the case open.
        StaleCase: somebody changed the case since.
    """
    last = Review.objects.filter(person=user).order_by("-id").first()
    if last is None or last.act == Act.UNDO:
        raise NotUndoable("There is nothing to take back.")
    with transaction.atomic():
        case = _locked(last.case, last.revision, "Somebody changed this case since, so that nothing is taken back.")
        if case.is_held and case.held_by != user:
            name = case.held_by and (case.held_by.get_full_name() or case.held_by.get_username())
            raise NotUndoable(f"{name} has this case open, so that nothing is taken back; ask them to release it.")
        if last.annotation is not None:
            Annotation.objects.create(
                case=case,
                annotator=last.annotation.annotator,
                schema_version=last.annotation.schema_version,
                origin=Origin.REVIEW,
                is_deletion=True,
                supersedes=last.annotation,
            )
            labels.resolve(case)
        flags.bring_back(case, last.before["flags"])
        case.state = last.before["state"]
        if case.is_open and case.escalations.filter(acknowledgement=None).exists():
            escalations.put_in_review(case)  # It may have been raised since
        _move(case, CaseState(case.state))
        if case.state == CaseState.LABELLING:
            outbox.want_in([case])
        else:
            outbox.want_out([case])
        leases.take(case, user)
        Review.objects.create(case=case, person=user, act=Act.UNDO, undoes=last, revision=case.revision)
        drafts.bring_back(case, user, revision=case.revision)
        audit.record(user, "step taken back", f"case {case.pk}", review=last.pk)
        if last.annotation is not None:  # What was told of the decision holds no more
            events.tell(Event.FLAGGED if case.is_open else Event.DECIDED, [case])
    return case


def _standing(case: Case) -> dict[str, Any]:
    """Return what undoing brings back."""
    return {"state": case.state, "flags": sorted(case.flags.filter(resolved_at=None).values_list("pk", flat=True))}


def _record(case: Case, user: User, act: Act, before: dict[str, Any], *, note: str, **facts: Any) -> None:
    Review.objects.create(
        case=case, person=user, act=act, before=before, revision=case.revision, note=note[:2000], **facts
    )


def _locked(case: Case, revision: int, stale: str = STALE) -> Case:
    case = Case.objects.select_for_update(of=("self",)).select_related("schema").get(pk=case.pk)
    if case.revision != revision:
        raise StaleCase(stale)
    return case


def _refuse_decided(case: Case) -> None:
    if not case.is_open:
        raise NotSendable("This case is decided; change the decision instead.")


def _move(case: Case, state: CaseState) -> None:
    """Put a case where it goes next, out of the hands of whoever had it."""
    case.state, case.held_by, case.held_until = state, None, None
    case.revision += 1
    case.save(update_fields=["state", "held_by", "held_until", "revision"])
