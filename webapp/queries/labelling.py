"""What waits for annotators in Label Studio."""

from __future__ import annotations

from dataclasses import dataclass

from django.contrib.auth.models import User
from django.db.models import Exists, OuterRef, Q, QuerySet

from webapp.models import Annotation, Case, CaseState, LabelStudioTask, Origin, Schema
from webapp.queries import asks, clock


@dataclass(frozen=True, slots=True)
class Work:
    """The work of one schema for one annotator, in cases."""

    schema: Schema
    is_there: bool  # Whether Label Studio has any that they may answer
    waiting: int
    done_today: int
    done: int


def work(user: User) -> list[Work]:
    """Return, schema by schema, how many cases wait for this person, and how many they have answered."""
    answered = Annotation.objects.filter(
        annotator__user=user, origin=Origin.LABEL_STUDIO, superseded_by=None, is_skip=False, is_deletion=False
    )
    today = clock.midnight()
    found = []
    for schema in Schema.objects.order_by("-name"):
        mine = answered.filter(case__schema=schema)
        found.append(
            Work(
                schema=schema,
                is_there=tasks_for(user).filter(project__schema=schema).exists(),
                waiting=cases_for(user).filter(schema=schema).count(),
                done_today=mine.filter(created_at__gte=today).values("case").distinct().count(),
                done=mine.values("case").distinct().count(),
            )
        )
    return found


def tasks_for(user: User) -> QuerySet[LabelStudioTask]:
    """Return the tasks in Label Studio of the cases that wait for this person."""
    return LabelStudioTask.objects.filter(withdrawn_at=None, case__in=cases_for(user))


def cases_for(user: User) -> QuerySet[Case]:
    """Return the cases that are with annotators, but for those that this one answered or skipped.

    What is asked of this one, they may answer again; what is asked of another is not for them.
    """
    mine, others = asks.by_name(user)
    theirs = Annotation.objects.filter(
        case=OuterRef("pk"), annotator__user=user, origin=Origin.LABEL_STUDIO, superseded_by=None, is_deletion=False
    )
    cases = Case.objects.filter(~Exists(theirs) | Q(pk__in=mine), state=CaseState.LABELLING)
    return cases.exclude(pk__in=others)
