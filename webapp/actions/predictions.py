"""Storing what a version says of cases, and routing them by it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import accumulate
from typing import TYPE_CHECKING

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from ml import policy, schema, types
from webapp.actions import events, flags, outbox
from webapp.models import Case, CaseState, Event, HeadScore, ModelVersion, Prediction, Schema
from webapp.models.cases import OPEN_STATES
from webapp.queries import asks, pending, schemas

if TYPE_CHECKING:
    from ml.serving import Looks  # Web processes run no model

LEASE = timedelta(minutes=2)  # Longer than any batch takes; a worker that dies holds its cases no longer than this
STATE_OF = {
    policy.Destination.ACCEPTED: CaseState.ACCEPTED,
    policy.Destination.LABELLING: CaseState.LABELLING,
    policy.Destination.REVIEW: CaseState.REVIEW,
}


@transaction.atomic
def claim(schema: Schema, most: int, *, most_characters: int) -> list[Case]:
    """Take cases that wait to be predicted, so that no other worker takes the same ones for a while.

    Each is counted as an attempt until it is given back or stored: a worker that dies of a case cannot say so. One that
    failed before is taken by itself, so that it fails no others. One that did so too often goes to people instead.
    """
    rows = pending.free_cases(schema).select_for_update(skip_locked=True, of=("self",))
    found = list(rows.filter(predicting_attempts=0).select_related("stored_text")[:most])
    cases = at_most(found, most_characters)
    while not cases and (again := rows.select_related("stored_text").first()) is not None:
        if again.predicting_attempts >= pending.MOST_ATTEMPTS:
            leave_to_people([again])
        else:
            cases = [again]
    until = timezone.now() + LEASE
    taken = Case.objects.filter(pk__in=[case.pk for case in cases])
    taken.update(predicting_until=until, predicting_attempts=F("predicting_attempts") + 1)
    return cases


def at_most(cases: list[Case], most_characters: int) -> list[Case]:
    """Return the first cases that are not longer together, at least one."""
    lengths = accumulate(case.text_length for case in cases)
    return [
        case
        for number, (case, length) in enumerate(zip(cases, lengths, strict=True))
        if not number or length <= most_characters
    ]


def keep(cases: Sequence[Case]) -> None:
    """Go on holding cases that are claimed."""
    Case.objects.filter(pk__in=[case.pk for case in cases]).update(predicting_until=timezone.now() + LEASE)


def give_back(cases: Sequence[Case]) -> None:
    """Let other workers take cases that this one could not predict, for a reason that is not theirs."""
    taken = Case.objects.filter(pk__in=[case.pk for case in cases], predicting_attempts__gt=0)
    taken.update(predicting_until=None, predicting_attempts=F("predicting_attempts") - 1)


@transaction.atomic
def fail(cases: Sequence[Case]) -> None:
    """Let cases that could not be predicted be tried again later, or leave them to people after too many attempts."""
    failed = Case.objects.select_for_update().filter(pk__in=[case.pk for case in cases])
    failed.update(predicting_until=None)
    leave_to_people(list(failed.filter(predicting_attempts__gte=pending.MOST_ATTEMPTS)))


@transaction.atomic
def leave_to_people(cases: Sequence[Case]) -> None:
    """Put cases that no model could be asked about into review, with a flag that says so; decided ones stay decided."""
    reasons: dict[int, Iterable[policy.Reason]] = {}
    for case in cases:
        case.predicting_until = None
        if case.state in OPEN_STATES:
            case.state = CaseState.REVIEW
            failed = policy.Reason(policy.FlagKind.UNTRAINED, facts={"attempts": case.predicting_attempts})
            reasons[case.pk] = [failed, policy.Reason(policy.FlagKind.AUDIT)] if case.is_audit else [failed]
    Case.objects.bulk_update(cases, ["predicting_until", "state"])
    flagged = flags.replace_by_model(reasons)
    outbox.want_out(case for case in cases if case.pk in reasons)
    events.tell(Event.FLAGGED, (case for case in cases if case.pk in flagged))


@transaction.atomic
def store(
    version: ModelVersion,
    cases: Sequence[Case],
    predictions: Sequence[types.Prediction],
    *,
    looks: Sequence[Looks] | None = None,
    familiar: Sequence[bool] | None = None,
) -> None:
    """Store predictions, one for each case in the same order, and route the cases that nobody has decided.

    A second time for the same cases and version changes nothing but the route, which follows the policy in force.

    Args:
        looks: which words were looked at in each case, where the version can tell.
        familiar: whether each is like those that the version learnt from, where it can tell.
    """
    parsed = version.schema_version.parsed
    rules = schemas.policy(version.schema).parsed
    rows = Prediction.objects.bulk_create(
        [
            Prediction(
                case=case,
                version=version,
                heads={key: head.as_json() for key, head in found.items()},
                looks={
                    key: [(one.start, one.end, round(one.weight, 4)) for one in words] for key, words in looked.items()
                },
                is_familiar=is_familiar,
            )
            for case, found, looked, is_familiar in zip(
                cases, predictions, looks or [{}] * len(cases), familiar or [True] * len(cases), strict=True
            )
        ],
        update_conflicts=True,
        unique_fields=["case", "version"],
        update_fields=["heads", "looks", "is_familiar"],
    )
    _store_scores(parsed, rules, rows, predictions)
    _route(parsed, rules, cases, rows, predictions)


def _store_scores(
    parsed: schema.Schema, rules: policy.Policy, rows: Sequence[Prediction], predictions: Sequence[types.Prediction]
) -> None:
    scores = []
    for row, found in zip(rows, predictions, strict=True):
        for key, head in found.items():
            answer = head.answer if isinstance(head.answer, str) else ""
            if parsed.head(key).kind == schema.Kind.CHOICES:
                answer = ", ".join(str(label) for label in head.answer)
            harm = policy.head_harm(parsed.head(key), rules, head if row.is_familiar else None)
            scores.append(
                HeadScore(prediction=row, head=key, answer_key=answer[:300], confidence=head.confidence, harm=harm)
            )
    HeadScore.objects.bulk_create(
        scores,
        update_conflicts=True,
        unique_fields=["prediction", "head"],
        update_fields=["answer_key", "confidence", "harm"],
    )


def _route(
    parsed: schema.Schema,
    rules: policy.Policy,
    cases: Sequence[Case],
    rows: Sequence[Prediction],
    predictions: Sequence[types.Prediction],
) -> None:
    locked = {case.pk: case for case in Case.objects.select_for_update().filter(pk__in=[case.pk for case in cases])}
    kept = set(_kept_in_review(locked))
    asked = asks.waiting(locked)
    reasons: dict[int, Iterable[policy.Reason]] = {}
    fresh = [locked[row.case_id] for row in rows if locked[row.case_id].current_prediction_id != row.pk]
    for row, found in zip(rows, predictions, strict=True):
        case = locked[row.case_id]
        case.current_prediction = row
        decision = policy.decide(parsed, rules, found, is_audit=case.is_audit, is_familiar=row.is_familiar)
        case.harm = decision.harm
        case.rank = policy.rank(decision.harm, case.received_at, doubling_hours=rules.doubling_hours)
        if case.state in OPEN_STATES:
            reasons[case.pk] = [_explained(reason, row, found) for reason in decision.reasons]
            destination = STATE_OF[decision.destination]
            if case.pk in asked:
                destination = CaseState.LABELLING  # A supervisor has seen it, and waits for what annotators say
            before, case.state = case.state, CaseState.REVIEW if case.pk in kept else destination
            if case.state == CaseState.LABELLING != before:
                salt = row.version.schema.audit_salt
                case.annotators_wanted = policy.annotators_wanted(rules, case.source, case.external_id, salt=salt)
        case.predicting_until, case.predicting_attempts = None, 0
    changed = [
        "current_prediction",
        "harm",
        "rank",
        "state",
        "annotators_wanted",
        "predicting_until",
        "predicting_attempts",
    ]
    Case.objects.bulk_update(locked.values(), changed, batch_size=200)
    flagged = flags.replace_by_model(reasons)
    outbox.want_in(case for case in locked.values() if case.state == CaseState.LABELLING)
    outbox.want_out(case for case in locked.values() if case.state != CaseState.LABELLING)
    events.tell(Event.PREDICTED, fresh)
    events.tell(Event.FLAGGED, (case for case in locked.values() if case.pk in flagged))


def _explained(reason: policy.Reason, row: Prediction, found: types.Prediction) -> policy.Reason:
    """Tell a head that was trained, but on too little to say how sure it is, from one that nobody trained."""
    if reason.kind == policy.FlagKind.UNTRAINED and row.version.is_trained and reason.head in found:
        return replace(reason, facts={"is_calibrated": False})
    return reason


def _kept_in_review(cases: dict[int, Case]) -> list[int]:
    """Return the cases that stay in review: flagged by people, or on somebody's screen."""
    return [
        case.pk
        for case in cases.values()
        if case.state == CaseState.REVIEW
        and (case.is_held or case.flags.filter(flags.OF_PEOPLE, resolved_at=None).exists())
    ]
