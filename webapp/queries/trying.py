"""What a policy would have done to the cases that were predicted of late, by the functions that route them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db.models.fields.json import KeyTransform
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from ml import policy
from ml.disagreement import distance
from ml.policy import Destination, FlagKind
from ml.schema import Schema as ParsedSchema
from ml.types import Answer, HeadPrediction, Prediction
from webapp.models import Case, CaseState, Label, Schema
from webapp.queries import schemas
from webapp.queries.wording import KINDS

SPAN = timedelta(days=30)
MOST = 5000  # Cases, the newest: enough to tell a hundredth, and done within seconds
DESTINATIONS = {
    Destination.ACCEPTED: _("accepted without a person"),
    Destination.LABELLING: _("to annotators"),
    Destination.REVIEW: _("to supervisors"),
}


@dataclass(slots=True)
class Tally:
    """What one policy does to some cases."""

    went: Counter[Destination] = field(default_factory=Counter)
    reasons: Counter[tuple[FlagKind, str | None]] = field(default_factory=Counter)
    caught: int = 0  # Cases on which the model is known to be wrong
    missed: int = 0


@dataclass(frozen=True, slots=True)
class Line:
    """One number under the policy in force and under the other."""

    words: str
    before: int
    after: int

    @property
    def change(self) -> str:
        """By how much it grows: "+12"."""
        return f"{self.after - self.before:+d}" if self.after != self.before else "0"


@dataclass(frozen=True, slots=True)
class Tried:
    """What differs. Errors are told of the `labelled` cases alone."""

    cases: int
    is_sample: bool
    since: datetime
    went: tuple[Line, ...]
    reasons: tuple[Line, ...]
    labelled: int
    errors: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class _Predicted:
    """One case with what the model said of the heads that may route."""

    pk: int
    source: str
    external_id: str
    is_familiar: bool
    said: Prediction


def compare(schema: Schema, before: policy.Policy, after: policy.Policy) -> Tried:
    """Route the newest cases by both policies; the draw for the audit is the one that each would have made.

    An error is a case whose label differs from the model's answer on a head that routes under either policy. It is
    caught where the answers themselves send the case to a person: that it was drawn for the audit tells nothing.
    """
    parsed = schemas.newest_version(schema).parsed
    routing = sorted({key for rules in (before, after) for key in rules.thresholds if key in parsed.by_key})
    since = timezone.now() - SPAN
    cases = _newest(schema, sorted({*routing, *(head.key for head in parsed.heads if head.urgent)}), since)
    is_sample, cases = len(cases) > MOST, cases[:MOST]
    labels = _labels(cases, routing)
    wrong = {case.pk for case in cases if _is_wrong(parsed, case.said, labels.get(case.pk, {}))}
    old, new = (_tally(schema, parsed, rules, cases, wrong) for rules in (before, after))
    reasons = sorted(old.reasons.keys() | new.reasons.keys(), key=str)
    return Tried(
        cases=len(cases),
        is_sample=is_sample,
        since=since,
        went=tuple(Line(str(words), old.went[where], new.went[where]) for where, words in DESTINATIONS.items()),
        reasons=tuple(Line(_words(parsed, one), old.reasons[one], new.reasons[one]) for one in reasons),
        labelled=len(labels),
        errors=(Line(str(_("caught")), old.caught, new.caught), Line(str(_("let through")), old.missed, new.missed)),
    )


def _tally(
    schema: Schema, parsed: ParsedSchema, rules: policy.Policy, cases: list[_Predicted], wrong: set[int]
) -> Tally:
    found = Tally()
    for case in cases:
        is_audit = policy.is_audited(case.source, case.external_id, salt=schema.audit_salt, share=rules.audit_share)
        decision = policy.decide(parsed, rules, case.said, is_audit=is_audit, is_familiar=case.is_familiar)
        found.went[decision.destination] += 1
        reasons = {(reason.kind, reason.head) for reason in decision.reasons}
        found.reasons.update(reasons)
        if case.pk in wrong:
            is_caught = any(kind != FlagKind.AUDIT for kind, _ in reasons)
            found.caught += is_caught
            found.missed += not is_caught
    return found


def _newest(schema: Schema, heads: list[str], since: datetime) -> list[_Predicted]:
    """Return one case more than are looked at, if there is one. Of each prediction only some heads are read."""
    rows = (
        Case.objects.filter(schema=schema, current_prediction__created_at__gte=since)
        .exclude(state__in=[CaseState.WITHDRAWN, CaseState.ERASED])
        .order_by("-current_prediction_id")
        .values_list(
            "pk",
            "source",
            "external_id",
            "current_prediction__is_familiar",
            *(KeyTransform(head, "current_prediction__heads") for head in heads),
        )
    )
    return [
        _Predicted(pk, source, external_id, is_familiar, _prediction(heads, said))
        for pk, source, external_id, is_familiar, *said in rows[: MOST + 1]
    ]


def _prediction(heads: list[str], said: list[Any]) -> Prediction:
    return {head: HeadPrediction.from_json(one) for head, one in zip(heads, said, strict=True) if one is not None}


def _labels(cases: list[_Predicted], heads: list[str]) -> dict[int, dict[str, Answer]]:
    found: dict[int, dict[str, Answer]] = {}
    rows = Label.objects.filter(case__in=[case.pk for case in cases], head__in=heads)
    for pk, head, answer in rows.values_list("case_id", "head", "answer"):
        found.setdefault(pk, {})[head] = answer
    return found


def _is_wrong(parsed: ParsedSchema, said: Prediction, labels: dict[str, Answer]) -> bool:
    return any(
        distance(parsed.by_key[head], answer, said[head].answer).exact > 0
        for head, answer in labels.items()
        if head in said
    )


def _words(parsed: ParsedSchema, reason: tuple[FlagKind, str | None]) -> str:
    kind, head = reason
    words = str(KINDS[kind])
    return f"{words}: {parsed.by_key[head].name}" if head else words
