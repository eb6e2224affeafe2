"""Lines of the audit log in the words that people know: names for ids, words for values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from django.contrib.auth.models import User
from django.db.models import Q
from django.urls import reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from webapp.models import Annotator, Case, Cause, Import, ModelVersion, Policy, Run, Schema, Subscription, Token
from webapp.queries import schemas
from webapp.queries.trail import Entry

KINDS: dict[str, tuple[Any, Callable[[Any], str]]] = {
    "case": (Case, lambda row: f"case {row.external_id}"),
    "person": (User, lambda row: f"person {row.get_username()}"),
    "annotator": (Annotator, lambda row: row.name),
    "version": (ModelVersion, lambda row: f"{row} of {row.schema.title}"),
    "run": (Run, lambda row: f"training {row.pk} of {row.schema.title}"),
    "import": (Import, lambda row: f"import of {row.name}"),
    "policy": (Policy, lambda row: f"policy of {row.schema.title}, {_moment(row.created_at)}"),
    "token": (Token, lambda row: f"token {row.name}"),
    "subscription": (Subscription, lambda row: f"webhook at {urlsplit(row.address).netloc}"),
}
WITH_SCHEMA = ("case", "version", "run", "policy")
REFERENCES = {  # Facts that are ids, and of what
    "to": "annotator",
    "user": "person",
    "token": "token",
    "replaced": "version",
    "run": "run",
    "resumes": "run",
    "instead_of": "policy",
}
UNSAID = {"escalation", "review", "promotion"}  # Ids of rows that have no name; the export holds them
HEADS = {"changed", "heads"}
WORDS = {
    "to": gettext_lazy("asked"),
    "user": gettext_lazy("for"),
    "replaced": gettext_lazy("instead of"),
    "instead_of": gettext_lazy("instead of"),
    "resumes": gettext_lazy("goes on from"),
    "cause": gettext_lazy("asked for by"),
    "changed": gettext_lazy("changed"),
    "heads": gettext_lazy("questions"),
    "why": gettext_lazy("because"),
}


@dataclass(frozen=True, slots=True)
class Named:
    """One line as people read it; `address` is the page of its subject, where it has one."""

    entry: Entry
    subject: str
    details: str
    address: str = ""


def named(entries: Sequence[Entry]) -> list[Named]:
    """Return lines in words. What is gone, or was never named, stands as it was written. One query for each kind."""
    names = _Names(entries)
    return [
        Named(entry, names.subject(entry.subject), names.details(entry), names.address(entry.subject))
        for entry in entries
    ]


class _Names:
    """What the ids of some lines are called."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        wanted: dict[str, set[int]] = {}
        for kind, number in _references(entries):
            wanted.setdefault(kind, set()).add(number)
        self.rows: dict[tuple[str, int], Any] = {}
        for kind, numbers in wanted.items():
            found = KINDS[kind][0]._default_manager.filter(pk__in=numbers)
            if kind in WITH_SCHEMA:
                found = found.select_related("schema")
            self.rows |= {(kind, row.pk): row for row in found}
        self.schemas = {row.name: row for row in Schema.objects.all()}
        self.heads: dict[int, dict[str, str]] = {}  # By schema

    def subject(self, written: str) -> str:
        """Return what a line is about."""
        key = _key(written)
        if key is not None and key in self.rows:
            return KINDS[key[0]][1](self.rows[key])
        schema = self.schemas.get(written.removeprefix("schema "))
        return schema.title if schema else written

    def address(self, written: str) -> str:
        """Return the address of the case that a line is about; "" of anything else."""
        key = _key(written)
        return reverse("case", args=[key[1]]) if key is not None and key[0] == "case" and key in self.rows else ""

    def details(self, entry: Entry) -> str:
        """Return the facts of a line, without those that say nothing."""
        said = []
        for name, value in entry.facts.items():
            if name in UNSAID or value is None or value in ("", [], {}):
                continue
            words = WORDS[name] if name in WORDS else name.replace("_", " ")
            said.append(f"{words}: {self._value(entry, name, value)}")
        return "; ".join(said)

    def _value(self, entry: Entry, name: str, value: Any) -> str:
        if name == "cause":
            is_command = value == Cause.PERSON and not entry.who  # As when the demo is set up
            return _("a command") if is_command else str(dict(Cause.choices).get(value, value))
        if name in REFERENCES and isinstance(value, int):
            key = (REFERENCES[name], value)
            words = KINDS[key[0]][1](self.rows[key]) if key in self.rows else str(value)
            return words.removeprefix("person ").removeprefix("token ")
        if name in HEADS and isinstance(value, list):
            return ", ".join(self._head(entry, str(key)) for key in value)
        if name == "schema" and value in self.schemas:
            return str(self.schemas[value].title)
        if name == "seconds":
            return _("%(number)s s") % {"number": value}
        return _plain(value)

    def _head(self, entry: Entry, key: str) -> str:
        """Return the name of a head of the case that a line is about."""
        case = self.rows.get(_key(entry.subject) or ("", 0))
        if not isinstance(case, Case):
            return key
        if case.schema_id not in self.heads:
            parsed = schemas.newest_version(case.schema).parsed
            self.heads[case.schema_id] = {head.key: head.name for head in parsed.heads}
        return self.heads[case.schema_id].get(key, key)


def subjects(written: str) -> list[str]:
    """Return the subjects, as lines hold them, that somebody means: a case by its own id, a person by their name."""
    kind, _space, name = written.partition(" ")
    found: list[str] = []
    if kind.casefold() in KINDS:
        written = f"{kind.casefold()} {name}"
    if kind.casefold() == "person":
        found = [f"person {pk}" for pk in User.objects.filter(username__iexact=name).values_list("pk", flat=True)]
    else:
        ids = Q(external_id__in=(written, name)) if kind.casefold() == "case" else Q(external_id=written)
        found = [f"case {pk}" for pk in Case.objects.filter(ids).values_list("pk", flat=True)]
    return [*found, written]


def _references(entries: Iterable[Entry]) -> Iterable[tuple[str, int]]:
    for entry in entries:
        if (key := _key(entry.subject)) is not None:
            yield key
        for name, kind in REFERENCES.items():
            if isinstance(number := entry.facts.get(name), int):
                yield kind, number


def _key(subject: str) -> tuple[str, int] | None:
    kind, _space, number = subject.partition(" ")
    return (kind, int(number)) if kind in KINDS and number.isdecimal() and len(number) <= 18 else None


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    if isinstance(value, list):
        return ", ".join(_plain(one) for one in value)
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plain(one)}" for key, one in value.items())
    try:
        return _moment(datetime.fromisoformat(value)) if isinstance(value, str) and "T" in value else str(value)
    except ValueError:
        return str(value)


def _moment(at: datetime) -> str:
    return date_format(timezone.localtime(at), "j M Y H:i")
