"""Who said what of a case, and when."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.utils.translation import gettext as _

from ml.schema import Head, Schema
from webapp.models import Annotation, Case, Prediction
from webapp.queries import wording
from webapp.queries.people import name_of


@dataclass(frozen=True, slots=True)
class Said:
    """One answer in words."""

    head: str
    words: str
    is_changed: bool = False  # From what the model had answered


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that was said of a case."""

    who: str
    how: str
    at: datetime
    said: tuple[Said, ...] = ()
    reason: str = ""
    note: str = ""
    problems: tuple[str, ...] = ()
    is_new: bool = False  # Since the reader opened the case


def lines(case: Case, schema: Schema, *, since: int | None = None) -> tuple[Line, ...]:
    """Return what was said and done, the newest first.

    Args:
        since: the newest annotation that the reader knew of; None where that makes no difference.
    """
    said = case.annotations.select_related("annotator").order_by("-id")
    found = [_line(one, schema, is_new=since is not None and one.pk > since) for one in said]
    acts = (
        case.reviews.filter(annotation=None)
        .exclude(undoes__annotation__isnull=False)
        .select_related("person", "to")
        .order_by("-id")
    )
    for act in acts:
        how = f"{act.get_act_display()}: {act.to}" if act.to else act.get_act_display()
        found.append(Line(name_of(act.person), how, act.at, note=act.note))
    for one in case.escalations.select_related("person", "acknowledgement__person").order_by("-id"):
        found.append(Line(name_of(one.person), _("raised the alarm"), one.at, note=one.note))
        if (answer := getattr(one, "acknowledgement", None)) is not None:
            found.append(Line(name_of(answer.person), _("acknowledged the alert"), answer.at))
    return tuple(sorted(found, key=lambda line: line.at, reverse=True))


def newest(case: Case) -> int:
    """Return the newest annotation of a case, 0 where there is none."""
    return case.annotations.order_by("-id").values_list("pk", flat=True).first() or 0


def versions(case: Case, schema: Schema) -> tuple[Line, ...]:
    """Return what other versions than the current one said, the newest first."""
    found = case.predictions.select_related("version").order_by("-id")
    if case.current_prediction_id is not None:
        found = found.exclude(pk=case.current_prediction_id)
    return tuple(Line(str(one.version), "", one.created_at, _predicted(one, schema)) for one in found)


def _line(one: Annotation, schema: Schema, *, is_new: bool) -> Line:
    how = "skipped" if one.is_skip else "taken back" if one.is_deletion else ""
    said = tuple(
        Said(head.name, _words(head, one.answers[head.key]), head.key in one.changed_heads)
        for head in schema.heads
        if head.key in one.answers
    )
    return Line(
        who=one.annotator.name,
        how=f"{one.get_origin_display()}, {how}" if how else one.get_origin_display(),
        at=one.created_at,
        said=said,
        reason=one.get_reason_display() if one.reason else "",
        note=one.note,
        problems=tuple(one.problems),
        is_new=is_new,
    )


def _predicted(one: Prediction, schema: Schema) -> tuple[Said, ...]:
    return tuple(
        Said(head.name, _words(head, one.heads[head.key]["answer"])) for head in schema.heads if head.key in one.heads
    )


def _words(head: Head, answer: object) -> str:
    return wording.answer(head, answer).removeprefix(f"{head.name}: ")
