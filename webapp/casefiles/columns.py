"""Which column of a file holds which field of a case, and reading one row by it."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache, partial
from typing import Any

from django.utils.dateparse import parse_datetime

from ml import answers
from ml.schema import Head, Schema
from ml.types import Example
from webapp.casefiles.cleaning import clean, clean_text, moved
from webapp.casefiles.rows import KINDS, MAX_DEPTH, MAX_ROW_CHARACTERS, MAX_TEXT_CHARACTERS, depth
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
LONGEST = {  # Characters; of metadata, as JSON
    "id": 200,
    "source": 100,
    "conversation": 200,
    "text": MAX_TEXT_CHARACTERS,
    "metadata": MAX_ROW_CHARACTERS,
}
MAX_COLUMNS = 1000
LONGEST_SHOWN = 60  # Characters of a value or name that a message repeats
IGNORE = "-"  # As a field: leave the column out
TIME = "a time such as 2026-03-01 12:00 or 2026-03-01T12:00:00+03:00; it was left out"


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
    left_out: dict[str, str] = field(default_factory=dict)  # Column whose values went nowhere -> why
    _head_named: Callable[[str], Head | None] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._head_named = lru_cache(maxsize=10_000)(partial(answers.head_named, self.schema))
        for column, name in self.given.items():
            if name not in (*FIELDS, IGNORE) and self._head_named(name) is None:
                expected = ", ".join((*FIELDS, *self.schema.by_key))
                raise UnreadableFile(
                    f"column {column!r} is mapped to {name!r}; expected one of {expected}, or - for none"
                )

    def expect(self, columns: Collection[str]) -> None:
        """Look at the columns that a file begins with, before anything of it is taken in.

        Raises:
            UnreadableFile: none of them was mapped though others were, or none holds the text.
        """
        fields = [self.field_of(column) for column in map(clean, columns)]
        missing = self.missing()
        wanted = {column for column, name in self.given.items() if name != IGNORE}
        if wanted and wanted <= missing.keys():
            raise UnreadableFile(f"no column that was mapped is in the file: {'; '.join(missing.values())}")
        if "text" not in fields:
            expected = f"expected one named {', '.join(KNOWN_AS['text'])}, or a mapping COLUMN=text"
            found = f"no column holds the text; {expected}; found {_listed(columns)}"
            raise UnreadableFile("; ".join([found, *missing.values()]))

    def missing(self) -> dict[str, str]:
        """Say of each column that was mapped and has not been found which one may have been meant."""
        there = {column.strip() for column in self.found}
        return {
            column: f"column {column!r} was mapped to {name}, but the file has no such column; {self._near(column)}"
            for column, name in self.given.items()
            if column not in there
        }

    def warnings(self) -> list[str]:
        """Return what a person should know of the columns of a file that was read."""
        return [
            *self.missing().values(),
            *(f"column {_shown(column)} {why}; its values were left out" for column, why in self.left_out.items()),
        ]

    def field_of(self, column: str) -> str:
        """Return the field that a column holds: one of FIELDS, a head's key, "-", or "metadata.COLUMN".

        Raises:
            UnreadableFile: the file has too many different columns.
        """
        known = self.found.get(column)
        if known is None:
            if len(self.found) == MAX_COLUMNS:
                raise UnreadableFile(
                    f"the file has more than {MAX_COLUMNS:,} different columns; expected at most {MAX_COLUMNS:,}: "
                    "put what differs from row to row into one column, metadata"
                )
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
        labels, problems = answers.read(self.schema, raw, text=text)
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
        if example.sent_at and moment(example.sent_at) is None:
            faults.append(Fault(number, "sent_at", f"sent_at is {_shown(example.sent_at)}; expected {TIME}"))
        unfit = _unfit(number, fields, example)
        return (None if unfit else example), faults + unfit

    def text_of(self, values: Mapping[str, Any]) -> str:
        """Return the text of a row as it came: spans count its characters."""
        texts = [value for column, value in values.items() if self.field_of(clean(column)) == "text"]
        return next((value for value in texts if isinstance(value, str) and value), "")

    def _sorted(
        self, number: int, values: Mapping[str, Any]
    ) -> tuple[dict[str, Any], dict[str, object], dict[str, Any], list[Fault]]:
        """Sort the values of a row into fields, labels and metadata. Of two columns for one field the first counts.

        What else is said of a head or the text goes nowhere: metadata is shown to those who answer blind.
        """
        fields: dict[str, Any] = {}
        raw: dict[str, object] = {}
        metadata: dict[str, Any] = {}
        faults: list[Fault] = []
        for given, value in values.items():
            column = clean(given)
            name = self.field_of(column)
            if name == "text":  # Cleaned later: spans count its characters
                self._put(fields, name, value, column)
                continue
            value = clean(value)
            if name == "labels":
                for key, answer in _table(number, column, value, faults).items():
                    head = self._head_named(key)
                    self._put(raw, head.key if head else key, answer, f"{column}.{key}")
            elif name == "metadata":
                metadata |= self._without_labels(_table(number, column, value, faults), column)
            elif name.startswith("metadata."):
                metadata[column] = self._without_labels(value, column)
            elif name in FIELDS and fields.get(name) not in (None, "") and value not in (None, ""):
                metadata[column] = value
            elif name != IGNORE:
                self._put(fields if name in FIELDS else raw, name, value, column)
        return fields, raw, metadata, faults

    def _put(self, target: dict[str, Any], name: str, value: object, column: str) -> None:
        if target.get(name) in (None, ""):
            target[name] = value
        elif value not in (None, ""):
            self._leave_out(column, f"is a duplicate of {name}")

    def _leave_out(self, column: str, why: str) -> None:
        if len(self.left_out) < MAX_COLUMNS:
            self.left_out[column] = why

    def _without_labels(self, value: Any, place: str) -> Any:
        """Return metadata without the values, at any depth, whose names are those of heads."""
        if isinstance(value, list):
            return [self._without_labels(inner, place) for inner in value]
        if not isinstance(value, dict):
            return value
        kept = {}
        for key, inner in value.items():
            head = self._head_named(key)
            if head is None:
                kept[key] = self._without_labels(inner, f"{place}.{key}")
            else:
                self._leave_out(f"{place}.{key}", f"names the head {head.key} within the metadata")
        return kept

    def _recognise(self, column: str) -> str:
        plain = column.strip()
        if plain in self.given:
            name = self.given[plain]
            head = self._head_named(name)
            return head.key if head and name not in FIELDS else name
        head = self._head_named(column)
        names = [name for name, synonyms in KNOWN_AS.items() if plain.lower() in synonyms]
        for name in [*names, head.key] if head else names:
            if name not in self._given_fields():
                return name
            if name == "labels" or (head and name == head.key):  # What it says is a label all the same
                self._leave_out(column, f"is a duplicate of {name}")
                return IGNORE
        return f"metadata.{column}"

    def _given_fields(self) -> set[str]:
        heads = {name: self._head_named(name) for name in self.given.values()}
        return {head.key if head and name not in FIELDS else name for name, head in heads.items()}

    def _near(self, column: str) -> str:
        near = difflib.get_close_matches(column, self.found, n=1, cutoff=0.5)
        return f"the nearest that it has is {near[0]!r}" if near else f"it has {_listed(self.found)}"


def parse_mapping(pairs: Iterable[str]) -> dict[str, str]:
    """Read COLUMN=FIELD pairs.

    Raises:
        UnreadableFile: a pair is of another form.
    """
    mapping = {}
    for pair in map(clean, pairs):
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
        faults.append(Fault(number, column, f"{column} is {KINDS[type(value)]}; expected an object"))
        return {}
    if depth(value) > MAX_DEPTH:
        faults.append(Fault(number, column, f"{column} is nested more than {MAX_DEPTH} levels deep"))
        return {}
    return value


def moment(written: str) -> datetime | None:
    """Read an ISO 8601 time, in UTC where it names no zone; None for what is of another form."""
    try:
        found = parse_datetime(written)
        return found and found.replace(tzinfo=found.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError):  # Of the right form, with no such day
        return None


def _name(value: object) -> str:
    return "" if value is None else str(value)


def _shown(value: str) -> str:
    return repr(value if len(value) <= LONGEST_SHOWN else value[:LONGEST_SHOWN] + "…")


def _listed(columns: Iterable[str]) -> str:
    names = [_shown(column) for column in columns]
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")


def _unfit(number: int, fields: Mapping[str, Any], example: Example) -> list[Fault]:
    """Return what keeps a row from being stored: a name that is none, or a value longer than its place."""
    faults = [
        Fault(number, name, f"{name} is {KINDS[type(fields[name])]}; expected a text or a number")
        for name in ("id", "source", "conversation", "sent_at")
        if isinstance(fields.get(name), dict | list)
    ]
    lengths = {name: len(getattr(example, name)) for name in ("id", "source", "conversation", "text")}
    lengths["metadata"] = len(json.dumps(example.metadata)) if example.metadata else 0
    return faults or [
        Fault(number, name, f"{name} has {length:,} characters; expected at most {LONGEST[name]:,}")
        for name, length in lengths.items()
        if length > LONGEST[name]
    ]


def _id_of(text: str) -> str:
    """Make an id from the text, so that a file without ids can be imported again without doubles."""
    return "text-" + hashlib.sha256(text.encode()).hexdigest()[:20]
