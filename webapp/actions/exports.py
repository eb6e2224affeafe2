"""Our data as a Label Studio export: cases with all annotations that stand, for who moves on or keeps a copy.

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
from webapp.models import Annotation, Annotator, Case, CaseState, Schema

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
    rows = list(case.annotations.all())
    superseded = {row.supersedes_id for row in rows}
    standing = [row for row in rows if row.pk not in superseded and not row.is_deletion]
    return files.task(data, [_written(row) for row in sorted(standing, key=lambda row: row.pk)], number=case.pk)


def _written(row: Annotation) -> Written:
    said = Said(by=_name(row.annotator), labels=row.answers, is_skip=row.is_skip, seconds=row.seconds, comment=row.note)
    return Written(number=row.pk, said=said, schema=row.schema_version.parsed, made_at=row.created_at)


def _name(annotator: Annotator) -> str:
    return (annotator.user and annotator.user.email) or annotator.name
