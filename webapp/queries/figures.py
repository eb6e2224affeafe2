"""The figures of a schema over time: each is a table, and what its chart is drawn from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db.models import Count, Exists, F, OuterRef, Q, Value
from django.db.models.functions import Floor, Least, TruncDate
from django.utils.translation import gettext as _

from ml import metrics
from ml.schema import Schema as ParsedSchema
from webapp.models import Annotation, AnnotatorKind, Evaluation, Flag, HeadScore, ModelKind, Origin, Schema
from webapp.queries import clock, schemas
from webapp.queries.filters import BLIND
from webapp.queries.learning import MEASURES

DAYS = 30
MOST_PEOPLE = 20
MOST_CYCLES = 20
BINS = 10


@dataclass(frozen=True, slots=True)
class Figure:
    """A table with a line of what it says; its first column names the rows, the others hold numbers or nothing."""

    name: str
    title: str
    says: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to draw."""
        return not self._filled

    @property
    def is_point(self) -> bool:
        """Whether its curves would be single points; the queue has one for each day."""
        return self.name == "accuracy" and self._filled == 1

    @property
    def _filled(self) -> int:
        return sum(any(row[1:]) for row in self.rows)


def all_of(schema: Schema) -> list[Figure]:
    """Return all figures of a schema."""
    return [make(schema) for make in FIGURES.values()]


def queue(schema: Schema) -> Figure:
    """Count by day the cases that came to people, by their first flag, and those whose last flag was closed."""
    since = clock.midnight() - timedelta(days=DAYS - 1)
    flags = Flag.objects.filter(case__schema=schema)
    same_case = Flag.objects.filter(case=OuterRef("case"))
    earlier = same_case.filter(pk__lt=OuterRef("pk"))
    closed_later = Q(resolved_at__gt=OuterRef("resolved_at")) | Q(
        resolved_at=OuterRef("resolved_at"), pk__gt=OuterRef("pk")
    )
    later = same_case.filter(Q(resolved_at=None) | closed_later)
    came = _by_day(flags.filter(~Exists(earlier), raised_at__gte=since), "raised_at")
    left = _by_day(flags.filter(~Exists(later), resolved_at__gte=since), "resolved_at")
    days = [(since + timedelta(days=at)).date() for at in range(DAYS)]
    rows = tuple((day, came.get(day, 0), left.get(day, 0)) for day in days)
    says = _("In %(days)d days %(came)d cases came to people and %(left)d left them.") % {
        "days": DAYS,
        "came": sum(row[1] for row in rows),
        "left": sum(row[2] for row in rows),
    }
    return Figure("queue", _("The queue, in and out"), says, (_("Day"), _("came"), _("left")), rows)


def people(schema: Schema) -> Figure:
    """Count the cases that each person answered, in Label Studio and in review."""
    since = clock.midnight() - timedelta(days=DAYS - 1)
    answers = Annotation.objects.filter(
        case__schema=schema,
        created_at__gte=since,
        is_skip=False,
        is_deletion=False,
        origin__in=(Origin.LABEL_STUDIO, Origin.REVIEW),
        annotator__kind=AnnotatorKind.PERSON,
    )
    found = (
        answers.values("annotator__name")
        .annotate(
            annotated=Count("case", distinct=True, filter=Q(origin=Origin.LABEL_STUDIO)),
            reviewed=Count("case", distinct=True, filter=Q(origin=Origin.REVIEW)),
        )
        .order_by(-(F("annotated") + F("reviewed")), "annotator__name")
        .values_list("annotator__name", "annotated", "reviewed")
    )
    rows = tuple(found[:MOST_PEOPLE])
    says = _("Cases that each person answered in %(days)d days.") % {"days": DAYS}
    columns = (_("Person"), _("labelled"), _("reviewed"))
    return Figure("people", _("Labels per person"), says, columns, rows)


def accuracy(schema: Schema) -> Figure:
    """Return how good each version was on the test cases of its own cycle, head by head."""
    first = Evaluation.objects.filter(version__schema=schema, version__kind=ModelKind.TRAINED)
    measured = first.order_by("version", "id").distinct("version").values("pk")
    newest = Evaluation.objects.filter(pk__in=measured).order_by("-version__number")[:MOST_CYCLES]
    found = [(one.version.number, one.heads) for one in newest.select_related("version")][::-1]
    heads = [head for head in _parsed(schema).heads if any(head.key in by_head for _, by_head in found)]
    rows = tuple(
        (number, *(by_head.get(head.key, {}).get(metrics.main_metric(head)) for head in heads))
        for number, by_head in found
    )
    columns = (_("Version"), *(f"{head.name} ({MEASURES[head.kind]})" for head in heads))
    says = _("Each version on the test cases of its own cycle; these grow, so that versions are not quite comparable.")
    return Figure("accuracy", _("Accuracy per cycle"), says, columns, rows)


def confidence(schema: Schema) -> Figure:
    """Count open and decided cases by how sure the model is of each head; not those that people answer blind."""
    cases = schema.cases.exclude(BLIND).exclude(current_prediction=None)
    scores = HeadScore.objects.filter(prediction__in=cases.values("current_prediction")).exclude(confidence=None)
    binned = scores.values_list("head", Least(Floor(F("confidence") * BINS), Value(float(BINS - 1))))
    counts: dict[str, dict[int, int]] = defaultdict(dict)
    for key, place, n in binned.annotate(n=Count("pk")):
        counts[key][int(place)] = n
    heads = [head for head in _parsed(schema).heads if head.key in counts]
    step = 100 // BINS
    rows = tuple(
        (f"{at * step}–{(at + 1) * step} %", *(counts[head.key].get(at, 0) for head in heads))  # noqa: RUF001
        for at in range(BINS)
    )
    says = _("Cases by how sure the model that answered them is of each head.")
    return Figure("confidence", _("Confidence per head"), says, (_("Confidence"), *(head.name for head in heads)), rows)


FIGURES: Mapping[str, Callable[[Schema], Figure]] = {
    "queue": queue,
    "people": people,
    "accuracy": accuracy,
    "confidence": confidence,
}


def _by_day(flags: Any, moment: str) -> dict[Any, int]:
    return dict(flags.annotate(day=TruncDate(moment)).values_list("day").annotate(n=Count("case", distinct=True)))


def _parsed(schema: Schema) -> ParsedSchema:
    return schemas.newest_version(schema).parsed
