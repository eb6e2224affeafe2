"""What other systems, such as case management, say of cases: annotations under the name of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.db import transaction

from ml.answers import Problem
from webapp.actions import audit, submissions
from webapp.actions.submissions import Submission
from webapp.casefiles.columns import Columns
from webapp.models import Annotator, AnnotatorKind, Case, CaseText, Origin, Token
from webapp.queries import schemas


@dataclass(frozen=True, slots=True)
class Corrected:
    """What became of a correction; `is_news` unless the system had said the same before."""

    heads: tuple[str, ...] = ()
    is_news: bool = False
    problems: tuple[str, ...] = ()


@transaction.atomic
def correct(case: Case, labels: Mapping[str, Any], *, by: Token, note: str = "") -> Corrected:
    """Store what a system says of a case. What people answered stands before it, and it decides no case.

    Heads whose answers cannot be read are left out and reported; with none that can, nothing is stored. The same again
    changes nothing.
    """
    case = Case.objects.select_for_update(of=("self",)).select_related("schema").get(pk=case.pk)
    version = schemas.newest_version(case.schema)
    text = CaseText.objects.get(case=case).text
    example, faults = Columns(version.parsed, {}).read(0, {"text": text, "labels": dict(labels)}, source=case.source)
    answers = example.labels if example else {}
    problems = tuple(fault.message for fault in faults)
    annotator = annotator_of(by)
    said = case.annotations.filter(annotator=annotator, origin=Origin.API).order_by("-id").first()
    if not answers or (said is not None and said.answers == answers):
        return Corrected(heads=tuple(answers), problems=problems)
    submission = Submission(
        annotator=annotator,
        schema_version=version,
        origin=Origin.API,
        answers=answers,
        problems=[Problem(fault.field, fault.message) for fault in faults],
        shown=case.current_prediction,
        note=note,
    )
    submissions.record(case, submission)
    audit.record(None, "case corrected", f"case {case.pk}", token=by.pk, heads=sorted(answers))
    return Corrected(heads=tuple(answers), is_news=True, problems=problems)


def annotator_of(token: Token) -> Annotator:
    """Return the annotator that stands for a system, whichever of its tokens it uses."""
    return Annotator.objects.get_or_create(kind=AnnotatorKind.SYSTEM, name=token.name, user=None)[0]
