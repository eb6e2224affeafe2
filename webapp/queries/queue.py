"""The lists of cases: what waits, most harm first or urgent first."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.db.models import F, Q, QuerySet
from django.db.models.fields.tuple_lookups import Tuple, TupleLessThanOrEqual  # type: ignore[import-untyped]

from webapp.models import Case, CaseState, Flag
from webapp.queries import filters as filtering
from webapp.queries import schemas, wording
from webapp.queries.filters import URGENT_FIRST, Filters

PAGE = 50
LISTED = (CaseState.REVIEW, CaseState.LABELLING, CaseState.ACCEPTED, CaseState.DECIDED, CaseState.NEW)
MOST_COUNTED = 1000
ORDERS = {"": ("-rank", "id"), URGENT_FIRST: ("-urgency", "-rank", "id")}


class Count(int):
    """A number of cases, counted as far as `MOST_COUNTED`: further would cost more the more there are."""

    def __str__(self) -> str:
        return f"{MOST_COUNTED:,}+" if self > MOST_COUNTED else f"{self:,}"


@dataclass(frozen=True, slots=True)
class QueueRow:
    """One line of a list."""

    case: Case
    reason: str
    age: str
    answers: tuple[str, ...]
    held: str
    harm: str  # What the expected harm consists of


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list, and the key of the next."""

    rows: tuple[QueueRow, ...]
    next_key: str
    total: Count


def page(filters: Filters, user: AbstractBaseUser | AnonymousUser, *, after: str = "") -> Page:
    """Return the cases that fit in the order that is asked for, from the key of the page before on.

    The key is the urgency, rank and id of the last row, so that a page costs the same however deep it is.
    """
    cases = filtering.cases(filters, user)
    found = list(listed(cases, order=filters.order, after=after)[: PAGE + 1])
    next_key = _key(found[PAGE - 1]) if len(found) > PAGE else ""
    return Page(tuple(_rows(found[:PAGE], user)), next_key, count(cases))


def listed(cases: QuerySet[Case], *, order: str = "", after: str = "") -> QuerySet[Case]:
    """Return cases in an order of `ORDERS`, from a key on."""
    if position := _position(after):
        urgency, rank, pk = position
        # What compares with the place itself tells the index where to begin
        if order == URGENT_FIRST:
            here = TupleLessThanOrEqual(Tuple(F("urgency"), F("rank")), (urgency, rank))
            cases = cases.filter(here, Q(urgency__lt=urgency) | Q(rank__lt=rank) | Q(pk__gt=pk))
        else:
            cases = cases.filter(Q(rank__lt=rank) | Q(pk__gt=pk), rank__lte=rank)
    cases = cases.select_related("schema", "current_prediction", "held_by").order_by(*ORDERS[order])
    return cases.defer("current_prediction__looks")  # Most of a row, and no list shows them


def count(cases: QuerySet[Case]) -> Count:
    """Count cases, as far as they are counted."""
    return Count(cases[: MOST_COUNTED + 1].count())


def elsewhere(filters: Filters, user: AbstractBaseUser | AnonymousUser) -> list[tuple[CaseState, str, Count]]:
    """Return the other states in which cases fit, each with the query of its address and their number."""
    found = []
    for state in LISTED:
        there = replace(filters, state=state.value)
        number = count(filtering.cases(there, user)) if there != filters else Count(0)
        if number:
            found.append((state, there.query, number))
    return found


def waiting() -> Count:
    """Count the cases in review."""
    return count(Case.objects.filter(state=CaseState.REVIEW))


def _key(case: Case) -> str:
    return f"{case.urgency!r}_{case.rank!r}_{case.pk}"


def _position(key: str) -> tuple[float, float, int] | None:
    try:
        urgency, rank, pk = key.split("_")
        return float(urgency), float(rank), int(pk)
    except ValueError:
        return None


def _rows(cases: list[Case], user: AbstractBaseUser | AnonymousUser) -> list[QueueRow]:
    flags: dict[int, list[Flag]] = defaultdict(list)
    for flag in Flag.objects.filter(case__in=cases, resolved_at=None):
        flags[flag.case_id].append(flag)
    found = {case.schema for case in cases}
    parsed = {schema.pk: schemas.newest_version(schema).parsed for schema in found}
    rules = {schema.pk: schemas.policy(schema).parsed for schema in found}
    rows = []
    for case in cases:
        schema = parsed[case.schema_id]
        reason = wording.reason(schema, flags[case.pk], blind=case.is_audit)
        doubted = {flag.head for flag in flags[case.pk]} if case.current_prediction and not case.is_audit else set()
        answers = tuple(
            wording.answer(head, case.current_prediction.heads[head.key]["answer"])
            for head in schema.heads
            if head.key in doubted and case.current_prediction and head.key in case.current_prediction.heads
        )
        harm = wording.harm(schema, rules[case.schema_id], case)
        rows.append(QueueRow(case, reason, wording.age(case.received_at), answers, wording.held(case, user), harm))
    return rows
