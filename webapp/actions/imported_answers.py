"""What the annotators of a Label Studio export said, each under their own name.

These are imports, not answers that we asked for: they never count as blind, and what people answer here stands before
them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from django.contrib.auth.models import User
from django.db import transaction

from annotate.files import Said
from ml.policy import Policy
from webapp.actions import cases, labels, people, submissions
from webapp.models import Annotation, Annotator, AnnotatorKind, Case, Origin, Schema, SchemaVersion
from webapp.queries import schemas

Key = tuple[str, str]  # Source and external id


def store(known: Mapping[Key, Case], heard: Mapping[Key, Sequence[Said]], version: SchemaVersion) -> list[Case]:
    """Add an annotation for everything that is news; return the cases that it is about, locked."""
    earlier = Annotation.objects.filter(case__in=known.values(), origin=Origin.IMPORT)
    stored = {_mark(row.case_id, row.annotator_id, row.answers, row) for row in earlier}
    annotators = {by: _annotator(by) for by in sorted({said.by for found in heard.values() for said in found})}
    new: list[Annotation] = []
    for key, found in heard.items():
        for said in found:
            annotator = annotators[said.by]
            mark = _mark(known[key].pk, annotator.pk, said.labels, said)
            if mark not in stored:
                stored.add(mark)
                new.append(_annotation(known[key], annotator, said, version))
    Annotation.objects.bulk_create(new)
    told = {row.case_id for row in new}
    locked = Case.objects.select_for_update(of=("self",)).select_related("schema").filter(pk__in=told)
    return list(locked.order_by("pk"))


@transaction.atomic
def add(schema: Schema, heard: Mapping[Key, Sequence[Said]]) -> int:
    """Add what people said of cases that are there, and return of how many it is news; blind audits are left alone."""
    known = {key: case for key, case in cases.known(heard).items() if case.schema == schema and not case.is_audit}
    told = store(known, {key: heard[key] for key in known}, schemas.newest_version(schema))
    rules = schemas.policy(schema).parsed
    for case in told:
        settle(case, rules=rules)
    return len(told)


def settle(case: Case, *, rules: Policy) -> None:
    """Resolve the labels of a case that somebody said something of; people who disagree send it to review."""
    if (rules.thresholds.keys() | rules.disagreement_limits.keys()) & labels.resolve(case).keys():
        submissions.settle(case, [], rules=rules)


def _annotation(case: Case, annotator: Annotator, said: Said, version: SchemaVersion) -> Annotation:
    return Annotation(
        case=case,
        annotator=annotator,
        schema_version=version,
        origin=Origin.IMPORT,
        answers=said.labels,
        problems=[problem.message for problem in said.problems],
        is_skip=said.is_skip,
        is_ground_truth=said.is_ground_truth,
        seconds=said.seconds,
        note=said.comment[:2000],
    )


def _annotator(by: str) -> Annotator:
    """Return the annotator of that e-mail address or name: the person of ours with the address, where there is one."""
    user = User.objects.filter(email__iexact=by).first() if by else None
    if user is not None:
        return people.annotator_of(user)
    known = Annotator.objects.filter(kind=AnnotatorKind.PERSON, user=None, name=by[:200])
    if "@" not in by:
        known = known.filter(label_studio_user=None)  # A user of ours with the number that a file names is another
    return known.order_by("pk").first() or Annotator.objects.create(kind=AnnotatorKind.PERSON, name=by[:200])


def _mark(case: int, annotator: int, answers: object, one: Annotation | Said) -> tuple[int, int, str, bool, bool]:
    return case, annotator, json.dumps(answers, sort_keys=True), one.is_skip, one.is_ground_truth
