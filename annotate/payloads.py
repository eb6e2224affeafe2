"""Translation between our words and Label Studio's: a case to a task, labels to results, and back. Pure functions.

`result_of` and `labels_of` are each other's inverse. What a result cannot mean under the schema is reported as a
problem and its head left out, so that no half-understood answer is learnt from and nothing is lost in silence. A head
that nobody answered is absent: that none of its labels fits is an answer that a person gives, by ticking so.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeAlias, TypeVar

from annotate import config
from annotate.config import Control
from annotate.errors import PayloadError
from ml.answers import Problem
from ml.schema import Head, Kind, Schema
from ml.types import Answer, Labels, Prediction, Rubric, Span

Region: TypeAlias = dict[str, Any]  # One entry of a result, as Label Studio writes it
Json: TypeAlias = Mapping[str, Any]
T = TypeVar("T")

UNREADABLE = (KeyError, TypeError, ValueError, AttributeError)
NEVER = datetime(1970, 1, 1, tzinfo=UTC)  # Stands for a moment that cannot be read


@dataclass(frozen=True, slots=True)
class AnnotationReceived:
    """One annotation as it stands in Label Studio.

    `labels` is empty for a skipped case (`was_cancelled`): skipping sends whatever was filled in before, which nobody
    confirmed. `origins` counts, per head, how many regions stayed as predicted ("prediction"), were mended
    ("prediction-changed") or were made by hand ("manual"). `problems` say what could not be read, in words that are
    never those of the case. `result` is what was received, without copies of the text.
    """

    project: int
    id: int
    task: int
    case_id: str
    completed_by: int | None
    created_at: datetime
    updated_at: datetime
    was_cancelled: bool
    lead_time: float | None  # Seconds
    labels: Labels
    problems: tuple[Problem, ...]
    comment: str
    origins: Mapping[str, Mapping[str, int]]
    result: tuple[Region, ...]


def task(
    schema: Schema,
    case_id: str,
    text: str,
    prediction: Prediction | None,
    version: str,
    *,
    rank: float,
    cover: int | None = None,
) -> dict[str, Any]:
    """Return the task that asks people about a case.

    Args:
        schema: the heads and their labels.
        case_id: what finds the task again; unique in a project.
        text: what annotators read.
        prediction: what is filled in beforehand; None asks blind, as an audit does.
        version: the model version that predicted; for blind cases the one that the others carry, since Label Studio
            puts only cases with a prediction of the project's version in order.
        rank: where the case stands in the queue, as `ml.policy` computes it: any number, higher means ask sooner.
        cover: by which row the way back is known, where the text and the prediction hold surrogates.

    Raises:
        PayloadError: the prediction holds a label that the schema does not have.
    """
    data: dict[str, Any] = {config.CASE_ID: case_id, config.TEXT: text}
    if cover is not None:
        data[config.COVER] = cover
    return {"data": data, "predictions": [predictions_entry(schema, prediction, version, rank=rank)]}


def predictions_entry(schema: Schema, prediction: Prediction | None, version: str, *, rank: float) -> dict[str, Any]:
    """Return one prediction in Label Studio's form; it is empty, and only holds the place in the queue, for None.

    Where the model finds that no label of a question fits, that is ticked: the question is required. Spans are not, and
    the tick that there are none would have to be taken away before one is marked.

    Raises:
        PayloadError: the prediction holds a label that the schema does not have.
    """
    said = {key: head.answer for key, head in (prediction or {}).items()}
    may_be_none = {head.key for head in schema.of_kind(Kind.CHOICES)}
    labels = {key: answer for key, answer in said.items() if answer or (answer == [] and key in may_be_none)}
    return {"model_version": version, "score": score_of(rank), "result": result_of(schema, labels)}


def score_of(rank: float) -> float:
    """Return the score between 0 and 1 that orders as `rank` does, reversed: Label Studio serves the lowest first.

    The arctangent keeps apart what a steeper curve would round to the same number, for ranks far from 0 too.
    """
    return 0.5 - math.atan(rank) / math.pi


def result_of(schema: Schema, labels: Mapping[str, Answer]) -> list[Region]:
    """Return labels as the regions of a result, in the order of the screen.

    Raises:
        PayloadError: a head or a label is not in the schema.
    """
    for key in labels:
        if key not in schema.by_key:
            raise PayloadError(f"{key!r} is not a head of the schema {schema.name}")
    controls = config.controls(schema)
    regions: list[Region] = []
    for head in schema.heads:
        if head.key in labels:
            own = [control for control in controls if control.head.key == head.key]
            regions += _regions(head, own, labels[head.key])
    return regions


def labels_of(
    schema: Schema, result: Sequence[Any], text: str, *, said_none: Collection[str] = ()
) -> tuple[Labels, list[Problem]]:
    """Return the labels of a result, and what in it cannot be understood.

    Args:
        schema: the heads and their labels.
        result: the regions as Label Studio sent them.
        text: the text of the task, which bounds its spans.
        said_none: heads whose answer was empty beforehand: labels that people tick beside "none of these" stand.
    """
    by_name = {control.name: control for control in config.controls(schema)}
    found: dict[str, list[_Mark]] = {}
    faults: dict[str, list[str]] = {}
    for number, region in enumerate(result):
        name = region.get("from_name") if isinstance(region, Mapping) else None
        control = by_name.get(name) if isinstance(name, str) else None
        if control is not None:
            try:
                found.setdefault(control.head.key, []).extend(_marks(control, region, text))
            except _Fault as fault:
                faults.setdefault(control.head.key, []).append(str(fault))
        elif name != config.COMMENT_NAME:
            faults.setdefault("", []).append(f"region {number} belongs to no control of the schema {schema.name}")
    for key in {head.key for head in schema.of_kind(Kind.CHOICES)} & found.keys() & set(said_none):
        found[key] = [mark for mark in found[key] if mark.key is not None] or found[key]
    labels = _assemble(schema, found, faults)
    return labels, [Problem(key, f"{key} {fault}".strip()) for key, said in faults.items() for fault in said]


def annotation_of(
    schema: Schema, found_task: Json, annotation: Json, *, said_none: Collection[str] = ()
) -> AnnotationReceived:
    """Return an annotation out of the JSON of its task and its own. What of it cannot be read is among its problems.

    Args:
        said_none: as `labels_of` takes it.

    Raises:
        PayloadError: it does not tell which annotation it is, and of what.
    """
    problems: list[Problem] = []

    def read(what: str, of: Callable[[], T]) -> T | None:
        try:
            return of()
        except UNREADABLE:  # Their messages would quote what was received
            problems.append(Problem("", f"the {what} cannot be read"))
            return None

    text = read("text of the task", lambda: str(found_task["data"][config.TEXT])) or ""
    result = read("result", lambda: list(annotation["result"] or [])) or []
    labels, faults = read("result", lambda: labels_of(schema, result, text, said_none=said_none)) or ({}, [])
    origins = read("result", lambda: _origins(schema, result)) or {}
    comment = read("comment", lambda: _comment(result)) or ""
    was_cancelled = read("mark of a skip", lambda: bool(annotation["was_cancelled"])) or False
    created_at = read("moment it was made", lambda: _moment(annotation["created_at"])) or NEVER
    updated_at = read("moment it was changed", lambda: _moment(annotation["updated_at"])) or NEVER
    lead_time = read("time it took", lambda: _seconds(annotation.get("lead_time")))
    try:
        return AnnotationReceived(
            project=int(annotation.get("project") or found_task["project"]),
            id=int(annotation["id"]),
            task=int(found_task["id"]),
            case_id=str(found_task["data"][config.CASE_ID]),
            completed_by=_user_id(annotation.get("completed_by")),
            created_at=created_at,
            updated_at=updated_at,
            was_cancelled=was_cancelled,
            lead_time=lead_time,
            labels={} if was_cancelled else labels,
            problems=() if was_cancelled else (*problems, *faults),
            comment=comment,
            origins=origins,
            result=tuple(_without_text(region) for region in result if isinstance(region, Mapping)),
        )
    except UNREADABLE as exc:
        # Without the cause: its message would quote what was received.
        raise PayloadError(f"annotation {annotation.get('id')!r} cannot be read ({type(exc).__name__})") from None


class _Fault(Exception):
    """One region cannot be what it says."""


@dataclass(frozen=True, slots=True)
class _Mark:
    """What one region says, decoded: a label or mark, and where it stands if it is a span. None says "none"."""

    control: Control
    key: str | None
    start: int = 0
    end: int = 0


def _regions(head: Head, controls: Sequence[Control], answer: Answer) -> Iterator[Region]:
    if isinstance(answer, str):
        yield _region(_control_with(head, controls, answer), {"choices": [config.code_of(answer)]})
    elif isinstance(answer, dict):
        yield from _rubric_regions(head, controls, answer)
    elif not answer:
        yield _region(controls[-1], {"choices": [config.NONE]})
    elif head.kind == Kind.CHOICES:
        for key in answer:
            _control_with(head, controls, str(key))
        yield _region(controls[0], {"choices": [config.code_of(str(key)) for key in answer]})
    else:
        for span in answer:
            if not isinstance(span, dict):
                raise PayloadError(f"{head.key} holds something that is not a span")
            control = _control_with(head, controls, span["label"])
            codes = [config.code_of(span["label"])]
            region = _region(control, {"start": span["start"], "end": span["end"], "labels": codes})
            yield region | ({"score": span["confidence"]} if "confidence" in span else {})


def _rubric_regions(head: Head, controls: Sequence[Control], rubric: Rubric) -> Iterator[Region]:
    by_place = {(c.group.key, c.criterion.key): c for c in controls if c.group is not None and c.criterion is not None}
    codes = {mark: code for code, mark in config.MARKS.items()}
    for place, control in by_place.items():
        marks = rubric.get(place[0], {})
        if place[1] in marks:
            yield _region(control, {"choices": [codes[marks[place[1]]]]})
    for group, marks in rubric.items():
        for criterion in marks:
            if (group, criterion) not in by_place:
                raise PayloadError(f"{head.key}.{group}.{criterion} is not a criterion of the schema")


def _control_with(head: Head, controls: Sequence[Control], key: str) -> Control:
    for control in controls:
        if key in control.codes.values():
            return control
    raise PayloadError(f"{head.key} has no label {key!r}; expected one of the schema")


def _region(control: Control, value: dict[str, Any]) -> Region:
    return {"from_name": control.name, "to_name": config.TEXT_NAME, "type": control.type, "value": value}


def _marks(control: Control, region: Json, text: str) -> list[_Mark]:
    value = region.get("value")
    codes = value.get(control.type) if isinstance(value, Mapping) else None
    if region.get("type") != control.type or not isinstance(codes, list) or not codes:
        raise _Fault(f"has a region without {control.type}")
    keys = [_key_of(control, code) for code in codes]
    if control.type != "labels":
        return [_Mark(control, key) for key in keys]
    start, end = value.get("start"), value.get("end")  # type: ignore[union-attr]
    if type(start) is not int or type(end) is not int or not 0 <= start < end <= len(text):
        raise _Fault(f"has a span outside the text, which has {len(text)} characters")
    return [_Mark(control, key, start, end) for key in keys]


def _key_of(control: Control, code: object) -> str | None:
    if code == config.NONE and (control.says_none or control.head.kind == Kind.CHOICES):
        return None
    # A screen may still show the version before, in whose place another label has come
    replaced = {config.code_of(old): label.key for label in control.head.labels for old in label.replaces}
    known = {**replaced, **control.codes}
    if not isinstance(code, str) or code not in known:
        raise _Fault("has a label that is not in the schema")
    return known[code]


def _assemble(schema: Schema, found: Mapping[str, list[_Mark]], faults: dict[str, list[str]]) -> Labels:
    """Put the marks of each head together; a head with a fault is left out, and so is what depends on it."""
    labels: Labels = {}
    for head in schema.heads:
        if head.key not in found or head.key in faults:
            continue
        try:
            answer = _answer(head, found[head.key])
            labels |= {**_answers_above(schema, head, answer, labels, faults), head.key: answer}
        except _Fault as fault:
            faults[head.key] = [str(fault)]
    return {head.key: labels[head.key] for head in schema.heads if head.key in labels}


def _answer(head: Head, marks: Sequence[_Mark]) -> Answer:
    if head.kind == Kind.RUBRIC:
        return _rubric(head, marks)
    keys = {mark.key for mark in marks}
    if head.kind == Kind.CHOICE:
        if len(keys) > 1:
            raise _Fault("has several answers; expected one")
        return str(next(iter(keys)))
    if None in keys:
        if len(keys) > 1:
            raise _Fault('says "none" beside labels')
        return []
    if head.kind == Kind.CHOICES:
        return [key for key in head.keys if key in keys]
    places = sorted({(mark.start, mark.end, str(mark.key)) for mark in marks})
    return [Span(start=start, end=end, label=label) for start, end, label in places]


def _rubric(head: Head, marks: Sequence[_Mark]) -> Rubric:
    said: dict[tuple[str, str], set[str]] = {}
    for mark in marks:
        group, criterion = mark.control.group, mark.control.criterion
        if group is not None and criterion is not None:
            said.setdefault((group.key, criterion.key), set()).add(str(mark.key))
    rubric: Rubric = {}
    for group in head.groups:
        for criterion in group.criteria:
            codes = said.get((group.key, criterion.key), set())
            if len(codes) > 1:
                raise _Fault(f"has several marks for {group.key}.{criterion.key}")
            for code in codes:
                rubric.setdefault(group.key, {})[criterion.key] = config.MARKS[code]
    return rubric


def _answers_above(
    schema: Schema, head: Head, answer: Answer, labels: Labels, faults: Mapping[str, list[str]]
) -> Labels:
    """Return the answers of the heads above, which a child gives if it came alone and must not contradict."""
    above: Labels = {}
    while head.parent is not None:
        parent = str(head.by_key[str(answer)].parent)
        if head.parent in faults:
            raise _Fault(f"depends on {head.parent}, which cannot be read")
        if labels.get(head.parent, parent) != parent:
            raise _Fault(f"is a label of {parent!r}; {head.parent} is {labels[head.parent]!r}")
        above[head.parent] = parent
        head, answer = schema.head(head.parent), parent
    return above


def _comment(result: Sequence[Any]) -> str:
    said: list[str] = []
    for region in result:
        if isinstance(region, Mapping) and region.get("from_name") == config.COMMENT_NAME:
            said += region["value"]["text"]
    return "\n".join(said)


def _origins(schema: Schema, result: Sequence[Any]) -> dict[str, dict[str, int]]:
    heads = {control.name: control.head.key for control in config.controls(schema)}
    counts: dict[str, Counter[str]] = {}
    for region in result:
        name = region.get("from_name") if isinstance(region, Mapping) else None
        if isinstance(name, str) and name in heads and region.get("origin"):
            counts.setdefault(heads[name], Counter())[str(region["origin"])] += 1
    return {key: dict(found) for key, found in counts.items()}


def _without_text(region: Json) -> Region:
    """Return a region without the words that it copies out of the case, so that erasing a case need not touch it."""
    kept = dict(region)
    if isinstance(region.get("value"), Mapping):
        kept["value"] = {key: value for key, value in region["value"].items() if key != "text"}
    return kept


def _user_id(user: object) -> int | None:
    found = user.get("id") if isinstance(user, Mapping) else user
    return found if isinstance(found, int) else None


def _seconds(written: Any) -> float | None:
    return None if written is None else float(written)


def _moment(written: object) -> datetime:
    moment = datetime.fromisoformat(str(written))
    if moment.tzinfo is None:
        raise ValueError("a moment without a time zone")
    return moment
