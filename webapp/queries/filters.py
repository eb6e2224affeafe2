"""What a list of cases may be limited to. Filters live in the address of the list, so it can be bookmarked and sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.db.models import Exists, OuterRef, Q, QuerySet, Subquery
from django.utils import timezone

from ml.schema import Kind
from webapp.models import Case, CaseState, Flag, HeadScore, Label, Schema
from webapp.models.cases import OPEN_STATES
from webapp.queries import schemas, search, wording
from webapp.roles import visible_cases

ANY = "any"
ME, NOBODY = "me", "nobody"
URGENT_FIRST = "urgent"  # An order
BLIND = Q(is_audit=True, state__in=OPEN_STATES)  # Nothing that the model said may be told of these


@dataclass(frozen=True, slots=True)
class Filters:
    """What a list is limited to; a default limits nothing, except that a list shows what is in review."""

    state: str = CaseState.REVIEW.value  # Or ANY
    schema: str = ""
    flag: str = ""
    head: str = ""
    label: str = ""  # "head:label", by key
    least: int | None = None  # Confidence in percent, of the head that is named, else of any
    most: int | None = None
    older: int | None = None  # Hours since the case came
    source: str = ""
    held: str = ""  # ME, NOBODY, or the id of a person
    search: int | None = None  # The id of a Search
    order: str = ""  # Most harm first, or URGENT_FIRST

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Filters:
        """Return the filters that are given by name; empty values and other names limit nothing."""
        known = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in given.items() if name in known and value not in ("", None)})

    def given(self) -> dict[str, Any]:
        """Return by name what limits the list."""
        default = asdict(Filters())
        return {name: value for name, value in asdict(self).items() if value != default[name]}

    @property
    def is_limited(self) -> bool:
        """Whether they leave anything out that a list shows by default."""
        return bool(self.given().keys() - {"order"})

    @property
    def query(self) -> str:
        """The part of an address after the question mark."""
        return urlencode(self.given())


def cases(filters: Filters, user: AbstractBaseUser | AnonymousUser) -> QuerySet[Case]:
    """Return the cases that fit, in no order; none if what was searched for is not kept any more."""
    found = visible_cases(user)
    if filters.state != ANY:
        found = found.filter(state=filters.state)
    if filters.schema:
        # Not by a join, so that the index of the schema's own queue serves
        found = found.filter(schema=Subquery(Schema.objects.filter(name=filters.schema).values("pk")))
    if filters.source:
        found = found.filter(source=filters.source)
    if filters.older is not None:
        found = found.filter(received_at__lte=timezone.now() - timedelta(hours=filters.older))
    if filters.held:
        found = found.filter(_held(filters.held, user))
    if filters.flag or filters.head:
        found = found.filter(pk__in=_flagged(filters))
    if filters.label or filters.least is not None or filters.most is not None:
        found = _answered(found.exclude(BLIND), filters)
    return found if filters.search is None else _searched(found, filters.search, user)


def _held(held: str, user: AbstractBaseUser | AnonymousUser) -> Q:
    now = timezone.now()
    if held == NOBODY:
        return Q(held_by=None) | Q(held_until__lte=now)
    return Q(held_by=user.pk if held == ME else held, held_until__gt=now)


def _flagged(filters: Filters) -> QuerySet[Flag, Any]:
    """Return the cases with such an open flag, but no blind one with a flag that tells what the model answered."""
    is_told = wording.TOLD_BLIND | Q(case__is_audit=False) | ~Q(case__state__in=OPEN_STATES)
    flags = Flag.objects.filter(is_told, resolved_at=None)
    if filters.flag:
        flags = flags.filter(kind=filters.flag)
    if filters.head:
        flags = flags.filter(head=filters.head)
    return flags.values("case")


def _answered(found: QuerySet[Case], filters: Filters) -> QuerySet[Case]:
    """Limit cases to a label and a confidence: of a decided case the label that stands, else what the model answers."""
    head, _, label = filters.label.partition(":")
    if label:
        found = found.filter(_labelled(head, label, state=filters.state))
    if filters.least is not None or filters.most is not None:
        scores = HeadScore.objects.filter(prediction=OuterRef("current_prediction"))
        if head or filters.head:
            scores = scores.filter(head=head or filters.head)
        if filters.least is not None:
            scores = scores.filter(confidence__gte=filters.least / 100)
        if filters.most is not None:
            scores = scores.filter(confidence__lte=filters.most / 100)
        found = found.filter(Exists(scores))
    return found


def _labelled(head: str, label: str, *, state: str) -> Q:
    decided = Q(Exists(Label.objects.filter(case=OuterRef("pk"), head=head, answer__contains=label)))  # It, or a list
    if any(one.key == head and one.kind == Kind.CHOICES for one in schemas.heads()):
        predicted = Q(**{f"current_prediction__heads__{head}__answer__contains": label})
    else:
        scores = HeadScore.objects.filter(prediction=OuterRef("current_prediction"), head=head, answer_key=label)
        predicted = Q(Exists(scores))
    if state == ANY:
        return Q(decided, state=CaseState.DECIDED) | Q(predicted, ~Q(state=CaseState.DECIDED))
    return decided if state == CaseState.DECIDED else predicted


def _searched(found: QuerySet[Case], asked: int, user: AbstractBaseUser | AnonymousUser) -> QuerySet[Case]:
    text = search.words(asked, user)
    return search.within(found, text, user) if text else found.none()
