"""Knowing again the annotations that we put back into Label Studio, so that none is stored a second time.

The row is written first, and its number travels with the annotation as Label Studio's import id. A process that dies
between the two leaves a row that says so, and whoever comes next finishes it.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Q, QuerySet

from webapp.actions.submissions import External
from webapp.models import Annotation, Case, LabelStudioProject, Origin, Restoration

AT_ONCE = timedelta(seconds=1)  # Label Studio stamps what is made twice, some microseconds apart


def begin(cases: Iterable[Case], project: LabelStudioProject) -> None:
    """Write down that all annotations of these cases that stand are to be put back."""
    standing = Annotation.objects.filter(
        case__in=cases, origin=Origin.LABEL_STUDIO, superseded_by=None, is_deletion=False
    )
    with transaction.atomic():
        for annotation in standing.order_by("pk"):
            to = {"project": project.project}
            Restoration.objects.update_or_create(annotation=annotation, external_id=None, defaults=to)


def waiting(project: LabelStudioProject) -> QuerySet[Restoration]:
    """Return what is written down and not known to be there, oldest first."""
    related = ("annotation__case__label_studio_task", "annotation__annotator__user", "annotation__schema_version")
    rows = Restoration.objects.filter(project=project.project, external_id=None, annotation__superseded_by=None)
    return rows.select_related(*related).order_by("pk")


def note(row: Restoration, number: int, updated_at: datetime) -> None:
    """Record where an annotation is now."""
    row.external_id, row.external_updated_at = number, updated_at
    row.save(update_fields=["external_id", "external_updated_at"])


def recognise(case: Case, external: External, *, made_at: datetime, mark: object) -> bool:
    """Tell whether an annotation is one that we put back and nobody has edited since."""
    by_mark = Q(external_id=None, pk=mark if isinstance(mark, int) else None)
    rows = Restoration.objects.filter(project=external.project, annotation__case=case)
    row = rows.filter(Q(external_id=external.id) | by_mark).first()
    if row is None:
        return False
    if row.external_id is None:  # Whoever put it back died before this could be noted; an edit since must not be lost
        is_edited = external.updated_at - made_at > AT_ONCE
        note(row, external.id, made_at if is_edited else external.updated_at)
    return row.external_updated_at == external.updated_at


def expected_there(case: Case, project: int) -> dict[int, Annotation]:
    """Return the annotations of a case that stand, by their numbers in a project, but for those on their way back."""
    standing = case.annotations.filter(origin=Origin.LABEL_STUDIO, superseded_by=None, is_deletion=False)
    found: dict[int, Annotation] = {}
    for annotation in standing.select_related("annotator", "schema_version").prefetch_related("restorations"):
        last = max(annotation.restorations.all(), key=lambda row: row.pk, default=None)
        place = (last.project, last.external_id) if last else (annotation.external_project, annotation.external_id)
        if place[0] == project and place[1] is not None:
            found[place[1]] = annotation
    return found
