"""Which column of a file holds which field of a case, and reading one row by it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ml import answers
from ml.schema import Schema
from ml.types import Example
from webapp.casefiles.cleaning import clean, clean_text, moved
from webapp.casefiles.rows import MAX_DEPTH, MAX_ROW_CHARACTERS, depth
from webapp.errors import UnreadableFile

FIELDS = ("id", "text", "source", "conversation", "sent_at", "labels", "metadata")
KNOWN_AS = {
    "id": ("id", "external_id", "uniqueid", "unique_id", "case_id", "call_id"),
    "text": ("text", "narrative", "transcript", "message"),
    "source": ("source",),
    "conversation": ("conversation", "conversation_id"),
    "sent_at": ("sent_at", "timestamp"),
    "labels": ("labels",),
    "metadata": ("metadata",),
}
LONGEST = {"id": 200, "source": 100, "conversation": 200, "text": MAX_ROW_CHARACTERS}  # Characters
IGNORE = "-"  # As a field: leave the column out


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with one row; `field` is the head or column at fault, empty for the whole row."""

    row: int
    field: str
    message: str
    unknown: str | None = None


@dataclass
class Columns:
    """How the columns of a file are read; grows as rows bring new ones."""

    schema: Schema
    given: Mapping[str, str]
    found: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for column, name in self.given.items():
            if name not in (*FIELDS, IGNORE) and answers.head_named(self.schema, name) is None:
                expected = ", ".join((*FIELDS, *self.schema.by_key))
                raise UnreadableFile(
                    f"column {column!r} is mapped to {name!r}; expected one of {expected}, or - for none"
                )

    def field_of(self, column: str) -> str:
        """Return the field that a column holds: one of FIELDS, a head's key, "-", or "metadata.COLUMN"."""
        known = self.found.get(column)
        if known is None:
            known = self.found[column] = self._recognise(column)
        return known

    def read(self, number: int, values: Mapping[str, Any], *, source: str) -> tuple[Example | None, list[Fault]]:
        """Turn one row into an example; None where it has no text. Faults in labels leave the rest of the row good."""
        fields, raw, metadata, faults = self._sorted(number, values)
        text = fields.get("text")
        if not isinstance(text, str) or not clean_text(text).strip():
            found = "missing" if text is None else "empty" if isinstance(text, str) else "not a text"
            return None, [*faults, Fault(number, "text", f"text is {found}; expected the text of the case")]
        stored = clean_text(text)
        labels, problems = answers.read(self.schema, self._by_head(raw), text=text)
        faults += [Fault(number, problem.head, problem.message, problem.unknown) for problem in problems]
        example = Example(
            id=_name(fields.get("id")) or _id_of(stored),
            text=stored,
            labels=moved(self.schema, labels, text),
            source=_name(fields.get("source")) or source,
            conversation=_name(fields.get("conversation")),
            sent_at=_name(fields.get("sent_at")),
            metadata=metadata,
        )
        too_long = _too_long(number, example)
        return (None if too_long else example), faults + too_long

    def _sorted(
        self, number: int, values: Mapping[str, Any]
    ) -> tuple[dict[str, Any], dict[str, object], dict[str, Any], list[Fault]]:
        """Sort the values of a row into fields, labels and metadata. Of two columns for one field the first counts."""
        fields: dict[str, Any] = {}
        raw: dict[str, object] = {}
        metadata: dict[str, Any] = {}
        faults: list[Fault] = []
        for given, value in values.items():
            column = clean(given)
            name = self.field_of(column)
            if name == "text":
                fields.update({} if fields.get(name) else {name: value})  # Cleaned later: spans count its characters
                continue
            value = clean(value)
            if name in ("labels", "metadata"):
                target = raw if name == "labels" else metadata
                target.update(_table(number, column, value, faults))
            elif name.startswith("metadata."):
                metadata[column] = value
            elif name != IGNORE:
                target = fields if name in FIELDS else raw
                if target.get(name) in (None, ""):
                    target[name] = value
                elif value not in (None, ""):
                    metadata[column] = value
        return fields, raw, metadata, faults

    def _by_head(self, raw: Mapping[str, object]) -> dict[str, object]:
        """Name heads by their keys, as `labels` of another program may use their aliases."""
        named = {}
        for name, value in raw.items():
            head = answers.head_named(self.schema, name)
            named[head.key if head else name] = value
        return named

    def _recognise(self, column: str) -> str:
        given = self.given.get(column)
        if given is not None:
            head = answers.head_named(self.schema, given)
            return head.key if head and given not in FIELDS else given
        plain = column.strip().lower()
        for name, synonyms in KNOWN_AS.items():
            if plain in synonyms and name not in self.given.values():
                return name
        head = answers.head_named(self.schema, column)
        if head is not None and head not in [answers.head_named(self.schema, name) for name in self.given.values()]:
            return head.key
        return f"metadata.{column}"


def parse_mapping(pairs: Iterable[str]) -> dict[str, str]:
    """Read COLUMN=FIELD pairs.

    Raises:
        UnreadableFile: a pair is of another form.
    """
    mapping = {}
    for pair in pairs:
        column, separator, name = pair.partition("=")
        if not separator or not column.strip() or not name.strip():
            raise UnreadableFile(f"the mapping {pair!r} is not of the form COLUMN=FIELD")
        mapping[column.strip()] = name.strip()
    return mapping


def _table(number: int, column: str, value: object, faults: list[Fault]) -> dict[str, Any]:
    if isinstance(value, str) and value.strip():
        try:
            value = clean(json.loads(value))
        except (ValueError, RecursionError):
            faults.append(Fault(number, column, f"{column} is not valid JSON; expected an object"))
            return {}
    if value is None or value == "":
        return {}
    if not isinstance(value, dict):
        faults.append(Fault(number, column, f"{column} is a {type(value).__name__}; expected an object"))
        return {}
    if depth(value) > MAX_DEPTH:
        faults.append(Fault(number, column, f"{column} is nested more than {MAX_DEPTH} levels deep"))
        return {}
    return value


def _name(value: object) -> str:
    return "" if value is None else str(value)


def _too_long(number: int, example: Example) -> list[Fault]:
    found = {"id": example.id, "source": example.source, "conversation": example.conversation, "text": example.text}
    return [
        Fault(number, name, f"{name} has {len(value):,} characters; expected at most {LONGEST[name]:,}")
        for name, value in found.items()
        if len(value) > LONGEST[name]
    ]


def _id_of(text: str) -> str:
    """Make an id from the text, so that a file without ids can be imported again without doubles."""
    return "text-" + hashlib.sha256(text.encode()).hexdigest()[:20]
