"""The audit log: who saw, revealed, changed, exported and put in use what, the newest first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime
from heapq import merge
from itertools import islice
from typing import Any

from django.db.models import Q, QuerySet

from webapp.models import AuditEvent, Reveal, Sighting

PAGE = 100
SEEN, REVEALED = "case seen", "names revealed"
# Where events at the same microsecond stand; tables of their own come after the log
SOURCES = ("event", "sighting", "reveal")
NUMBERS = {"event": AuditEvent, "sighting": Sighting, "reveal": Reveal}


@dataclass(frozen=True, slots=True)
class Asked:
    """What the log is limited to; empty values limit nothing. Days are those of the server's zone, both included.

    `subjects` are written as lines hold them; any of them fits.
    """

    person: str = ""
    action: str = ""
    subjects: tuple[str, ...] = ()
    since: date | None = None
    until: date | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One line: facts are ids and numbers, and the words of a reveal."""

    at: datetime
    source: str
    number: int
    who: str
    action: str
    subject: str
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Where a page begins that follows this line."""
        return f"{self.at.isoformat()}_{self.source}_{self.number}"


def page(asked: Asked, *, after: str = "") -> tuple[list[Entry], str]:
    """Return a page of lines from a key on, and the key of the next; "" at the end. A deep page costs as the first."""
    found = list(islice(_lines(asked, after, PAGE + 1), PAGE + 1))
    return found[:PAGE], found[PAGE - 1].key if len(found) > PAGE else ""


def lines(asked: Asked) -> Iterator[Entry]:
    """Yield all lines, a page at a time from the database."""
    after = ""
    while True:
        found, after = page(asked, after=after)
        yield from found
        if not after:
            return


def _lines(asked: Asked, after: str, most: int) -> Iterator[Entry]:
    position = _position(after)
    each = [_entries(source, asked, position, most) for source in SOURCES if _can_be(source, asked)]
    return merge(*each, key=lambda one: (-one.at.timestamp(), SOURCES.index(one.source), -one.number))


def _can_be(source: str, asked: Asked) -> bool:
    """Whether a source has lines of the action that is asked for."""
    action = asked.action.casefold()
    return source == "event" or action in (SEEN if source == "sighting" else REVEALED)


def _entries(source: str, asked: Asked, position: tuple[datetime, int, int] | None, most: int) -> list[Entry]:
    rows: QuerySet[Any] = NUMBERS[source]._default_manager.all()
    who = "actor" if source == "event" else "person"
    if asked.person:
        rows = rows.filter(**{f"{who}__username__iexact": asked.person})
    if asked.since:
        rows = rows.filter(at__date__gte=asked.since)
    if asked.until:
        rows = rows.filter(at__date__lte=asked.until)
    if source == "event":
        rows = rows.filter(subject__in=asked.subjects) if asked.subjects else rows
        rows = rows.filter(action__icontains=asked.action) if asked.action else rows
    elif asked.subjects:
        parts = [subject.partition(" ") for subject in asked.subjects]
        cases = [number for kind, _, number in parts if kind == "case" and number.isdecimal() and len(number) <= 18]
        rows = rows.filter(case__in=map(int, cases))
    if position is not None:
        at, place, number_there = position
        here = SOURCES.index(source)
        same = Q(pk__lt=number_there) if here == place else Q(pk__isnull=here < place)
        rows = rows.filter(Q(at__lt=at) | Q(at=at) & same, at__lte=at)
    return [_entry(source, row) for row in rows.select_related(who).order_by("-at", "-pk")[:most]]


def _entry(source: str, row: Any) -> Entry:
    if isinstance(row, AuditEvent):
        who = row.actor.username if row.actor else ""
        return Entry(row.at, source, row.pk, who, row.action, row.subject, row.facts)
    facts = {}
    if isinstance(row, Reveal):
        facts = {"reason": row.get_reason_display(), "note": row.note, "until": row.until.isoformat()}
    action = REVEALED if isinstance(row, Reveal) else SEEN
    return Entry(row.at, source, row.pk, row.person.username, action, f"case {row.case_id}", facts)


def _position(key: str) -> tuple[datetime, int, int] | None:
    at, _, rest = key.partition("_")
    source, _, number = rest.partition("_")
    try:
        return datetime.fromisoformat(at), SOURCES.index(source), int(number)
    except ValueError:
        return None
