"""The label schema: which questions are asked of a case, and which answers they take.

A schema is a TOML file; `docs/schema.md` describes it. Everything that depends on labels (the model's heads, the
labelling configuration, the review form, the import columns, the metrics) is derived from the objects below, so that
adding a label, a head or a domain is an edit of a TOML file and never of code.

Keys never change: tables and model files hold them. Names, definitions and aliases may.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Any

from ml.errors import InputError

SHIPPED = Path(__file__).with_name("schemas")
HIGHEST_VERSION = 2**31 - 1  # That databases hold


class SchemaError(InputError):
    """A schema file is not one; the message names the key, what was found and what was expected."""


class Kind(StrEnum):
    """The four kinds of question."""

    CHOICE = "choice"
    CHOICES = "choices"
    SPANS = "spans"
    RUBRIC = "rubric"


@dataclass(frozen=True, slots=True)
class Label:
    """One possible answer of a head, or one type of span."""

    key: str
    name: str
    definition: str
    aliases: tuple[str, ...] = ()
    parent: str | None = None  # The key of a label of the parent head
    replaces: tuple[str, ...] = ()  # Keys of labels of earlier versions that are this one now
    safety: str = ""  # What the danger is called where missing the label is one; labels may share it

    @property
    def spellings(self) -> tuple[str, ...]:
        """All that the label is called, its key first."""
        return self.key, self.name, *self.aliases, *self.replaces


@dataclass(frozen=True, slots=True)
class Criterion:
    """One yes, no or not-applicable question of a rubric group."""

    key: str
    name: str
    definition: str


@dataclass(frozen=True, slots=True)
class Group:
    """Criteria of a rubric that belong together.

    `not_applicable` lists the phrases that stand for the whole group in imported files, such as "No hold was required".
    """

    key: str
    name: str
    criteria: tuple[Criterion, ...]
    not_applicable: tuple[str, ...] = ()


@dataclass(frozen=True)
class Head:
    """One question that the schema asks of a case."""

    key: str
    name: str
    kind: Kind
    question: str
    labels: tuple[Label, ...] = ()
    groups: tuple[Group, ...] = ()
    parent: str | None = None
    ordered: bool = False
    urgent: str | None = None  # The key of the label at the urgent end
    threshold: float = 0.5  # `choices`: probability from which a label is answered, before any is learnt
    aliases: tuple[str, ...] = ()

    @property
    def spellings(self) -> tuple[str, ...]:
        """All that the head is called, its key first."""
        return self.key, self.name, *self.aliases

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """The label keys, in schema order."""
        return tuple(label.key for label in self.labels)

    @cached_property
    def by_key(self) -> Mapping[str, Label]:
        """The labels by key."""
        return {label.key: label for label in self.labels}

    def name_of(self, key: str) -> str:
        """Return the name that people read for a label key; the key itself if the label went away."""
        label = self.by_key.get(key)
        return label.name if label else key

    def children(self, parent: str) -> tuple[Label, ...]:
        """Return the labels under one label of the parent head."""
        return tuple(label for label in self.labels if label.parent == parent)


@dataclass(frozen=True)
class Schema:
    """A named and versioned list of heads, with the document that it was read from."""

    name: str
    version: int
    title: str
    guidelines: str
    heads: tuple[Head, ...]
    document: str

    @cached_property
    def by_key(self) -> Mapping[str, Head]:
        """The heads by key."""
        return {head.key: head for head in self.heads}

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of the document, in hexadecimal."""
        return hashlib.sha256(self.document.encode()).hexdigest()

    def head(self, key: str) -> Head:
        """Return one head.

        Raises:
            KeyError: the schema has no such head.
        """
        return self.by_key[key]

    def of_kind(self, *kinds: Kind) -> tuple[Head, ...]:
        """Return the heads of the given kinds, in schema order."""
        return tuple(head for head in self.heads if head.kind in kinds)


def folded(name: str) -> str:
    """Return a name as it is compared: without regard to case and to white space."""
    return " ".join(name.casefold().split())


def shipped() -> list[str]:
    """Return the names of the schemas that come with Caseloop."""
    return sorted(path.stem for path in SHIPPED.glob("*.toml"))


