"""Routing: who sees a case next, why, and in which order. Pure functions on predictions.

Expected harm is the number that orders every queue. For one head it is the sum, over the labels that may be true, of
their calibrated probability times the cost of having answered what the model answers; a case's harm is the sum over the
heads that route. It is the conditional risk of Bayesian decision theory (Duda, Hart and Stork 2001, section 2.2). One
rule holds throughout: a higher score means ask sooner.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from ml.schema import Head, Kind, Schema
from ml.types import HeadPrediction, Prediction

SMALLEST_HARM = 1e-6  # Keeps the logarithm of a certain answer finite
RANK_BEGINS = datetime(2026, 1, 1, tzinfo=UTC)  # Any fixed moment; a near one keeps ranks small and exact


class Destination(StrEnum):
    """Where a predicted case goes."""

    ACCEPTED = "accepted"
    LABELLING = "labelling"
    REVIEW = "review"


class FlagKind(StrEnum):
    """Why a case needs a person."""

    LOW_CONFIDENCE = "low_confidence"
    UNTRAINED = "untrained"
    UNFAMILIAR = "unfamiliar"
    URGENT = "urgent"
    DISAGREEMENT = "disagreement"
    AUDIT = "audit"
    ESCALATION = "escalation"
    SECOND_OPINION = "second_opinion"
    LOW_RATING = "low_rating"
    INVALID = "invalid"


class Side(StrEnum):
    """Which part of the data a case belongs to, for ever."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


