"""Example JSONL: one case a line, with whatever labels it has. The form that programs hand cases to each other in.

    {"id": "17", "text": "...", "labels": {"main_category": "VANE"}, "source": "...", "sent_at": "...", "metadata": {}}

`id` and `text` are required. A head that is absent from `labels` is unlabelled, not negative.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ml import answers
from ml.errors import InputError
from ml.schema import Schema
from ml.types import Example

MOST_SHOWN = 20  # Faults that one message lists; a file read with the wrong schema has one on every line


class ExamplesError(InputError):
    """Lines of a file are not examples of the schema; the message names each line, the head and what was expected."""


def read(path: str | Path, schema: Schema) -> list[Example]:
    """Read a file whose every line must be good.

    Raises:
        ExamplesError: the file cannot be read, holds no examples, or has a fault in one line or more.
    """
    try:
        with Path(path).open(encoding="utf-8-sig") as lines:
            found = list(scan(lines, schema))
    except OSError as exc:
        raise ExamplesError(f"{path} cannot be read: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise ExamplesError(f"{path} is not UTF-8 text") from exc
    faults = [item for item in found if isinstance(item, str)]
    if faults:
        more = [f"and {len(faults) - MOST_SHOWN} more"] if len(faults) > MOST_SHOWN else []
        raise ExamplesError("\n".join([f"{path} has faults:", *faults[:MOST_SHOWN], *more]))
    if not found:
        raise ExamplesError(f"{path} is empty; expected one JSON object a line")
    return [item for item in found if isinstance(item, Example)]


def scan(lines: Iterable[str | bytes], schema: Schema, *, needs_conversation: bool = False) -> Iterator[Example | str]:
    """Read lines one by one: an example for a good line, a message that names the line for a bad one.

    Lines are numbered from 1; empty ones are counted and passed over. Bytes are read as UTF-8, with or without a mark.
    """
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            yield parse(_decoded(line), schema, needs_conversation=needs_conversation)
        except ExamplesError as fault:
            yield f"line {number}: {fault}"


def parse(line: str, schema: Schema, *, needs_conversation: bool = False) -> Example:
    """Read one line.

    Raises:
        ExamplesError: the line is not a JSON object, lacks id, text, or the conversation that it needs, has a label
            that the schema does not know, or half a character, as "\\ud800" is.
    """
    row = _object(line)
    _refuse_halves(row)
    text = row.get("text")
    if not isinstance(text, str) or not text.strip():
        raise ExamplesError("text is missing or empty; expected the words of the case")
    labels, problems = answers.read(schema, _table(row, "labels"), text=text, keeps_all_spans=True)
    if problems:
        raise ExamplesError("; ".join(problem.message for problem in problems))
    return Example(
        id=_name(row, "id", required=True),
        text=text,
        labels=labels,
        source=_name(row, "source"),
        conversation=_name(row, "conversation", required=needs_conversation),
        sent_at=_name(row, "sent_at"),
        metadata=_table(row, "metadata"),
    )


def write(example: Example) -> str:
    """Return the line of an example, without its line end. Fields that are empty are left out."""
    row: dict[str, Any] = {"id": example.id, "text": example.text, "labels": example.labels}
    row |= {"source": example.source, "conversation": example.conversation, "sent_at": example.sent_at}
    row["metadata"] = dict(example.metadata)
    return json.dumps({key: value for key, value in row.items() if value not in ("", {})}, ensure_ascii=False)


def _decoded(line: str | bytes) -> str:
    if isinstance(line, str):
        return line
    try:
        return line.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise ExamplesError(f"not UTF-8 text, at byte {exc.start + 1}") from exc


def _refuse_halves(row: Mapping[str, Any]) -> None:
    """Refuse surrogates, which JSON can spell and UTF-8, in which all is written and hashed, cannot."""
    for key, value in row.items():
        try:
            json.dumps({key: value}, ensure_ascii=False).encode()
        except UnicodeEncodeError as exc:
            name = key.encode(errors="replace").decode()
            raise ExamplesError(f"{name} has half a character (a lone surrogate); expected whole ones") from exc


def _object(line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as exc:  # As of a number with more digits than Python reads
        raise ExamplesError(f"not JSON: {exc}") from exc
    if not isinstance(row, dict):
        raise ExamplesError(f"is a JSON {type(row).__name__}; expected an object with id and text")
    return row


def _name(row: dict[str, Any], key: str, *, required: bool = False) -> str:
    value = row.get(key)
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if value is None and not required:
        return ""
    if not isinstance(value, str) or (required and not value.strip()):
        found = "empty" if isinstance(value, str) else f"a JSON {type(value).__name__}"
        raise ExamplesError(f"{key} is {found if key in row else 'missing'}; expected a text")
    return value


def _table(row: dict[str, Any], key: str) -> dict[str, Any]:
    value = row.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ExamplesError(f"{key} is a JSON {type(value).__name__}; expected an object")
    return value
