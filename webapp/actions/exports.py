"""Our data as a Label Studio export: cases with all annotations that stand, for who moves on or keeps a copy.

What supervisors answered is marked as the truth; what columns of files said goes out as the labels of the case.
The file holds the texts of cases. Who took it, and how much, goes into the audit log before the first byte leaves.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from django.contrib.auth.models import User

from annotate import files
from annotate.files import Said, Written
from webapp.actions import audit
from webapp.models import Annotation, Annotator, AnnotatorKind, Case, CaseState, Origin, Schema

CHUNK = 500
LABEL_STUDIO = "label-studio"
FORMATS = (LABEL_STUDIO,)


def lines(schema: Schema, *, by: User, format: str = LABEL_STUDIO) -> Iterator[str]:
    """Record that a person takes the cases of a schema, and return the lines of the file, one for each case."""
    cases = Case.objects.filter(schema=schema, stored_text__isnull=False).exclude(state=CaseState.ERASED)
    audit.record(by, "cases exported", f"schema {schema.name}", format=format, cases=cases.count())
    return _lines(list(cases.order_by("pk").values_list("pk", flat=True)))


def _lines(numbers: list[int]) -> Iterator[str]:
    yield "["
    separator = ""
    for start in range(0, len(numbers), CHUNK):
        for case in _cases(numbers[start : start + CHUNK]):
            yield separator + json.dumps(_task(case), ensure_ascii=False)
            separator = ","
    yield "]"


def _cases(numbers: list[int]) -> list[Case]:
    cases = Case.objects.filter(pk__in=numbers, stored_text__isnull=False).exclude(state=CaseState.ERASED)
    related = cases.select_related("stored_text", "conversation").order_by("pk")
    return list(related.prefetch_related("annotations__annotator__user", "annotations__schema_version"))


def _task(case: Case) -> dict[str, Any]:
    data: dict[str, Any] = {"id": case.external_id, "source": case.source, "text": case.stored_text.text}
    if case.conversation:
        data["conversation"] = case.conversation.external_id
    if case.sent_at:
        data["sent_at"] = case.sent_at.isoformat()
    if case.metadata:
        data["metadata"] = case.metadata
    rows = sorted(case.annotations.all(), key=lambda row: row.pk)
    superseded = {row.supersedes_id for row in rows}
    standing = [row for row in rows if row.pk not in superseded and not row.is_deletion]
    by_people: list[Written] = []
    for row in standing:
        if row.annotator.kind == AnnotatorKind.IMPORT:
            data["labels"] = data.get("labels", {}) | row.answers
        else:
            by_people.append(_written(row))
    return files.task(data, by_people, number=case.pk)


def _written(row: Annotation) -> Written:
    said = Said(
        by=_name(row.annotator),
        labels=row.answers,
        is_skip=row.is_skip,
        is_ground_truth=row.is_ground_truth or row.origin == Origin.REVIEW,
        seconds=row.seconds,
        comment=row.note,
    )
    return Written(number=row.pk, said=said, schema=row.schema_version.parsed, made_at=row.created_at)


def _name(annotator: Annotator) -> str:
    return (annotator.user and annotator.user.email) or annotator.name
