"""What waits for annotators in Label Studio."""

from __future__ import annotations

from dataclasses import dataclass

from django.contrib.auth.models import AbstractBaseUser, AnonymousUser, User
from django.utils import timezone

from webapp.models import Annotation, Case, CaseState, LabelStudioProject, Origin, Schema


@dataclass(frozen=True, slots=True)
class Waiting:
    """The work of one schema."""

    schema: Schema
    project: int | None  # None until the first case was sent
    waiting: int
    done_today: int


def waiting(user: AbstractBaseUser | AnonymousUser) -> list[Waiting]:
    """Return, schema by schema, how many cases wait, and how many this person answered today."""
    projects = dict(LabelStudioProject.objects.values_list("schema", "project"))
    today = timezone.localtime().replace(hour=0, minute=0, second=0, microsecond=0)
    mine = Annotation.objects.filter(origin=Origin.LABEL_STUDIO, created_at__gte=today, superseded_by=None)
    mine = mine.filter(annotator__user=user) if isinstance(user, User) else mine.none()
    return [
        Waiting(
            schema=schema,
            project=projects.get(schema.pk),
            waiting=Case.objects.filter(schema=schema, state=CaseState.LABELLING).count(),
            done_today=mine.filter(case__schema=schema).count(),
        )
        for schema in Schema.objects.order_by("-name")
    ]