@dataclass(frozen=True, slots=True)
class Policy:
    """What an admin may set about routing.

    `thresholds` names the heads that route, with the confidence from which an answer is accepted without a person.
    `mistake_cost` is the cost of a wrong answer of a head, 1 where it is not given; `missed_urgent_cost` stands in its
    place where the urgent end is true and something else was answered. Harm doubles every `doubling_hours` of waiting.
    `overlap_share` of the cases that go to annotators goes to `overlap_annotators` of them, each by themselves. Where
    they are farther apart on a head than `disagreement_limits` says (`ml.disagreement`), the case is reviewed; heads
    that route have the limit 0 unless it is given, and others have none. Once `train_after` cases have labels that no
    training has seen, one is begun; 0 never begins one. `gate` says what a version must show before it
    is put in use (`ml.gate.Rules`).

    Entities with one of the `hidden_labels`, and phone numbers beside them, go to annotators as surrogates; where
    `hide_from_reviewers`, the desk shows surrogates too, until somebody reveals a case for `reveal_minutes`. A number
    without a country code is taken for one of the `phone_region`. Without labels nothing is hidden.
    """

    thresholds: Mapping[str, float]
    urgent_threshold: float = 0.15
    audit_share: float = 0.05
    mistake_cost: Mapping[str, float] = field(default_factory=dict)
    missed_urgent_cost: float = 10.0
    doubling_hours: float = 24.0
    overlap_share: float = 0.0
    overlap_annotators: int = 2
    disagreement_limits: Mapping[str, float] = field(default_factory=dict)
    train_after: int = 0
    gate: Mapping[str, Any] = field(default_factory=dict)
    hidden_labels: Sequence[str] = field(default_factory=list)
    hide_from_reviewers: bool = False
    phone_region: str = "KE"
    reveal_minutes: float = 30.0

    def as_json(self) -> dict[str, Any]:
        """Return the form that tables hold."""
        return asdict(self)

    @classmethod
    def default(cls, schema: Schema) -> Policy:
        """Return the policy that a schema begins with: the `choice` heads route at 0.70, else the `choices` heads."""
        heads = schema.of_kind(Kind.CHOICE) or schema.of_kind(Kind.CHOICES)
        return cls(thresholds={head.key: 0.70 for head in heads})


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason to ask a person: the head it is about, and the numbers that a sentence is made of."""

    kind: FlagKind
    head: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Decision:
    """Where a case goes, why, and what a mistake on it would cost on average."""

    destination: Destination
    reasons: tuple[Reason, ...]
    harm: float


def decide(
    schema: Schema, policy: Policy, prediction: Prediction, *, is_audit: bool, is_familiar: bool = True
) -> Decision:
    """Route one predicted case.

    Urgency goes before everything: a case on which the urgent end is likely enough is reviewed, whatever the most
    probable answer is. A head without a confidence to route by was not trained and always asks a person, and so does a
    text that is unlike what was learnt from, whose harm is that of one that nobody was trained for. Heads that the
    policy does not name, rubrics and spans among them to begin with, neither send a case to a person nor keep it from
    one.
    """
    reasons = _urgent(schema, policy, prediction)
    to_review = any(reason.kind == FlagKind.URGENT for reason in reasons)
    if is_audit:
        reasons.append(Reason(FlagKind.AUDIT))
    if not is_familiar:
        reasons.append(Reason(FlagKind.UNFAMILIAR))
    for key, threshold in policy.thresholds.items():
        if key not in schema.by_key:
            continue  # The policy is older than the schema, which dropped the head
        answer = prediction.get(key)
        confidence = routing_confidence(schema.by_key[key], answer)
        if answer is None or confidence is None:
            reasons.append(Reason(FlagKind.UNTRAINED, key))
        elif confidence < threshold:
            facts = {"confidence": confidence, "threshold": threshold, "likely": _likeliest(answer)}
            reasons.append(Reason(FlagKind.LOW_CONFIDENCE, key, facts))
    with_people = Destination.REVIEW if to_review else Destination.LABELLING
    destination = with_people if reasons else Destination.ACCEPTED
    known = prediction if is_familiar else {}
    return Decision(destination, tuple(reasons), expected_harm(schema, policy, known))


def expected_harm(schema: Schema, policy: Policy, prediction: Prediction) -> float:
    """Sum the expected cost of a mistake over the heads that route; 0 means certain, higher means ask sooner."""
    heads = [schema.by_key[key] for key in policy.thresholds if key in schema.by_key]
    return sum(head_harm(head, policy, prediction.get(head.key)) for head in heads)


def head_harm(head: Head, policy: Policy, answer: HeadPrediction | None) -> float:
    """Return the expected cost of a mistake on one head, at least 0.

    A head that was not trained is taken to be wrong: any answer of it may be, so it counts the cost of a mistake, and
    for an urgent end the even chance of having missed it.
    """
    return sum(harm_parts(head, policy, answer))


def harm_parts(head: Head, policy: Policy, answer: HeadPrediction | None) -> tuple[float, float]:
    """Return the two parts of `head_harm`, each at least 0: of missing the urgent end, and of any other mistake."""
    cost = policy.mistake_cost.get(head.key, 1.0)
    confidence = routing_confidence(head, answer)
    if answer is None or confidence is None:
        return (policy.missed_urgent_cost / len(head.labels) if head.urgent else 0.0), cost
    if head.kind == Kind.CHOICE and answer.probabilities:
        wrong = {key: value for key, value in answer.probabilities.items() if key != answer.answer}
        missed = wrong.pop(head.urgent, 0.0) if head.urgent else 0.0
        return missed * policy.missed_urgent_cost, sum(wrong.values()) * cost
    return 0.0, (1.0 - confidence) * cost


def routing_confidence(head: Head, answer: HeadPrediction | None) -> float | None:
    """Return the confidence that an answer is routed by, or None where nobody trained the head.

    Spans have a confidence each and none together. Their product, as if each were right or wrong by itself, is the
    probability that all that were found are right; 1 where none was found. It says nothing of spans that were missed:
    audits alone measure those, so a policy should not accept cases by their spans only.
    """
    if answer is None or head.kind != Kind.SPANS or not isinstance(answer.answer, list):
        return answer.confidence if answer is not None else None
    found = [None if isinstance(span, str) else span.get("confidence") for span in answer.answer]
    known = [confidence for confidence in found if confidence is not None]
    return math.prod(known) if len(known) == len(found) else None


def rank(harm: float, received_at: datetime, *, doubling_hours: float) -> float:
    """Return the place in the queue, a number that never has to be computed again: higher means ask sooner.

    Harm that doubles every `doubling_hours` orders cases at any moment as the base-2 logarithm of harm minus the time
    of arrival, in doubling times, does: the present moment cancels out. So an index can hold the order.
    """
    hours_since = (received_at - RANK_BEGINS).total_seconds() / 3600
    return math.log2(max(harm, SMALLEST_HARM)) - hours_since / doubling_hours


def is_audited(source: str, external_id: str, *, salt: str, share: float) -> bool:
    """Draw a share of all cases by a salted hash, so that nobody can tell or steer which."""
    return _fraction(salt, source, external_id) < share


def annotators_wanted(policy: Policy, source: str, external_id: str, *, salt: str) -> int:
    """Return how many annotators answer a case, by a draw that tells nothing of the one for the audit."""
    return policy.overlap_annotators if _fraction(salt, "overlap", source, external_id) < policy.overlap_share else 1


def side_of(source: str, external_id: str, *, is_audit: bool, has_labels: bool) -> Side:
    """Give a case its side on arrival.

    `external_id` is that of the conversation where the case belongs to one: what one customer writes is alike, and
    would tell the model the answers of the test set if it stood on both sides.

    Audited cases are the test set. A fixed fifth of the cases that came with labels is held out beside them, for the
    time until enough audits are labelled. A tenth of the others is for validation.
    """
    if is_audit:
        return Side.TEST
    fraction = _fraction("side", source, external_id)
    if has_labels and fraction < 0.2:
        return Side.TEST
    return Side.VALIDATION if fraction >= 0.9 else Side.TRAIN


def _urgent(schema: Schema, policy: Policy, prediction: Prediction) -> list[Reason]:
    reasons = []
    for head in schema.heads:
        answer = prediction.get(head.key)
        if head.urgent is None or answer is None or answer.probabilities is None:
            continue
        if answer.confidence is None:  # Nobody knows how likely the urgent end is
            if head.key not in policy.thresholds:
                reasons.append(Reason(FlagKind.UNTRAINED, head.key))
            continue
        probability = answer.probabilities.get(head.urgent, 0.0)
        if probability >= policy.urgent_threshold:
            facts = {"probability": probability, "threshold": policy.urgent_threshold, "label": head.urgent}
            reasons.append(Reason(FlagKind.URGENT, head.key, facts))
    return reasons


def _likeliest(answer: HeadPrediction) -> list[tuple[str, float]]:
    ranked = sorted((answer.probabilities or {}).items(), key=lambda item: -item[1])
    return ranked[:2]


def _fraction(*parts: str) -> float:
    """Map texts to a number between 0 and 1, the same for ever and on every machine."""
    digest = hashlib.sha256("\x1f".join(parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
