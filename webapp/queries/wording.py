"""Saying in words why a case is shown, and what numbers mean."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ml import policy
from ml.policy import FlagKind
from ml.schema import Head, Kind, Schema
from ml.types import HeadPrediction
from webapp.models import Case, Flag
from webapp.queries.people import name_of

# Tells nothing of what the model answered, and so may be shown with a case that is audited blind
BLIND_KINDS = (
    FlagKind.AUDIT,
    FlagKind.DISAGREEMENT,
    FlagKind.ESCALATION,
    FlagKind.SECOND_OPINION,
    FlagKind.LOW_RATING,
    FlagKind.INVALID,
)
TOLD_BLIND = Q(kind__in=BLIND_KINDS) | Q(facts__has_key="by")  # Of these kinds, or by a person
ORDER = (
    FlagKind.ESCALATION,
    FlagKind.URGENT,
    FlagKind.SECOND_OPINION,
    FlagKind.DISAGREEMENT,
    FlagKind.INVALID,
    FlagKind.LOW_RATING,
    FlagKind.UNFAMILIAR,
    FlagKind.LOW_CONFIDENCE,
    FlagKind.UNTRAINED,
    FlagKind.AUDIT,
)

KINDS = {
    FlagKind.LOW_CONFIDENCE: gettext_lazy("low confidence"),
    FlagKind.UNTRAINED: gettext_lazy("untrained"),
    FlagKind.UNFAMILIAR: gettext_lazy("unlike the cases that the model learnt from"),
    FlagKind.URGENT: gettext_lazy("urgent"),
    FlagKind.DISAGREEMENT: gettext_lazy("disagreement"),
    FlagKind.AUDIT: gettext_lazy("audit"),
    FlagKind.ESCALATION: gettext_lazy("escalation"),
    FlagKind.SECOND_OPINION: gettext_lazy("second opinion"),
    FlagKind.LOW_RATING: gettext_lazy("low rating"),
    FlagKind.INVALID: gettext_lazy("invalid"),
}

MINUTE, HOUR, DAY = 60, 3600, 86400  # Seconds
LEAST_SHOWN = 0.05  # Of expected harm: less is 0.0 in figures

# What a training does in each phase of `ml.progress.Progress`, and what it counts
PHASES = {
    "snapshot": ("freezing the labels to learn from", ""),
    "encode": ("reading the texts", "texts"),
    "train": ("training the heads", "rounds"),
    "lower layers": ("reading the texts with the layers that stay as they are", "texts"),
    "contrast": ("bringing texts of the same label closer together", "steps"),
    "teachers": ("asking the models that it learns from", "texts"),
    "match": ("having a smaller encoder read as the larger one does", "steps"),
    "tune": ("tuning the encoder", "steps"),
    "export": ("saving the model, and comparing what is served with what was trained", ""),
    "predict": ("measuring on cases that it did not learn from", "texts"),
    "definitions": ("comparing with the label definitions", "texts"),
}
NOT_CALIBRATED = gettext_lazy("not calibrated: too few labels to check it")
MAY_END_EARLY = ("train", "tune")  # Once cases that are held out show that it gets no better

SPAN_FAULTS = {  # As `ml.spans.SpanFaults` names them
    "empty": "without a word",
    "duplicate": "marked twice",
    "overlapping": "overlapping another",
    "misaligned": "ending inside a word",
    "unknown": "of a label that the schema does not have",
}


def reason(schema: Schema, flags: Iterable[Flag], *, blind: bool) -> str:
    """Return one sentence for the open flags of a case, the gravest first."""
    shown = told(flags, blind=blind)
    heads = ["", *schema.by_key]
    shown.sort(
        key=lambda flag: (ORDER.index(FlagKind(flag.kind)), heads.index(flag.head) if flag.head in heads else -1)
    )
    parts = [_part(schema, flag) for flag in shown if flag.kind != FlagKind.UNTRAINED]
    without = [flag for flag in shown if flag.kind == FlagKind.UNTRAINED]
    failed = [flag.facts["attempts"] for flag in without if "attempts" in flag.facts]
    if failed:
        parts.append(_("no model could answer it: predicting it failed %(n)d times") % {"n": failed[0]})
    uncalibrated = [flag for flag in without if "is_calibrated" in flag.facts]
    parts += [f"{_name(schema, flag)} {NOT_CALIBRATED}" for flag in uncalibrated]
    if len(failed) + len(uncalibrated) < len(without):
        parts.append(_("no model trained yet"))
    return "; ".join(parts)


def told(flags: Iterable[Flag], *, blind: bool) -> list[Flag]:
    """Return the flags that may be shown: all of them, or those that tell nothing of what the model answered."""
    return [flag for flag in flags if not blind or flag.kind in BLIND_KINDS or "by" in flag.facts]


def harm(schema: Schema, rules: policy.Policy, case: Case) -> str:
    """Return what the expected harm of a case consists of, the gravest first: "missed urgency 0.8, wrong priority 0.3".

    Nothing of a case that is answered blind, of one that is certain, and of one whose harm an earlier policy weighed.
    """
    if case.current_prediction is None or (case.is_audit and case.is_open):
        return ""
    said = case.current_prediction.heads if case.current_prediction.is_familiar else {}
    answers = {key: HeadPrediction.from_json(found) for key, found in said.items()}
    parts: list[tuple[float, str]] = []
    for head in (head for head in schema.heads if head.key in rules.thresholds):
        missed, wrong = policy.harm_parts(head, rules, answers.get(head.key))
        name = {"name": head.name.lower()}
        parts += [(missed, _("missed urgency of %(name)s") % name), (wrong, _("wrong %(name)s") % name)]
    if abs(sum(value for value, _words in parts) - case.harm) > LEAST_SHOWN:
        return ""
    parts.sort(key=lambda part: -part[0])
    return ", ".join(f"{words} {value:.1f}" for value, words in parts if value >= LEAST_SHOWN)


def traffic(found: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return what waits to be sent, was tried in vain and was given up: each with the sign and style of its words."""
    parts = [("", "", _("%(n)s waiting") % {"n": found["waiting"]})]
    if found["failing"]:
        parts.append(("◆", "attention", _("%(n)s were tried and wait to be tried again") % {"n": found["failing"]}))
    if found.get("given_up"):
        parts.append(("▲", "urgent", _("%(n)s were given up") % {"n": found["given_up"]}))
    return parts


