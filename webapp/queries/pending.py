"""Which cases the version in use has not answered yet."""

from __future__ import annotations

from django.db.models import Q, QuerySet
from django.utils import timezone

from webapp.models import Case, CaseState, Schema
from webapp.models.cases import OPEN_STATES
from webapp.queries import schemas


def cases(schema: Schema) -> QuerySet[Case]:
    """Return the cases to predict, open ones and those of most harm first.

    Open cases are answered by whichever version answers now. Decided ones are answered once, by a trained version, to
    show where people and model differ.
    """
    version = schemas.answering_version(schema)
    wanted = Q(state__in=OPEN_STATES) & (Q(current_prediction=None) | ~Q(current_prediction__version=version))
    if version.is_trained:
        wanted |= Q(state=CaseState.DECIDED, current_prediction=None)
    cases = Case.objects.filter(wanted, schema=schema)
    return cases.alias(is_decided=Q(state=CaseState.DECIDED)).order_by("is_decided", "-rank", "id")


def free_cases(schema: Schema) -> QuerySet[Case]:
    """Return the cases to predict that no worker is predicting at the moment."""
    return cases(schema).filter(Q(predicting_until=None) | Q(predicting_until__lt=timezone.now()))
