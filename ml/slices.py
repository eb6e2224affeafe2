"""Parts of a test set that are looked at apart, so that a gain on the whole does not hide a loss on some.

Which parts there are follows from the schema, which names the labels where a miss is dangerous, from what is known of
the cases, and from what an admin adds. Values of metadata name a slice only where enough cases share them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ml.errors import InputError
from ml.schema import Head, Kind, Schema, folded
from ml.types import Example

LENGTHS = ("short texts", "texts of middle length", "long texts")  # Thirds of the test set, by characters


class RulesError(InputError):
    """Values are no rules of the gate; the message names the key, what was found and what was expected."""


@dataclass(frozen=True, slots=True)
class SliceRule:
    """How cases are sorted into slices.

    Either `by` names where the value stands that sorts them, with `bands` the ages or other numbers at which a new band
    begins, or `where` says for each such place which values make one slice together. A place is "source", "labels.HEAD"
    or a path in the metadata, such as "victim.age". In a slice for safety no head that routes may fall by the margin.
    """

    name: str
    by: str = ""
    bands: tuple[float, ...] = ()
    where: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    is_safety: bool = False

    @classmethod
    def from_json(cls, at: str, found: object) -> SliceRule:
        """Read one rule; `at` is its place, for messages.

        Raises:
            RulesError: it is none.
        """
        if not isinstance(found, Mapping) or not found.keys() <= {"name", "by", "bands", "where", "is_safety"}:
            raise RulesError(f"{at} is {found!r:.60}; expected name, is_safety, and where, or by with bands")
        name, by, where = found.get("name"), found.get("by", ""), found.get("where", {})
        bands, is_safety = found.get("bands", ()), found.get("is_safety", False)
        if not isinstance(name, str) or not 0 < len(name.strip()) <= 100:
            raise RulesError(f"{at}.name is {name!r:.60}; expected a text of at most 100 characters")
        if not isinstance(by, str) or not isinstance(where, Mapping) or bool(by) == bool(where):
            raise RulesError(f"{at} has by {by!r:.60} and where {where!r:.60}; expected one of them")
        if not isinstance(bands, Sequence) or not all(isinstance(one, int | float) for one in bands):
            raise RulesError(f"{at}.bands is {bands!r:.60}; expected a list of numbers")
        for place, values in where.items():
            if not isinstance(values, list | tuple) or not all(isinstance(one, str) for one in values):
                raise RulesError(f"{at}.where.{place} is {values!r:.60}; expected a list of texts")
        if not isinstance(is_safety, bool) or (is_safety and not where):
            raise RulesError(f"{at}.is_safety is {is_safety!r:.60}; expected true only beside where")
        wanted = {str(place): tuple(values) for place, values in where.items()}
        return cls(name.strip(), by, tuple(sorted(float(one) for one in bands)), wanted, is_safety)


@dataclass(frozen=True, slots=True)
class Slice:
    """Some of the cases, by their places in the test set; `kind` is what it has in common with its like."""

    name: str
    kind: str
    rows: tuple[int, ...]
    is_safety: bool = False
    is_named: bool = False  # By an admin, and so never left out


USUAL = (
    SliceRule("source", by="source"),
    SliceRule("language", by="language"),
    SliceRule("county", by="county"),
    SliceRule("victim's gender", by="victim.gender"),
    SliceRule("victim's age", by="victim.age", bands=(6.0, 11.0, 15.0, 18.0)),
)


def dangers(head: Head) -> dict[str, frozenset[str]]:
    """Return the label keys of a head where a miss is dangerous, by what the schema calls the danger."""
    found: dict[str, set[str]] = defaultdict(set)
    for label in head.labels:
        if label.safety:
            found[label.safety].add(label.key)
    return {name: frozenset(keys) for name, keys in found.items()}


def of(schema: Schema, examples: Sequence[Example], rules: Sequence[SliceRule]) -> list[Slice]:
    """Return the slices of a test set: by rule, by length, and by how many labels a head of several has."""
    found: list[Slice] = []
    for rule in (*USUAL, *rules):
        found += _by_value(rule, examples) if rule.by else [_where(rule, examples)]
    return [*found, *_by_length(examples), *_by_labels(schema, examples)]


def _by_value(rule: SliceRule, examples: Sequence[Example]) -> list[Slice]:
    rows: dict[str, list[int]] = defaultdict(list)
    names: dict[str, str] = {}
    for row, example in enumerate(examples):
        shown = {_banded(value, rule.bands) for value in _values(example, rule.by)} - {""}
        for value in sorted({folded(one): one for one in sorted(shown)}.values()):
            names.setdefault(folded(value), value)
            rows[folded(value)].append(row)
    return [Slice(f"{rule.name}: {names[key]}", rule.name, tuple(rows[key])) for key in sorted(rows)]


def _where(rule: SliceRule, examples: Sequence[Example]) -> Slice:
    wanted = {place: {folded(one) for one in values} for place, values in rule.where.items()}
    rows = tuple(
        row
        for row, example in enumerate(examples)
        if all({folded(one) for one in _values(example, place)} & values for place, values in wanted.items())
    )
    return Slice(rule.name, rule.name, rows, rule.is_safety, is_named=True)


def _by_length(examples: Sequence[Example]) -> list[Slice]:
    order = np.argsort([len(example.text) for example in examples], kind="stable")
    parts = [tuple(sorted(part.tolist())) for part in np.array_split(order, len(LENGTHS))]
    return [Slice(name, "length", part) for name, part in zip(LENGTHS, parts, strict=True) if part]


def _by_labels(schema: Schema, examples: Sequence[Example]) -> list[Slice]:
    found = []
    for head in schema.of_kind(Kind.CHOICES):
        counts = [len(example.labels[head.key]) if head.key in example.labels else 0 for example in examples]
        one = tuple(row for row, count in enumerate(counts) if count == 1)
        several = tuple(row for row, count in enumerate(counts) if count > 1)
        named = ((f"{head.name}: one", one), (f"{head.name}: several", several))
        found += [Slice(name, head.name, rows) for name, rows in named if rows]
    return found


def _banded(value: str, bands: tuple[float, ...]) -> str:
    """Return a value as its slice is called: itself, its band, or nothing where it is no number."""
    if not bands:
        return value
    try:
        number = float(value)
    except ValueError:
        return ""
    ends = [None, *bands, None]
    at = sum(number >= begin for begin in bands)
    low, high = ends[at], ends[at + 1]
    if low is None:
        return f"below {high:g}"
    return f"{low:g} or more" if high is None else f"{low:g} to below {high:g}"


def _values(example: Example, place: str) -> list[str]:
    if place == "source":
        return [example.source] if example.source else []
    root, _, rest = place.partition(".")
    if root == "labels":
        return list(_texts(example.labels.get(rest)))
    found: Any = [example.metadata]
    for key in place.split("."):
        found = [one[key] for one in _flat(found) if isinstance(one, Mapping) and key in one]
    return list(_texts(found))


def _flat(found: Any) -> Iterator[Any]:
    for one in found:
        if isinstance(one, list):
            yield from _flat(one)
        else:
            yield one


def _texts(found: Any) -> Iterator[str]:
    for one in _flat([found]):
        if isinstance(one, str | int | float) and not isinstance(one, bool) and str(one).strip():
            yield str(one).strip()
