"""What a new version of a schema would change, and what that touches."""

from __future__ import annotations

from dataclasses import dataclass

from django.contrib.auth.models import User
from django.db.models import Q, QuerySet

from ml.schema import Head, Kind
from ml.schema import Schema as ParsedSchema
from ml.succession import Change, LabelChange, Succession, compare
from webapp.errors import NotApplicable
from webapp.models import AuditEvent, Case, Label, Run, Schema, SchemaVersion
from webapp.models.cases import GONE_STATES
from webapp.models.learning import OPEN_RUN_STATES
from webapp.queries import schemas

APPLIED = "schema applied"  # As the audit log calls it


@dataclass(frozen=True, slots=True)
class Touched:
    """One line of a preview: what changes in words, and how much of it people have answered."""

    words: str
    labels: int
    cases: int
    in_label_studio: int  # Of these cases, the ones that are there


@dataclass(frozen=True, slots=True)
class Preview:
    """What applying a schema would do."""

    schema: Schema
    old: ParsedSchema
    succession: Succession
    lines: tuple[Touched, ...]
    open_run: Run | None  # It ends as one of the version before


@dataclass(frozen=True, slots=True)
class Applied:
    """A version of a schema, how many labels its heads have, and who put it in use and why, where somebody did."""

    version: SchemaVersion
    labels: int
    by: User | None = None
    why: str = ""


def preview(parsed: ParsedSchema) -> Preview:
    """Return what applying a schema would change.

    Raises:
        NotApplicable: it is new, known already, or older than the one in use.
    """
    row = Schema.objects.filter(name=parsed.name).first()
    if row is None:
        raise NotApplicable(f"{parsed.name} is no schema that is in use; register it by importing cases.")
    newest = schemas.newest_version(row)
    if parsed.version <= newest.number:
        raise NotApplicable(f"version is {parsed.version}; expected more than {newest.number}, which is in use")
    old = newest.parsed
    for head in parsed.heads:
        if head.key in old.by_key and old.by_key[head.key].kind != head.kind:
            was = old.by_key[head.key].kind
            raise NotApplicable(f"{head.key} is of kind {head.kind} and was {was}; give the new head a key of its own")
    found = compare(old, parsed)
    lines = [_line(f"head {key}: added", Label.objects.none()) for key in found.added_heads]
    lines += [_line(f"head {key}: removed", of_head(row, key)) for key in found.removed_heads]
    lines += [_line(_words(one), of_label(row, old.by_key.get(one.head), one.key)) for one in found.labels]
    return Preview(row, old, found, tuple(lines), row.runs.filter(state__in=OPEN_RUN_STATES).first())


def history() -> list[tuple[Schema, list[Applied]]]:
    """Return the versions of each schema, the newest first."""
    return [(row, _applied(row)) for row in Schema.objects.order_by("-name")]


def _applied(row: Schema) -> list[Applied]:
    events = AuditEvent.objects.filter(action=APPLIED, subject=f"schema {row.name}").select_related("actor")
    said = {event.facts.get("version"): event for event in events}
    found = []
    for version in row.versions.order_by("-number"):
        labels, event = sum(len(head.labels) for head in version.parsed.heads), said.get(version.number)
        by, why = (event.actor, event.facts.get("reason", "")) if event else (None, "")
        found.append(Applied(version, labels, by, why))
    return found


def of_head(schema: Schema, key: str) -> QuerySet[Label]:
    """Return the labels of a head, without those of cases that are gone."""
    return Label.objects.filter(case__schema=schema, head=key).exclude(case__state__in=GONE_STATES)


def of_label(schema: Schema, head: Head | None, key: str) -> QuerySet[Label]:
    """Return the labels of a head whose answer holds a label."""
    if head is None:
        return Label.objects.none()
    holds = {
        Kind.CHOICE: Q(answer=key),
        Kind.CHOICES: Q(answer__contains=[key]),
        Kind.SPANS: Q(answer__contains=[{"label": key}]),
    }
    return of_head(schema, head.key).filter(holds[head.kind])


def _line(words: str, labels: QuerySet[Label]) -> Touched:
    cases = Case.objects.filter(pk__in=labels.values("case"))
    there = cases.filter(label_studio_task__isnull=False, label_studio_task__withdrawn_at=None)
    return Touched(words, labels.count(), cases.count(), there.count())


def _words(one: LabelChange) -> str:
    into = f" into {one.into}" if one.change == Change.MERGED else f", now {one.into}" if one.into != one.key else ""
    return f"{one.head}.{one.key}: {one.change}{into if one.into else ''}"