def load(name_or_path: str | Path) -> Schema:
    """Read a shipped schema by name, or any schema file by path.

    Raises:
        SchemaError: there is no such schema, or the file is not a schema.
    """
    path = Path(name_or_path)
    if path.suffix != ".toml":
        if str(name_or_path) not in shipped():
            raise SchemaError(
                f"schema is {str(name_or_path)!r}; expected one of {', '.join(shipped())}, or the path of a .toml file"
            )
        path = SHIPPED / f"{name_or_path}.toml"
    try:
        document = path.read_text(encoding="utf-8")
    except OSError as exc:
        raise SchemaError(f"schema file {path} cannot be read: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise SchemaError(f"schema file {path} is not UTF-8 text") from exc
    return parse(document)


def parse(document: str) -> Schema:
    """Read a schema from the text of a TOML file.

    Raises:
        SchemaError: the text is not TOML, or a key is missing, unknown, of the wrong type, or contradicts another.
    """
    try:
        root = _Table(tomllib.loads(document), "")
    except tomllib.TOMLDecodeError as exc:
        raise SchemaError(f"not a TOML file: {exc}") from exc
    except RecursionError as exc:
        raise SchemaError("not a TOML file that can be read: brackets stand in too many brackets") from exc
    heads = tuple(_head(table) for table in root.tables("heads"))
    schema = Schema(
        name=root.text("name"),
        version=root.integer("version"),
        title=root.text("title"),
        guidelines=root.text("guidelines", default=""),
        heads=heads,
        document=document,
    )
    root.done()
    if not 1 <= schema.version <= HIGHEST_VERSION:
        raise SchemaError(f"version is {schema.version}; expected 1 to {HIGHEST_VERSION:,}")
    _refuse_repeats("heads", (head.key for head in heads))
    _refuse_namesakes("heads", ((None, head.spellings) for head in heads))
    _check_parents(schema)
    return schema


def _head(table: _Table) -> Head:
    kind = table.one_of("kind", tuple(Kind))
    is_rubric, is_choice = kind == Kind.RUBRIC, kind == Kind.CHOICE
    parent = table.text("parent", default="") or None if is_choice else None
    head = Head(
        key=table.text("key"),
        name=table.text("name"),
        kind=Kind(kind),
        question=table.text("question", default=""),
        labels=() if is_rubric else _labels(table, has_parent=bool(parent), is_span=kind == Kind.SPANS),
        groups=tuple(_group(group) for group in table.tables("groups")) if is_rubric else (),
        parent=parent,
        ordered=table.boolean("ordered", default=False) if is_choice else False,
        urgent=table.text("urgent", default="") or None if is_choice else None,
        threshold=table.probability("threshold", default=0.5) if kind == Kind.CHOICES else 0.5,
        aliases=table.texts("aliases"),
    )
    table.done()
    if is_choice and len(head.labels) < 2:
        raise SchemaError(f"{table.place}.labels has {len(head.labels)}; a choice needs 2 or more")
    _refuse_repeats(f"{table.place}.labels", (key for one in head.labels for key in (one.key, *one.replaces)))
    _refuse_namesakes(f"{table.place}.labels", ((label.parent, label.spellings) for label in head.labels))
    _refuse_repeats(f"{table.place}.groups", (group.key for group in head.groups))
    _refuse_namesakes(f"{table.place}.groups", ((None, (group.key, group.name)) for group in head.groups))
    if head.urgent is not None:
        ends = (head.keys[0], head.keys[-1]) if head.ordered else ()
        if head.urgent not in ends:
            expected = f"one of the ends {ends[0]!r} and {ends[1]!r}" if ends else "ordered = true beside it"
            raise SchemaError(f"{table.place}.urgent is {head.urgent!r}; expected {expected}")
    return head


def _labels(head: _Table, *, has_parent: bool, is_span: bool) -> tuple[Label, ...]:
    return tuple(_label(table, has_parent=has_parent, is_span=is_span) for table in head.tables("labels"))


def _label(table: _Table, *, has_parent: bool, is_span: bool) -> Label:
    label = Label(
        key=table.text("key"),
        name=table.text("name"),
        definition=table.text("definition"),
        aliases=table.texts("aliases"),
        replaces=table.texts("replaces"),
        parent=table.text("parent") if has_parent else None,
        safety="" if is_span else table.text("safety", default=""),
    )
    table.done()
    return label


def _group(table: _Table) -> Group:
    group = Group(
        key=table.text("key"),
        name=table.text("name"),
        criteria=tuple(_criterion(criterion) for criterion in table.tables("criteria")),
        not_applicable=table.texts("not_applicable"),
    )
    table.done()
    _refuse_repeats(f"{table.place}.criteria", (criterion.key for criterion in group.criteria))
    _refuse_namesakes(f"{table.place}.criteria", ((None, (one.key, one.name)) for one in group.criteria))
    return group


def _criterion(table: _Table) -> Criterion:
    criterion = Criterion(table.text("key"), table.text("name"), table.text("definition"))
    table.done()
    return criterion


def _check_parents(schema: Schema) -> None:
    for position, head in enumerate(schema.heads):
        if head.parent is None:
            continue
        place = f"heads[{position}]"
        earlier = {other.key: other for other in schema.heads[:position] if other.kind == Kind.CHOICE}
        parent = earlier.get(head.parent)
        if parent is None:
            known = ", ".join(earlier) or "none there"
            raise SchemaError(f"{place}.parent is {head.parent!r}; expected a choice head above it ({known})")
        for number, label in enumerate(head.labels):
            if label.parent not in parent.by_key:
                raise SchemaError(
                    f"{place}.labels[{number}].parent is {label.parent!r}; "
                    f"expected a label key of {parent.key}: {', '.join(parent.keys)}"
                )
        for key in parent.keys:
            if not head.children(key):
                raise SchemaError(
                    f"{place}.labels has none whose parent is {key!r}; each label of {parent.key} needs one"
                )


def _refuse_repeats(place: str, keys: Iterator[str] | tuple[str, ...]) -> None:
    seen: set[str] = set()
    for key in keys:
        if key in seen:
            raise SchemaError(f"{place} has the key {key!r} twice; keys must differ")
        seen.add(key)


def _refuse_namesakes(place: str, called: Iterable[tuple[str | None, tuple[str, ...]]]) -> None:
    """Refuse what a file or a page could mean two of; under different parents, the answer above tells which."""
    seen: dict[tuple[str | None, str], int] = {}
    for number, (parent, spellings) in enumerate(called):
        for spelling in spellings:
            other = seen.setdefault((parent, folded(spelling)), number)
            if other != number:
                raise SchemaError(
                    f"{place}[{other}] and {place}[{number}] are both called {spelling!r}; "
                    "keys, names and aliases must differ in more than case and spaces"
                )


class _Table:
    """A TOML table that reports the full place of what is wrong, and which keys nobody asked for."""

    def __init__(self, values: dict[str, Any], place: str) -> None:
        self.values = dict(values)
        self.place = place

    def text(self, key: str, *, default: str | None = None) -> str:
        value = self._take(key, default)
        if not isinstance(value, str) or (default is None and not value.strip()):
            raise self._wrong(key, value, "a text that is not empty")
        return value.strip()

    def texts(self, key: str) -> tuple[str, ...]:
        value = self._take(key, [])
        if not isinstance(value, list) or not all(isinstance(item, str) and item.strip() for item in value):
            raise self._wrong(key, value, "a list of texts")
        return tuple(item.strip() for item in value)

    def integer(self, key: str) -> int:
        value = self._take(key, None)
        if not isinstance(value, int) or isinstance(value, bool):
            raise self._wrong(key, value, "a whole number")
        return value

    def boolean(self, key: str, *, default: bool) -> bool:
        value = self._take(key, default)
        if not isinstance(value, bool):
            raise self._wrong(key, value, "true or false")
        return value

    def probability(self, key: str, *, default: float) -> float:
        value = self._take(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1:
            raise self._wrong(key, value, "a number between 0 and 1")
        return float(value)

    def one_of(self, key: str, allowed: tuple[str, ...]) -> str:
        value = self.text(key)
        if value not in allowed:
            raise self._wrong(key, value, "one of " + ", ".join(allowed))
        return value

    def tables(self, key: str) -> list[_Table]:
        value = self._take(key, None)
        if not isinstance(value, list) or not value or not all(isinstance(item, dict) for item in value):
            raise self._wrong(key, value, "one or more tables")
        return [_Table(item, f"{self._at(key)}[{number}]") for number, item in enumerate(value)]

    def done(self) -> None:
        """Refuse keys that were not read: a misspelt one must not be lost in silence."""
        for key in self.values:
            raise SchemaError(f"{self._at(key)} is not a key that is known here; remove it or mend its spelling")

    def _take(self, key: str, default: object) -> Any:
        if key not in self.values and default is None:
            raise SchemaError(f"{self._at(key)} is missing")
        return self.values.pop(key, default)

    def _at(self, key: str) -> str:
        return f"{self.place}.{key}" if self.place else key

    def _wrong(self, key: str, value: object, expected: str) -> SchemaError:
        return SchemaError(f"{self._at(key)} is {value!r}; expected {expected}")
