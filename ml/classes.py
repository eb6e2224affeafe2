"""What the classes of a published four-head classifier are called, and which labels of a schema they mean.

A class may be one of several that mean the same label, and a class of interventions may mean several labels at once:
"Counselling, Referral". No torch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from ml import answers
from ml import schema as schemas
from ml.errors import InputError
from ml.schema import Head, Kind, Schema

Meaning: TypeAlias = str | tuple[str, ...]  # The label that a class stands for; for `choices`, the labels


class CheckpointError(InputError):
    """A checkpoint is not of the layout; the message names the file, what was found and what was expected."""


@dataclass(frozen=True, slots=True)
class Part:
    """One of the four questions: the head that answers it here, and where the checkpoint has its weights and names."""

    head: str
    title: str
    layer: str
    file: str


PARTS = (
    Part("main_category", "Main category", "classifier_main", "main_categories.json"),
    Part("sub_category", "Sub-category", "classifier_sub", "sub_categories.json"),
    Part("intervention", "Intervention", "classifier_interv", "interventions.json"),
    Part("priority", "Priority", "classifier_priority", "priorities.json"),
)


def read_names(path: Path) -> list[str]:
    """Read the names of a classifier's classes, in the order of their index.

    Raises:
        CheckpointError: the file cannot be read, or is neither a list of names nor an object of names and indices.
    """
    found = read_json(path)
    listed = _by_index(found) if isinstance(found, dict) else found
    if not isinstance(listed, list) or len(listed) < 2:
        raise CheckpointError(f"{path} is not a list of two or more names, nor an object of names and indices from 0")
    for value in listed:
        is_name = isinstance(value, str | int | float) and not isinstance(value, bool)
        if not is_name or not str(value).strip() or not str(value).isprintable():
            raise CheckpointError(f"{path} has a {type(value).__name__} that is no name; expected a text or a number")
    names = [str(int(value) if isinstance(value, float) and value.is_integer() else value).strip() for value in listed]
    for at, name in enumerate(names):
        if name in names[:at]:
            raise CheckpointError(f"{path} has the name {name!r} twice; which class is meant must be certain")
    return names


def _by_index(found: Mapping[str, object]) -> list[object] | None:
    """Lay out the names of an object in order, whichever side the indices stand on; None where that is not certain."""
    indices = range(len(found))
    readings: list[list[object]] = []
    if found.keys() == {str(index) for index in indices}:
        readings.append([found[str(index)] for index in indices])
    of_index = {value: name for name, value in found.items() if type(value) is int}
    if of_index.keys() == set(indices):
        readings.append([of_index[index] for index in indices])
    is_certain = len({tuple(map(str, names)) for names in readings}) == 1
    return readings[0] if is_certain else None


def schema_of(names: Mapping[str, Sequence[str]], title: str) -> Schema:
    """Make a schema of four `choice` heads from the names."""
    lines = [f"name = {_quoted(title)}", "version = 1", f"title = {_quoted(f'Imported from {title}')}"]
    for part in PARTS:
        lines += ["", "[[heads]]", f"key = {_quoted(part.head)}", f"name = {_quoted(part.title)}", 'kind = "choice"']
        for name in names[part.head]:
            lines += ["", "[[heads.labels]]", f"key = {_quoted(name)}", f"name = {_quoted(name)}"]
            lines += [f'definition = "Imported from {part.file} of a checkpoint; nobody has defined it here."']
    return schemas.parse("\n".join(lines) + "\n")


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)  # A TOML string too, as names hold no control characters


def meanings(schema: Schema, names: Mapping[str, Sequence[str]]) -> dict[str, list[Meaning]]:
    """Read the names as labels of the schema, through its aliases: by head, what each class means.

    Raises:
        CheckpointError: names are no labels, and all of them are told; a head is missing or of another kind; or a class
            has none beside it in the head above or below, so that it could never be answered.
    """
    found: dict[str, list[Meaning]] = {}
    faults: list[str] = []
    for part in PARTS:
        head = schema.by_key.get(part.head)
        if head is None or head.kind not in (Kind.CHOICE, Kind.CHOICES):
            raise CheckpointError(f"the schema {schema.name} has no head {part.head} of kind choice or choices")
        found[part.head] = []
        for name in names[part.head]:
            labels, problems = answers.read(schema, {part.head: name}, text="")
            faults += [f"{part.file}: {problem.message}" for problem in problems]
            answer = labels.get(part.head, [])
            found[part.head].append(answer if isinstance(answer, str) else tuple(map(str, answer)))
    if faults:
        raise CheckpointError("\n".join([f"not all names are labels of the schema {schema.name}:", *faults]))
    for head in (schema.head(key) for key in found):
        _check_parents(schema, head, found)
    return found


def _check_parents(schema: Schema, head: Head, found: Mapping[str, Sequence[Meaning]]) -> None:
    """Refuse classes that could never be answered, because the head above or below has none that goes with them."""
    if head.parent is None or head.parent not in found:
        return
    above = meant(found[head.parent])
    reached = {str(head.by_key[key].parent) for key in meant(found[head.key])}
    lonely = [key for key in schema.head(head.parent).keys if (key in above) != (key in reached)]
    if lonely:
        raise CheckpointError(
            f"the checkpoint knows a {head.parent} without a {head.key} under it, or the other way round: "
            f"{', '.join(lonely)}; expected both, or a schema whose {head.key} has no parent"
        )


def meant(classes: Sequence[Meaning]) -> set[str]:
    """Return every label that a class means."""
    return {key for meaning in classes for key in ([meaning] if isinstance(meaning, str) else meaning)}


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        CheckpointError: it cannot be read, or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise CheckpointError(f"{path} cannot be read: {exc.strerror}") from exc
    except (ValueError, RecursionError) as exc:
        raise CheckpointError(f"{path} is not JSON") from exc
