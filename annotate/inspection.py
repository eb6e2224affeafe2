"""What stands in Label Studio, as whoever looks after it needs it, and the way back for what was lost there."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from annotate import config, files
from annotate.client import MISSING, PAGE, Client
from annotate.errors import LabelStudioRefused
from ml.schema import Schema
from ml.types import Labels

STANDING_FIELDS = "id,label_config,task_number"
TASK_FIELDS = "id,data,total_annotations,cancelled_annotations"
LARGEST = 2**63 - 1  # That a column holds


@dataclass(frozen=True, slots=True)
class Standing:
    """How a project stands: the hash of its configuration, the configuration, and how many tasks it has."""

    config_hash: str
    config: str
    tasks: int


@dataclass(frozen=True, slots=True)
class TaskThere:
    """A task of a project. `case_id` is empty where its data names none; `is_annotated` counts skips too.

    `cover` is as `cover_of` tells it.
    """

    id: int
    case_id: str
    is_annotated: bool
    cover: int | None = None


@dataclass(frozen=True, slots=True)
class AnnotationThere:
    """Where an annotation is that was put back, and in which state."""

    id: int
    updated_at: datetime


def version(client: Client) -> str:
    """Return the version of Label Studio."""
    return str(client.ask("GET", "api/version/").get("release", "unknown"))


def kind_of_key(api_key: str) -> str:
    """Return what kind of token a key is, by its form; nothing is asked."""
    if not api_key:
        return "none"
    return "personal access token" if api_key.count(".") == 2 else "legacy token"


def standing(client: Client, project: int) -> Standing | None:
    """Return how a project stands, None if it is gone."""
    found = _or_none(client, f"api/projects/{project}/", include=STANDING_FIELDS)
    return found and Standing(digest(found["label_config"]), found["label_config"], found["task_number"])


def digest(xml: str) -> str:
    """Return the SHA-256 of a configuration."""
    return hashlib.sha256(xml.encode()).hexdigest()


def difference(ours: str, theirs: str) -> list[str]:
    """Return the lines that differ between two configurations, with a line around them: - is ours, + is theirs."""
    lines = difflib.unified_diff(ours.splitlines(), theirs.splitlines(), "ours", "there", lineterm="", n=1)
    return [line.rstrip() for line in lines]


def tasks(client: Client, project: int) -> Iterator[TaskThere]:
    """Yield all tasks of a project, in the order of their numbers."""
    seen = 0
    while True:
        after = {"filter": "filter:tasks:id", "operator": "greater", "type": "Number", "value": seen}
        query = {"filters": {"conjunction": "and", "items": [after]}, "ordering": ["tasks:id"]}
        params = {"project": project, "query": json.dumps(query), "include": TASK_FIELDS, "page_size": PAGE}
        found = client.ask("GET", "api/tasks/", params=params)["tasks"]
        for task in found:
            is_annotated = bool(task["total_annotations"] or task["cancelled_annotations"])
            cover = cover_of(task["data"])
            yield TaskThere(task["id"], str(task["data"].get(config.CASE_ID, "")), is_annotated, cover)
        if len(found) < PAGE:
            return
        seen = found[-1]["id"]


def cover_of(data: object) -> int | None:
    """Return the number of the cover that the data of a task names; None where it names none, 0 where it is no number.

    No row has the number 0.
    """
    named = data.get(config.COVER) if isinstance(data, Mapping) else None
    if named is None:
        return None
    return named if type(named) is int and 0 < named <= LARGEST else 0


def annotation_entry(
    schema: Schema, answers: Labels, *, comment: str, is_skip: bool, seconds: float | None, by: int | None
) -> dict[str, Any]:
    """Return an annotation in Label Studio's form, as somebody handed it in.

    Args:
        schema: the heads and their labels.
        answers: what it says; of a skip, nothing.
        comment: what was written beside it.
        is_skip: whether the case was skipped.
        seconds: how long it took, if that is known.
        by: the Label Studio user; None leaves it to whose key is used.

    Raises:
        PayloadError: an answer is not one of the schema.
    """
    entry = {"result": files.result_of(schema, answers, comment), "was_cancelled": is_skip, "lead_time": seconds}
    return entry if by is None else {**entry, "completed_by": by}


def put_back(client: Client, task: int, case_id: str, entry: Mapping[str, Any], mark: int) -> AnnotationThere | None:
    """Hand an annotation in, unless it is there already, as its mark tells: Label Studio keeps it as the import id.

    Returns:
        Where it is; None if the task is gone or another case's.
    """
    found = _or_none(client, f"api/tasks/{task}/")
    if found is None or str(found["data"].get(config.CASE_ID)) != case_id:
        return None
    for known in found["annotations"]:
        if known.get("import_id") == mark:
            return _there(known)
    return _there(client.ask("POST", f"api/tasks/{task}/annotations/", json={**entry, "import_id": mark}))


def is_there(client: Client, annotation: int) -> bool:
    """Tell whether an annotation exists, on whatever task."""
    return _or_none(client, f"api/annotations/{annotation}/") is not None


def _or_none(client: Client, path: str, **params: str) -> Any:
    try:
        return client.ask("GET", path, params=params)
    except LabelStudioRefused as exc:
        if exc.status == MISSING:
            return None
        raise


def _there(annotation: Mapping[str, Any]) -> AnnotationThere:
    return AnnotationThere(int(annotation["id"]), datetime.fromisoformat(annotation["updated_at"]))
