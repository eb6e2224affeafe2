"""Label Studio's own JSON files: reading what a team brings along, and writing what we know.

A file may come from a project of ours, whose controls we know, or from any other: there the name of a control is read
as the name of a head, and its values through the schema's aliases.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from annotate import config, payloads
from ml import answers
from ml.answers import Problem
from ml.schema import Head, Kind, Schema
from ml.types import Labels

VALUE_KEYS = ("choices", "labels", "hypertextlabels", "taxonomy", "rating", "number", "text")


@dataclass(frozen=True, slots=True)
class Said:
    """What one person said of a case, as a file tells it. `by` is an e-mail address, or a name if there is none."""

    by: str
    labels: Labels
    problems: tuple[Problem, ...] = ()
    is_skip: bool = False
    is_ground_truth: bool = False  # Label Studio's word for an answer that stands, whatever others said
    seconds: float | None = None
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Written:
    """An annotation to be written to a file: `number` tells it from the others, `schema` is what it was made under."""

    number: int
    said: Said
    schema: Schema
    made_at: datetime


def is_task(row: object) -> bool:
    """Tell whether a row of a JSON file is a task of a Label Studio export."""
    return isinstance(row, Mapping) and isinstance(row.get("data"), dict) and isinstance(row.get("annotations"), list)


def read(schema: Schema, annotation: object, text: str) -> Said:
    """Read one annotation of a task; what of it cannot be read is among its problems.

    Args:
        schema: the heads and their labels.
        annotation: as it stands in the file.
        text: the text of the task, which bounds its spans.
    """
    if not isinstance(annotation, Mapping) or not isinstance(annotation.get("result"), list):
        return Said(_person(annotation), {}, (Problem("", "an annotation has no result; expected a list"),))
    regions = [region for region in annotation["result"] if isinstance(region, Mapping)]
    comments = [region for region in regions if region.get("from_name") == config.COMMENT_NAME]
    labels, problems = payloads.labels_of(schema, annotation["result"], text)
    if problems:
        labels, problems = _read_by_names(schema, regions, labels, text)
    is_skip = annotation.get("was_cancelled") is True
    seconds = annotation.get("lead_time")
    return Said(
        by=_person(annotation),
        labels={} if is_skip else labels,
        problems=() if is_skip else tuple(problems),
        is_skip=is_skip,
        is_ground_truth=annotation.get("ground_truth") is True,
        seconds=float(seconds) if isinstance(seconds, int | float) else None,
        comment="\n".join(part for region in comments for part in _list(_value(region)) if isinstance(part, str)),
    )


def task(case: Mapping[str, Any], annotations: Sequence[Written], *, number: int) -> dict[str, Any]:
    """Return a case with its annotations in the form of an export.

    Args:
        case: id, text, and whatever else an import reads of a case.
        annotations: those that stand.
        number: tells the task from the others of the file.
    """
    return {
        "id": number,
        "data": dict(case),
        "annotations": [_written(one, number) for one in annotations],
        "predictions": [],
    }


def result_of(schema: Schema, labels: Labels, comment: str) -> list[payloads.Region]:
    """Return labels and a comment as the regions of a result.

    Raises:
        PayloadError: a head or a label is not in the schema.
    """
    result = payloads.result_of(schema, labels)
    if comment:
        said = {"from_name": config.COMMENT_NAME, "to_name": config.TEXT_NAME, "type": "textarea"}
        result.append({**said, "value": {"text": [comment]}})
    return result


def _written(one: Written, task_number: int) -> dict[str, Any]:
    said = one.said
    return {
        "id": one.number,
        "task": task_number,
        "completed_by": {"id": None, "email": said.by, "first_name": "", "last_name": ""},
        "result": result_of(one.schema, said.labels, said.comment),
        "was_cancelled": said.is_skip,
        "ground_truth": said.is_ground_truth,
        "lead_time": said.seconds,
        "created_at": one.made_at.isoformat(),
        "updated_at": one.made_at.isoformat(),
    }


def _read_by_names(
    schema: Schema, regions: Sequence[Mapping[str, Any]], labels: Labels, text: str
) -> tuple[Labels, list[Problem]]:
    """Read what our own controls do not explain by the names of heads and labels."""
    known = {control.name: control.head for control in config.controls(schema)}
    raw: dict[str, Any] = {}
    for region in regions:
        name = str(region.get("from_name"))
        head = known.get(name) or answers.head_named(schema, name)
        if name == config.COMMENT_NAME or (head is not None and head.key in labels):
            continue
        if head is None:
            raw[name] = None
        else:
            _gather(raw, head, region)
    found, problems = answers.read(schema, raw, text=text)
    return {**found, **labels}, problems


def _gather(raw: dict[str, Any], head: Head, region: Mapping[str, Any]) -> None:
    """Add what a region says to what the file says of a head."""
    said = _list(_value(region))
    said = [part[-1] if isinstance(part, list) and part else part for part in said]  # Of a taxonomy, the last step
    if head.kind == Kind.SPANS:
        value = region["value"] if isinstance(region.get("value"), Mapping) else {}
        said = [{"start": value.get("start"), "end": value.get("end"), "label": label} for label in said]
    raw[head.key] = [*raw.get(head.key, []), *said]


def _value(region: Mapping[str, Any]) -> object:
    value = region.get("value")
    if not isinstance(value, Mapping):
        return None
    key = region.get("type") if region.get("type") in value else next((key for key in VALUE_KEYS if key in value), "")
    return value.get(key)


def _list(value: object) -> list[Any]:
    if isinstance(value, list):
        return value
    return [] if value is None else [value]


def _person(annotation: object) -> str:
    if not isinstance(annotation, Mapping):
        return "unknown"
    by = annotation.get("completed_by")
    if isinstance(by, Mapping):
        names = f"{by.get('first_name') or ''} {by.get('last_name') or ''}".strip()
        return str(by.get("email") or names or f"Label Studio user {by.get('id')}")
    return "unknown" if by is None else f"Label Studio user {by}"
