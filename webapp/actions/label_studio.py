"""The traffic with Label Studio: the outbox goes out, and what annotators did comes back.

Both can be repeated at any time. One process at a time speaks to a project. While Label Studio is down nothing else
stops: the outbox waits, and the project's row says since when.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import cast

from django.conf import settings
from django.db.models import Q
from django.urls import reverse
from django.utils import timezone

from annotate import client, config, payloads
from annotate.errors import AnnotateError, LabelStudioError, LabelStudioRefused, PayloadError
from ml import types
from ml.schema import Head, Kind
from ml.schema import Schema as ParsedSchema
from webapp.actions import outbox, people, submissions
from webapp.locks import only_one
from webapp.models import (
    Annotation,
    Case,
    CaseState,
    LabelStudioProject,
    LabelStudioTask,
    Origin,
    Outbox,
    OutboxPurpose,
    Prediction,
    Schema,
)
from webapp.queries import schemas

logger = logging.getLogger(__name__)

BAD_REQUEST = 400
MOST_AT_ONCE = 500  # Outbox rows in one turn


def deliver() -> None:
    """Bring to Label Studio what waits and is due, schema by schema, and what failed though no case waits for it."""
    if not settings.LABEL_STUDIO_URL:
        return
    due = Outbox.objects.filter(sent_at=None, due_at__lte=timezone.now())
    is_due = Q(pk__in=due.values("case__schema")) | Q(label_studio_project__sending_failure__gt="")
    for schema in Schema.objects.filter(is_due):
        with only_one(f"label studio {schema.pk}") as is_mine:
            if is_mine:
                _deliver(schema, list(_rows(due.filter(case__schema=schema))))


def poll_all() -> None:
    """Fetch what annotators did since the last time, in every project."""
    if not settings.LABEL_STUDIO_URL:
        return
    for project in LabelStudioProject.objects.select_related("schema", "schema_version"):
        with only_one(f"label studio {project.schema_id}") as is_mine:
            if is_mine:
                with _telling(project), _connected() as label_studio:
                    _poll(label_studio, project)


def _rows(due: Iterable[Outbox]) -> Iterable[Outbox]:
    rows = Outbox.objects.filter(pk__in=[row.pk for row in due])
    related = ("case__schema", "case__stored_text", "case__current_prediction__version")
    return rows.select_related(*related).order_by("-case__rank", "pk")[:MOST_AT_ONCE]


def _deliver(schema: Schema, rows: list[Outbox]) -> None:
    failure = ""
    by_purpose = {purpose: [row for row in rows if row.purpose == purpose] for purpose in OutboxPurpose}
    try:
        with _connected() as label_studio:
            project = _ensure_project(label_studio, schema)
            _push(label_studio, project, by_purpose[OutboxPurpose.PUSH])
            _withdraw(label_studio, project, by_purpose[OutboxPurpose.WITHDRAW])
            _refresh(label_studio, project, by_purpose[OutboxPurpose.REFRESH])
    except AnnotateError as exc:
        logger.warning("outbox waits", extra={"schema": schema.name, "rows": len(rows), "error": str(exc)})
        waiting = [row for row in rows if Outbox.objects.filter(pk=row.pk, sent_at=None).exists()]
        outbox.mark_failed(waiting, str(exc))
        failure = "" if waiting else str(exc)  # Rows that wait tell of it themselves
    LabelStudioProject.objects.filter(schema=schema).update(sending_failure=failure[:300])


def _connected() -> client.Client:
    return client.Client(
        settings.LABEL_STUDIO_URL, settings.LABEL_STUDIO_API_KEY, timeout_seconds=settings.LABEL_STUDIO_TIMEOUT_SECONDS
    )


def _ensure_project(label_studio: client.Client, schema: Schema) -> LabelStudioProject:
    """Return the project of a schema, made or brought to the newest schema version where it has to be."""
    version = schemas.newest_version(schema)
    webhook_url = settings.SITE_URL.rstrip("/") + reverse("label-studio-webhook")
    known = LabelStudioProject.objects.filter(schema=schema).first()
    if known and known.schema_version_id == version.pk and known.webhook_url == webhook_url:
        return known
    found = label_studio.ensure_project(
        f"Caseloop: {schema.title}"[:50],
        config.build(version.parsed),
        config.guidelines(version.parsed),
        project=known.project if known else None,
    )
    label_studio.ensure_webhook(found.id, webhook_url, settings.LABEL_STUDIO_WEBHOOK_SECRET)
    values = {"schema_version": version, "project": found.id, "webhook_url": webhook_url}
    return LabelStudioProject.objects.update_or_create(schema=schema, defaults=values)[0]


def _push(label_studio: client.Client, project: LabelStudioProject, rows: list[Outbox]) -> None:
    """Send the cases that still are with annotators, most harm first."""
    wanted = [row for row in rows if row.case.state == CaseState.LABELLING]
    tasks, refused = _push_each_or_all(label_studio, project, wanted)
    rows = [row for row in rows if row not in refused]
    for case in (row.case for row in wanted if row not in refused):
        LabelStudioTask.objects.update_or_create(
            case=case,
            defaults={
                "project": project,
                "task": tasks[str(case.pk)],
                "version": case.current_prediction.version if case.current_prediction else None,
                "sent_at": timezone.now(),
                "withdrawn_at": None,
            },
        )
    outbox.mark_sent(rows)
    outbox.want_out(Case.objects.filter(pk__in=tasks).exclude(state=CaseState.LABELLING))  # Decided meanwhile


def _push_each_or_all(
    label_studio: client.Client, project: LabelStudioProject, rows: list[Outbox]
) -> tuple[dict[str, int], list[Outbox]]:
    """Send all at once, and one by one where Label Studio or the schema refuses: one bad case must not stop the rest.

    Returns:
        The task of each case that is there now, and the rows that were refused.
    """
    try:
        return label_studio.push(project.project, [_task(project, row.case) for row in rows]), []
    except (LabelStudioRefused, PayloadError) as exc:
        if len(rows) == 1:
            outbox.mark_failed(rows, str(exc))
            return {}, rows
        if isinstance(exc, LabelStudioRefused) and exc.status != BAD_REQUEST:
            raise
    tasks: dict[str, int] = {}
    refused: list[Outbox] = []
    for row in rows:
        found, failed = _push_each_or_all(label_studio, project, [row])
        tasks |= found
        refused += failed
    return tasks, refused


def _withdraw(label_studio: client.Client, project: LabelStudioProject, rows: list[Outbox]) -> None:
    """Take back the cases that are not with annotators any more, but for those that somebody has begun."""
    case_ids = [str(row.case_id) for row in rows if row.case.state != CaseState.LABELLING]
    gone = label_studio.withdraw(project.project, case_ids).gone
    LabelStudioTask.objects.filter(case__in=[int(case_id) for case_id in gone]).update(withdrawn_at=timezone.now())
    outbox.mark_sent(rows)
    outbox.want_in(Case.objects.filter(pk__in=case_ids, state=CaseState.LABELLING))  # Wanted again meanwhile


def _refresh(label_studio: client.Client, project: LabelStudioProject, rows: list[Outbox]) -> None:
    """Show the answers of the version in use on every open task: Label Studio orders by those of one version alone."""
    version = schemas.answering_version(project.schema)
    if not rows and project.version_id == version.pk:
        return
    there = LabelStudioTask.objects.filter(project=project, withdrawn_at=None, case__state=CaseState.LABELLING)
    open_tasks = list(there.select_related("case__current_prediction__version"))
    if not open_tasks:  # Label Studio refuses a version of which it has no prediction; the next push comes back here
        outbox.mark_sent(rows)
        return
    label_studio.replace_predictions(
        project.project,
        {row.task: _entry(project.schema_version.parsed, row.case, str(version)) for row in open_tasks},
        str(version),
    )
    for row in open_tasks:  # Not all may have been answered by this version yet; those are refreshed once they are
        row.version = row.case.current_prediction.version if row.case.current_prediction else None
    LabelStudioTask.objects.bulk_update(open_tasks, ["version"])
    LabelStudioProject.objects.filter(pk=project.pk).update(version=version)
    outbox.mark_sent(rows)


def _task(project: LabelStudioProject, case: Case) -> Mapping[str, object]:
    version = str(schemas.answering_version(case.schema))
    parsed = project.schema_version.parsed
    return payloads.task(parsed, str(case.pk), case.stored_text.text, shown(parsed, case), version, rank=case.rank)


def _entry(parsed: ParsedSchema, case: Case, version: str) -> Mapping[str, object]:
    """Return what a task that is there is filled in with: nothing where it cannot be, so that the others still are."""
    try:
        return payloads.predictions_entry(parsed, shown(parsed, case), version, rank=case.rank)
    except (PayloadError, *payloads.UNREADABLE) as exc:
        logger.warning("task is not filled in", extra={"case": case.pk, "error": type(exc).__name__})
        return payloads.predictions_entry(parsed, None, version, rank=case.rank)


def shown(parsed: ParsedSchema, case: Case) -> types.Prediction | None:
    """Return what is filled in beforehand: nothing for a case that is audited blind.

    The version in use may have learnt under an older schema: heads and labels that this one lacks are left out.
    """
    if case.is_audit or case.current_prediction is None:
        return None
    said = {key: types.HeadPrediction.from_json(found) for key, found in case.current_prediction.heads.items()}
    kept = {head.key: _known(head, said[head.key].answer) for head in parsed.heads if head.key in said}
    return {key: replace(said[key], answer=answer) for key, answer in kept.items() if answer}


def _known(head: Head, answer: types.Answer) -> types.Answer:
    """Return what of an answer the head still knows; an empty answer where that is nothing."""
    match head.kind, answer:
        case Kind.CHOICE, str():
            return answer if answer in head.by_key else ""
        case Kind.CHOICES, list():
            return [key for key in answer if isinstance(key, str) and key in head.by_key]
        case Kind.SPANS, list():
            return [span for span in answer if isinstance(span, dict) and span["label"] in head.by_key]
        case Kind.RUBRIC, dict():
            criteria = {group.key: {criterion.key for criterion in group.criteria} for group in head.groups}
            kept = {
                group: {key: mark for key, mark in marks.items() if key in criteria[group]}
                for group, marks in answer.items()
                if group in criteria
            }
            return {group: marks for group, marks in kept.items() if marks}
    return ""


def _poll(label_studio: client.Client, project: LabelStudioProject) -> None:
    emails = {user.id: user.email for user in label_studio.users()}
    for page in label_studio.changed_since(project.project, project.cursor or client.BEGINNING):
        for task in page.tasks:
            case = _case_of(project, task.case_id)
            if case is not None:
                _store(project, case, task, emails)
        LabelStudioProject.objects.filter(pk=project.pk).update(cursor=page.cursor)


def _case_of(project: LabelStudioProject, case_id: str) -> Case | None:
    if not case_id.isdecimal():
        return None  # Somebody put a task of their own into the project
    return Case.objects.filter(pk=int(case_id), schema=project.schema).first()


def _store(project: LabelStudioProject, case: Case, task: client.ChangedTask, emails: Mapping[int, str]) -> None:
    """Store the new and changed annotations of a task, and note the deleted ones."""
    for found in task.annotations:
        try:
            received = payloads.annotation_of(project.schema_version.parsed, task.json, found)
        except PayloadError as exc:
            logger.warning("annotation cannot be read", extra={"case": case.pk, "error": str(exc)})
            continue
        external = submissions.External(received.project, received.id, received.updated_at)
        if not submissions.is_stored(external):
            submissions.record(case, _submission(project, case, received, external, emails))
    present = [found.get("id") for found in task.annotations]
    here = case.annotations.filter(external_project=project.project, superseded_by=None, is_deletion=False)
    for annotation in here.exclude(external_id__in=present).select_related("annotator", "schema_version"):
        submissions.record(case, _deletion(annotation))


def _submission(
    project: LabelStudioProject,
    case: Case,
    received: payloads.AnnotationReceived,
    external: submissions.External,
    emails: Mapping[int, str],
) -> submissions.Submission:
    by = received.completed_by or 0
    return submissions.Submission(
        annotator=people.annotator_from_label_studio(by, emails.get(by)),
        schema_version=project.schema_version,
        origin=Origin.LABEL_STUDIO,
        answers=received.labels,
        problems=received.problems,
        shown=_filled_in(case),
        is_skip=received.was_cancelled,
        seconds=received.lead_time,
        note=received.comment,
        origins=received.origins,
        external=external,
    )


def _filled_in(case: Case) -> Prediction | None:
    """Return what annotators see of a case that was sent: what the version said whose answers its task shows."""
    if case.is_audit:
        return None
    return case.predictions.filter(version__labelstudiotask__case=case).first()


def _deletion(annotation: Annotation) -> submissions.Submission:
    external = submissions.External(
        project=cast(int, annotation.external_project),  # The caller chose rows that came from Label Studio
        id=cast(int, annotation.external_id),
        updated_at=cast(datetime, annotation.external_updated_at),
    )
    return submissions.Submission(
        annotator=annotation.annotator,
        schema_version=annotation.schema_version,
        origin=Origin.LABEL_STUDIO,
        answers={},
        is_deletion=True,
        external=external,
    )


@contextmanager
def _telling(project: LabelStudioProject) -> Iterator[None]:
    """Keep on the project's row whether Label Studio answered, and if not, since when and why."""
    now = timezone.now()
    rows = LabelStudioProject.objects.filter(pk=project.pk)
    try:
        yield
    except LabelStudioError as exc:
        rows.update(failure=str(exc)[:300], failing_since=project.failing_since or now)
        logger.warning("poll failed", extra={"project": project.project, "error": str(exc)})
    else:
        rows.update(polled_at=now, failure="", failing_since=None)
