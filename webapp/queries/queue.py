"""The lists of cases: what waits, most harm first."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from django.db.models import Q

from webapp.models import Case, CaseState, Flag, Schema
from webapp.queries import schemas, wording

PAGE = 50


@dataclass(frozen=True, slots=True)
class QueueRow:
    """One line of a list."""

    case: Case
    reason: str
    age: str
    answers: tuple[str, ...]
    held_by: str


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list, and the key of the next."""

    rows: tuple[QueueRow, ...]
    next_key: str
    total: int


def page(state: CaseState, *, schema: Schema | None = None, after: str = "") -> Page:
    """Return cases in one state in the order of the queue, from the key of the page before on.

    The key is the rank and id of the last row, so that a page costs the same however deep it is.
    """
    cases = Case.objects.filter(state=state)
    if schema is not None:
        cases = cases.filter(schema=schema)
    total = cases.count()
    if position := _position(after):
        rank, pk = position
        cases = cases.filter(Q(rank__lt=rank) | Q(rank=rank, pk__gt=pk))
    found = list(cases.select_related("schema", "current_prediction", "held_by").order_by("-rank", "id")[: PAGE + 1])
    next_key = f"{found[PAGE - 1].rank!r}_{found[PAGE - 1].pk}" if len(found) > PAGE else ""
    return Page(tuple(_rows(found[:PAGE])), next_key, total)


def _position(key: str) -> tuple[float, int] | None:
    rank, _, pk = key.partition("_")
    try:
        return float(rank), int(pk)
    except ValueError:
        return None


def _rows(cases: list[Case]) -> list[QueueRow]:
    flags: dict[int, list[Flag]] = defaultdict(list)
    for flag in Flag.objects.filter(case__in=cases, resolved_at=None):
        flags[flag.case_id].append(flag)
    parsed = {schema.pk: schemas.newest_version(schema).parsed for schema in {case.schema for case in cases}}
    rows = []
    for case in cases:
        schema = parsed[case.schema_id]
        reason = wording.reason(schema, flags[case.pk], blind=case.is_audit)
        held = case.held_by.get_username() if case.held_by and case.is_held else ""
        doubted = {flag.head for flag in flags[case.pk]} if case.current_prediction and not case.is_audit else set()
        answers = tuple(
            wording.answer(head, case.current_prediction.heads[head.key]["answer"])
            for head in schema.heads
            if head.key in doubted and case.current_prediction and head.key in case.current_prediction.heads
        )
        rows.append(QueueRow(case, reason, wording.age(case.received_at), answers, held))
    return rows
