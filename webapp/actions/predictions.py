"""Storing what a version says of cases, and routing them by it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta

from django.db import transaction
from django.utils import timezone

from ml import policy, schema, types
from webapp.actions import flags, outbox
from webapp.models import Case, CaseState, HeadScore, ModelVersion, Prediction, Schema
from webapp.models.cases import OPEN_STATES
from webapp.queries import pending, schemas

LEASE = timedelta(minutes=2)  # Longer than any batch takes; a worker that dies holds its cases no longer than this
STATE_OF = {
    policy.Destination.ACCEPTED: CaseState.ACCEPTED,
    policy.Destination.LABELLING: CaseState.LABELLING,
    policy.Destination.REVIEW: CaseState.REVIEW,
}


@transaction.atomic
def claim(schema: Schema, most: int) -> list[Case]:
    """Take cases that wait to be predicted, so that no other worker takes the same ones for a while."""
    rows = pending.free_cases(schema).select_for_update(skip_locked=True, of=("self",))
    cases = list(rows.select_related("stored_text")[:most])
    until = timezone.now() + LEASE
    Case.objects.filter(pk__in=[case.pk for case in cases]).update(predicting_until=until)
    return cases


def give_back(cases: Sequence[Case]) -> None:
    """Let other workers take cases that this one could not predict."""
    Case.objects.filter(pk__in=[case.pk for case in cases]).update(predicting_until=None)


@transaction.atomic
def store(version: ModelVersion, cases: Sequence[Case], predictions: Sequence[types.Prediction]) -> None:
    """Store predictions, one for each case in the same order, and route the cases that nobody has decided.

    A second time for the same cases and version changes nothing but the route, which follows the policy in force.
    """
    parsed = version.schema_version.parsed
    rules = schemas.policy(version.schema).parsed
    rows = Prediction.objects.bulk_create(
        [
            Prediction(case=case, version=version, heads={key: head.as_json() for key, head in found.items()})
            for case, found in zip(cases, predictions, strict=True)
        ],
        update_conflicts=True,
        unique_fields=["case", "version"],
        update_fields=["heads"],
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
            harm = policy.head_harm(parsed.head(key), rules, head)
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
    reasons: dict[int, Iterable[policy.Reason]] = {}
    for row, found in zip(rows, predictions, strict=True):
        case = locked[row.case_id]
        case.current_prediction = row
        decision = policy.decide(parsed, rules, found, is_audit=case.is_audit)
        case.harm = decision.harm
        case.rank = policy.rank(decision.harm, case.received_at, doubling_hours=rules.doubling_hours)
        if case.state in OPEN_STATES:
            reasons[case.pk] = decision.reasons
            case.state = CaseState.REVIEW if case.pk in kept else STATE_OF[decision.destination]
        case.predicting_until = None
    changed = ["current_prediction", "harm", "rank", "state", "predicting_until"]
    Case.objects.bulk_update(locked.values(), changed, batch_size=200)
    flags.replace_by_model(reasons)
    outbox.want_in(case for case in locked.values() if case.state == CaseState.LABELLING)
    outbox.want_out(case for case in locked.values() if case.state != CaseState.LABELLING)


def _kept_in_review(cases: dict[int, Case]) -> list[int]:
    """Return the cases that stay in review: flagged by people, or on somebody's screen."""
    return [
        case.pk
        for case in cases.values()
        if case.state == CaseState.REVIEW
        and (case.is_held or case.flags.filter(flags.OF_PEOPLE, resolved_at=None).exists())
    ]
