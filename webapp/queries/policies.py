"""What policies say, and in what they differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from ml.gate import Rules
from ml.schema import Schema as ParsedSchema
from webapp.models import Policy, Schema
from webapp.queries import schemas

SHOWN = 50  # Of the history


@dataclass(frozen=True, slots=True)
class Change:
    """One value that differs between two policies; the empty text where there is none."""

    name: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One policy of the history, and in what it differs from the one before it; None of the first."""

    row: Policy
    changes: tuple[Change, ...] | None
    is_in_force: bool


def filled(row: Policy) -> dict[str, Any]:
    """Return all values of a policy: those that it leaves out are as they are taken to be."""
    values = row.parsed.as_json()
    rules = asdict(Rules.from_json(values["gate"])) | {"slices": values["gate"].get("slices", [])}
    return values | {"gate": rules}


def history(schema: Schema) -> list[Entry]:
    """Return the newest policies of a schema, the one in force first."""
    rows = list(schema.policies.select_related("created_by").order_by("-id")[: SHOWN + 1])
    parsed = schemas.newest_version(schema).parsed
    found = [Entry(row, changes(parsed, before, row), is_in_force=row == rows[0]) for row, before in pairwise([*rows])]
    if len(rows) <= SHOWN:
        found.append(Entry(rows[-1], None, is_in_force=len(rows) == 1))
    return found


def changes(parsed: ParsedSchema, before: Policy, after: Policy) -> tuple[Change, ...]:
    """Return in what two policies differ, value by value."""
    old, new = dict(_flat(filled(before))), dict(_flat(filled(after)))
    return tuple(
        Change(_name(parsed, path), _words(old.get(path)), _words(new.get(path)))
        for path in dict.fromkeys([*old, *new])
        if old.get(path) != new.get(path)
    )


def _flat(values: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from (((key, part), one) for part, one in value.items())
        else:
            yield (key,), value


def _name(parsed: ParsedSchema, path: tuple[str, ...]) -> str:
    return ": ".join(parsed.by_key[part].name if part in parsed.by_key else part.replace("_", " ") for part in path)


def _words(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case int() | float():
            return f"{value:g}"
        case list() | tuple():
            return ", ".join(str(one.get("name", one)) if isinstance(one, Mapping) else str(one) for one in value)
        case _:
            return str(value)
