"""Which cases the version in use has not answered yet."""

from __future__ import annotations

from django.db.models import Min, Q, QuerySet
from django.utils import timezone

from webapp.models import Case, CaseState, Schema
from webapp.models.cases import OPEN_STATES
from webapp.queries import health, schemas

MOST_ATTEMPTS = 3  # A case that no model could be asked about so often is for people


def cases(schema: Schema) -> QuerySet[Case]:
    """Return the cases to predict, open ones and those of most harm first.

    Open cases are answered by whichever version answers now. Decided ones are answered once, by a trained version, to
    show where people and model differ. A case that failed before comes after the others, and one that failed too often
    only for as long as it is not known whether its worker has died.
    """
    version = schemas.answering_version(schema)
    wanted = Q(state__in=OPEN_STATES) & (Q(current_prediction=None) | ~Q(current_prediction__version=version))
    if version.is_trained:
        wanted |= Q(state=CaseState.DECIDED, current_prediction=None)
    is_left_to_people = Q(predicting_attempts__gte=MOST_ATTEMPTS, predicting_until=None)
    cases = Case.objects.filter(wanted & ~is_left_to_people, schema=schema)
    in_order = cases.alias(is_decided=Q(state=CaseState.DECIDED))
    return in_order.order_by("predicting_attempts", "is_decided", "-rank", "id")


def free_cases(schema: Schema) -> QuerySet[Case]:
    """Return the cases to predict that no worker is predicting at the moment."""
    return cases(schema).filter(Q(predicting_until=None) | Q(predicting_until__lt=timezone.now()))


def oldest_seconds() -> float:
    """Return for how long the oldest case has waited for its first prediction; 0 where none waits."""
    return health.age(Case.objects.filter(state=CaseState.NEW).aggregate(at=Min("received_at"))["at"]) or 0.0
