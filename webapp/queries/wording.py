"""Saying in a sentence why a case is shown."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from django.utils import timezone
from django.utils.timesince import timesince

from ml.policy import FlagKind
from ml.schema import Schema
from webapp.models import Flag

# Tells nothing of what the model answered, and so may be shown with a case that is audited blind
BLIND_KINDS = (FlagKind.AUDIT, FlagKind.DISAGREEMENT, FlagKind.ESCALATION, FlagKind.LOW_RATING, FlagKind.INVALID)
ORDER = (
    FlagKind.ESCALATION,
    FlagKind.URGENT,
    FlagKind.DISAGREEMENT,
    FlagKind.INVALID,
    FlagKind.LOW_RATING,
    FlagKind.LOW_CONFIDENCE,
    FlagKind.UNTRAINED,
    FlagKind.AUDIT,
)


def reason(schema: Schema, flags: Iterable[Flag], *, blind: bool) -> str:
    """Return one sentence for the open flags of a case, the gravest first."""
    shown = told(flags, blind=blind)
    heads = ["", *schema.by_key]
    shown.sort(
        key=lambda flag: (ORDER.index(FlagKind(flag.kind)), heads.index(flag.head) if flag.head in heads else -1)
    )
    parts = [_part(schema, flag) for flag in shown if flag.kind != FlagKind.UNTRAINED]
    if any(flag.kind == FlagKind.UNTRAINED for flag in shown):
        parts.append("no model trained yet")
    return "; ".join(parts)


def told(flags: Iterable[Flag], *, blind: bool) -> list[Flag]:
    """Return the flags that may be shown: all of them, or those that tell nothing of what the model answered."""
    return [flag for flag in flags if not blind or flag.kind in BLIND_KINDS or "by" in flag.facts]


def age(moment: datetime) -> str:
    """Return how long ago something was, in its largest unit: "9 hours"."""
    return timesince(moment, timezone.now(), depth=1)


def percent(probability: float) -> str:
    """Return a probability as people read it: "62%"."""
    return f"{probability * 100:.0f}%"


def _part(schema: Schema, flag: Flag) -> str:
    head = schema.by_key.get(flag.head)
    name = head.name if head else flag.head
    facts = flag.facts
    match FlagKind(flag.kind):
        case FlagKind.URGENT if "by" in facts:
            label = facts["label"]
            return f"an annotator answered {name} {head.name_of(label) if head else label}"
        case FlagKind.URGENT:
            return f"urgent {percent(facts['probability'])}"
        case FlagKind.LOW_CONFIDENCE if head is not None:
            likely = facts.get("likely", [])
            if len(likely) == 2:
                (first, p), (second, q) = likely
                return f"{p * 100:.0f}/{q * 100:.0f} between {head.name_of(first)} and {head.name_of(second)}"
            return f"{name} unsure ({percent(facts['confidence'])})"
        case FlagKind.DISAGREEMENT:
            return f"annotators disagree on {name.lower()}"
        case FlagKind.INVALID:
            fault = facts["problem"].removeprefix(f"{flag.head} ")
            return f"fault in an annotation: {f'{name.lower()} {fault}'.strip()}"
        case FlagKind.AUDIT:
            return "audit: answered without the model"
        case _:
            return flag.get_kind_display()