def age(moment: datetime) -> str:
    """Return how old a case is, as the end of its sentence: "9 h old"."""
    seconds = (timezone.now() - moment).total_seconds()
    if seconds < HOUR:
        return _("%(count)d min old") % {"count": seconds // MINUTE}
    if seconds < 2 * DAY:
        return _("%(count)d h old") % {"count": seconds // HOUR}
    return _("%(count)d days old") % {"count": seconds // DAY}


def held(case: Case, reader: AbstractBaseUser | AnonymousUser) -> str:
    """Return who has a case on their screen, and for how long still; the empty text where nobody has."""
    if case.held_by is None or not case.is_held:
        return ""
    if case.held_by_id == reader.pk:
        return _("with you, %(count)d min left") % {"count": case.minutes_left}
    return _("with %(name)s, %(count)d min left") % {"name": name_of(case.held_by), "count": case.minutes_left}


def percent(probability: float) -> str:
    """Return a probability as people read it: "62%"."""
    return f"{probability * 100:.0f}%"


def duration(seconds: float) -> str:
    """Return a time to wait as people say it: "about 3 minutes"."""
    if seconds < MINUTE:
        return _("less than a minute")
    if seconds < HOUR:
        count = round(seconds / MINUTE)
        return _("about 1 minute") if count == 1 else _("about %(count)d minutes") % {"count": count}
    count = round(seconds / HOUR)
    return _("about 1 hour") if count == 1 else _("about %(count)d hours") % {"count": count}


def progress(found: Mapping[str, Any]) -> str:
    """Return how far a run is: "reading the texts, 120 of 580 texts; about 2 minutes left of this step"."""
    doing, unit = PHASES.get(found["phase"], (found["phase"], "steps"))
    counted = f", {found['done']} of {found['total']} {unit}" if unit else ""
    if (left := found.get("seconds_left")) is None:
        return f"{doing}{counted}"
    most = "at most " if found["phase"] in MAY_END_EARLY and left >= MINUTE else ""
    return f"{doing}{counted}; {most}{duration(left)} left of this step"


def answer(head: Head, found: Any) -> str:
    """Return one answer of a head in a few words."""
    match head.kind:
        case Kind.CHOICE:
            return head.name_of(found)
        case Kind.CHOICES:
            return ", ".join(head.name_of(key) for key in found) or f"{head.name}: none"
        case Kind.SPANS:
            return f"{head.name}: {len(found)}"
        case Kind.RUBRIC:
            marks = [mark for group in found.values() for mark in group.values() if mark is not None]
            return f"{head.name}: {sum(marks)} of {len(marks)} yes"


def _name(schema: Schema, flag: Flag) -> str:
    head = schema.by_key.get(flag.head)
    return head.name if head else flag.head


def _part(schema: Schema, flag: Flag) -> str:
    head = schema.by_key.get(flag.head)
    name = _name(schema, flag)
    facts = flag.facts
    match FlagKind(flag.kind):
        case FlagKind.URGENT if "by" in facts:
            label = facts["label"]
            label = head.name_of(label) if head else label
            return _("an annotator answered %(name)s %(label)s") % {"name": name, "label": label}
        case FlagKind.URGENT:
            return _("urgent %(percent)s") % {"percent": percent(facts["probability"])}
        case FlagKind.LOW_CONFIDENCE if head is not None:
            likely = facts.get("likely", [])
            if len(likely) == 2 and head.kind == Kind.CHOICE:  # Labels of other kinds do not exclude each other
                (first, p), (second, q) = likely
                shares = {"shares": f"{p * 100:.0f}/{q * 100:.0f}"}
                names = {"first": head.name_of(first), "second": head.name_of(second)}
                return _("%(shares)s between %(first)s and %(second)s") % (shares | names)
            return _("%(name)s unsure (%(percent)s)") % {"name": name, "percent": percent(facts["confidence"])}
        case FlagKind.DISAGREEMENT if facts.get("exact", 0) > facts.get("apart", 0):
            shares = {"shared": percent(1 - facts["apart"]), "alike": percent(1 - facts["exact"])}
            words = _("annotators disagree on %(name)s: %(shared)s of what they marked overlaps, %(alike)s is the same")
            return words % ({"name": name.lower()} | shares)
        case FlagKind.DISAGREEMENT:
            return _("annotators disagree on %(name)s") % {"name": name.lower()}
        case FlagKind.INVALID:
            fault = facts["problem"].removeprefix(f"{flag.head} ")
            return _("fault in an annotation: %(fault)s") % {"fault": f"{name.lower()} {fault}".strip()}
        case FlagKind.SECOND_OPINION if facts.get("by") == "annotator":
            return _("%(name)s was asked, and skipped it") % {"name": facts["name"]}
        case FlagKind.SECOND_OPINION if facts.get("people"):
            *others, last = facts["people"].values()
            if not others:
                return _("%(name)s asks for a second opinion") % {"name": last}
            names = {"names": ", ".join(others), "last": last}
            return _("%(names)s and %(last)s ask for another opinion") % names
        case FlagKind.LOW_RATING if "rating" in facts:
            told = {"task": facts["task"], "rating": facts["rating"]}
            return _("an agent rated its %(task)s %(rating)s of 5") % told
        case FlagKind.AUDIT:
            return _("audit: answered without the model")
        case _:
            return str(KINDS[FlagKind(flag.kind)])
