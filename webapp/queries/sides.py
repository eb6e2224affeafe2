"""What several people answered to one case, side by side, so that a supervisor can settle it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _

from ml import disagreement, metrics, surrogates
from ml.schema import Head, Kind, Schema
from ml.types import Span
from webapp.models import Annotation, Case, Cover, Origin
from webapp.queries import wording
from webapp.queries.agreement import OWN

MARKS = {True: "yes", False: "no", None: "na"}  # As the form names them
WORDS = {True: "yes", False: "no", None: "n/a"}
NOT_SAID = "·"


@dataclass(frozen=True, slots=True)
class Person:
    """Who answered a head, and which inputs of the form hold that answer: a JSON list of "name=value"."""

    who: str
    inputs: str


@dataclass(frozen=True, slots=True)
class Row:
    """What each person said of a part of a head: of a label, a span or a criterion."""

    words: str
    cells: tuple[str, ...]
    match: str = ""


@dataclass(frozen=True, slots=True)
class HeadSides:
    """One head, person by person."""

    people: tuple[Person, ...]
    rows: tuple[Row, ...]
    is_same: bool
    distance: str  # In words; of spans only


@dataclass(frozen=True, slots=True)
class Sides:
    """All heads that two or more people answered; where it is hidden, they have no names and the model no answer."""

    heads: Mapping[str, HeadSides]
    spans: Mapping[str, Sequence[Span]]  # What anybody marked, by head
    is_hidden: bool


def of(case: Case, schema: Schema, *, cover: Cover | None = None, is_hidden: bool) -> Sides | None:
    """Return what people answered by themselves, or None where fewer than two did.

    Of a case that is audited and open, what a file says is left out, as it is from all of its page. With a cover,
    entities are shown where they are in the covered text.
    """
    rows = case.annotations.filter(OWN, superseded_by=None, is_skip=False, is_deletion=False)
    if case.is_audit and case.is_open:
        rows = rows.exclude(origin=Origin.IMPORT)
    last = {row.annotator_id: row for row in rows.select_related("annotator").order_by("id")}
    said = list(last.values())
    if len(said) < 2:
        return None
    names = {row.pk: row.annotator.name for row in said}
    if is_hidden:  # In an order that tells nothing, and another one for each case
        said.sort(key=lambda row: hashlib.sha256(f"{case.pk}:{row.annotator_id}".encode()).digest())
        names = {row.pk: _("Annotator %(number)d") % {"number": at} for at, row in enumerate(said, 1)}
    heads, spans = {}, {}
    over = cover.parsed if cover else surrogates.Cover()
    for head in schema.heads:
        answered = [row for row in said if head.key in row.answers]
        if len(answered) > 1:
            heads[head.key] = _sides(head, answered, names, case.stored_text.text, over)
            if head.kind == Kind.SPANS:
                spans[head.key] = [span for row in answered for span in row.answers[head.key]]
    return Sides(heads, spans, is_hidden)


def _sides(
    head: Head, said: Sequence[Annotation], names: Mapping[int, str], text: str, over: surrogates.Cover
) -> HeadSides:
    answers = [row.answers[head.key] for row in said]
    found = disagreement.widest(head, answers)
    shown = [over.spans_out(answer) for answer in answers] if head.kind == Kind.SPANS else answers
    inputs = [json.dumps(_inputs(head, answer)) for answer in shown]
    return HeadSides(
        people=tuple(Person(names[row.pk], its) for row, its in zip(said, inputs, strict=True)),
        rows=tuple(_rows(head, shown, over.applied(text))),
        is_same=found.exact == 0.0,
        distance=_distance(found) if head.kind == Kind.SPANS and found.exact else "",
    )


def _rows(head: Head, answers: Sequence[Any], text: str) -> list[Row]:
    match head.kind:
        case Kind.CHOICE:
            return [Row("", tuple(head.name_of(answer) for answer in answers))]
        case Kind.CHOICES:
            named = [key for key in head.keys if any(key in answer for answer in answers)]
            rows = [Row(head.name_of(key), tuple("✓" if key in one else NOT_SAID for one in answers)) for key in named]
            return rows or [Row(_("None of these"), ("✓",) * len(answers))]
        case Kind.RUBRIC:
            marks = [dict(metrics.items(answer)) for answer in answers]
            return [
                Row(criterion.name, cells)
                for group in head.groups
                for criterion in group.criteria
                for cells in [tuple(_mark(mark, f"{group.key}.{criterion.key}") for mark in marks)]
                if len(set(cells)) > 1  # There are many, and most are alike
            ]
        case Kind.SPANS:
            held = [metrics.items(answer) for answer in answers]
            return [_span(head, span, held, text) for span in sorted(frozenset().union(*held))]


def _span(head: Head, span: Any, held: Sequence[frozenset[Any]], text: str) -> Row:
    """Return who marked a span so, and who marked a part of it, or more, as the same."""
    start, end, label = span
    exact = [span in one for one in held]
    partial = [bool(disagreement.overlapping(frozenset([span]), one)) for one in held]
    cells = [
        head.name_of(label) if same else _("%(label)s, in part") % {"label": head.name_of(label)} if part else NOT_SAID
        for same, part in zip(exact, partial, strict=True)
    ]
    match = _("the same") if all(exact) else _("in part") if all(partial) else ""
    return Row(text[start:end], tuple(cells), match)


def _mark(marks: Mapping[str, bool | None], key: str) -> str:
    return WORDS[marks[key]] if key in marks else NOT_SAID


def _distance(found: disagreement.Distance) -> str:
    return _("%(overlaps)s of what they marked overlaps, %(same)s is the same") % {
        "overlaps": wording.percent(1 - found.apart),
        "same": wording.percent(1 - found.exact),
    }


def _inputs(head: Head, answer: Any) -> list[str]:
    match head.kind:
        case Kind.CHOICE:
            return [f"{head.key}={answer}"]
        case Kind.CHOICES:
            return [f"{head.key}={key}" for key in answer] or [f"{head.key}.none=1"]
        case Kind.RUBRIC:
            return [f"{head.key}.{key}={MARKS[mark]}" for key, mark in sorted(metrics.items(answer), key=str)]
        case Kind.SPANS:
            return [f"{head.key}={span['start']}:{span['end']}:{span['label']}" for span in answer]
