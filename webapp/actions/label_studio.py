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
from django.db.models import F, Max, Q, QuerySet
from django.urls import reverse
from django.utils import timezone

from annotate import client, config, inspection, payloads
from annotate.errors import AnnotateError, LabelStudioError, LabelStudioRefused, PayloadError
from ml import succession, types
from ml.schema import Head, Kind
from ml.schema import Schema as ParsedSchema
from webapp import faults
from webapp.actions import covers, outbox, people, restorations, submissions
from webapp.locks import only_one
from webapp.models import (
    Annotation,
    Case,
    CaseState,
    Cover,
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
    is_due = Q(pk__in=due.values("case__schema")) | Q(label_studio_project__in=waiting_projects())
    for schema in Schema.objects.filter(is_due):
        with only_one(f"label studio {schema.pk}") as is_mine:
            if is_mine:
                _deliver(schema, list(_rows(due.filter(case__schema=schema))))


def waiting_projects() -> QuerySet[LabelStudioProject]:
    """Return the projects that are to be told something though no case waits for it: what failed, or a new schema."""
    rows = LabelStudioProject.objects.alias(newest=Max("schema__versions__number"))
    return rows.filter(Q(sending_failure__gt="") | Q(schema_version__number__lt=F("newest")))


def poll_all() -> None:
    """Fetch what annotators did since the last time, in every project."""
    if not settings.LABEL_STUDIO_URL:
        return
    for project in LabelStudioProject.objects.select_related("schema", "schema_version"):
        with only_one(f"label studio {project.schema_id}") as is_mine:
            if is_mine:
                with telling(project), connected() as label_studio:
                    poll(label_studio, project)


def _rows(due: Iterable[Outbox]) -> Iterable[Outbox]:
    rows = Outbox.objects.filter(pk__in=[row.pk for row in due])
    related = ("case__schema", "case__stored_text", "case__current_prediction__version")
    return rows.select_related(*related).order_by("-case__rank", "pk")[:MOST_AT_ONCE]


def _deliver(schema: Schema, rows: list[Outbox]) -> None:
    failure = ""
    by_purpose = {purpose: [row for row in rows if row.purpose == purpose] for purpose in OutboxPurpose}
    try:
        with connected() as label_studio:
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


def connected() -> client.Client:
    """Return a connection to Label Studio, which opens with the first question."""
    return client.Client(
        settings.LABEL_STUDIO_URL, settings.LABEL_STUDIO_API_KEY, timeout_seconds=settings.LABEL_STUDIO_TIMEOUT_SECONDS
    )


def _ensure_project(label_studio: client.Client, schema: Schema) -> LabelStudioProject:
    """Return the project of a schema, made or brought to the newest schema version where it has to be."""
    version = schemas.newest_version(schema)
    known = LabelStudioProject.objects.filter(schema=schema).first()
    sent = inspection.digest(config.build(version.parsed))
    if known and (known.schema_version_id, known.webhook_url, known.config_hash) == (version.pk, _webhook_url(), sent):
        return known
    return set_up(label_studio, schema, number=known.project if known else None)


def set_up(label_studio: client.Client, schema: Schema, *, number: int | None) -> LabelStudioProject:
    """Make the project of a schema as it has to be; what was changed there is put back. Without a number, a new one."""
    version, webhook_url = schemas.newest_version(schema), _webhook_url()
    xml = config.build(version.parsed)
    title = f"Caseloop: {schema.title}"[:50]
    found = label_studio.ensure_project(title, xml, config.guidelines(version.parsed), project=number)
    label_studio.ensure_webhook(found.id, webhook_url, settings.LABEL_STUDIO_WEBHOOK_SECRET)
    values = {"schema_version": version, "project": found.id, "webhook_url": webhook_url}
    values |= {"config_hash": inspection.digest(xml), "drifted_since": None}
    return LabelStudioProject.objects.update_or_create(schema=schema, defaults=values)[0]


def _webhook_url() -> str:
    return str(settings.SITE_URL).rstrip("/") + reverse("label-studio-webhook")


def _push(label_studio: client.Client, project: LabelStudioProject, rows: list[Outbox]) -> None:
    """Send the cases that still are with annotators, most harm first."""
    wanted = [row for row in rows if row.case.state == CaseState.LABELLING]
    refused = push_cases(label_studio, project, [row.case for row in wanted])
    for row in rows:
        if row.case_id in refused:
            outbox.mark_failed([row], refused[row.case_id])
    faults.point("tasks-known")
    outbox.mark_sent([row for row in rows if row.case_id not in refused])
    there = [row.case_id for row in wanted if row.case_id not in refused]
    outbox.want_out(Case.objects.filter(pk__in=there).exclude(state=CaseState.LABELLING))  # Decided meanwhile


def push_cases(label_studio: client.Client, project: LabelStudioProject, cases: list[Case]) -> dict[int, str]:
    """Send all at once, and one by one where Label Studio or the schema refuses: one bad case must not stop the rest.

    Returns:
        Why each case that is not there now was refused.
    """
    try:
        tasks = label_studio.push(project.project, [_task(project, case) for case in cases])
    except (LabelStudioRefused, PayloadError) as exc:
        if len(cases) == 1:
            return {cases[0].pk: str(exc)}
        if isinstance(exc, LabelStudioRefused) and exc.status != BAD_REQUEST:
            raise
        refused: dict[int, str] = {}
        for case in cases:
            refused |= push_cases(label_studio, project, [case])
        return refused
    faults.point("tasks-pushed")
    for case in cases:
        if case.annotators_wanted > 1:
            label_studio.ask_several(tasks[str(case.pk)], case.annotators_wanted)
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
    return {}


def _withdraw(label_studio: client.Client, project: LabelStudioProject, rows: list[Outbox]) -> None:
    """Take back the cases that are not with annotators any more, but for those that somebody has begun."""
    case_ids = [str(row.case_id) for row in rows if row.case.state != CaseState.LABELLING]
    erased = [str(row.case_id) for row in rows if row.case.state == CaseState.ERASED]
    gone = label_studio.withdraw(project.project, [one for one in case_ids if one not in erased]).gone
    gone += label_studio.withdraw(project.project, erased, keep_annotated=False).gone
    faults.point("tasks-withdrawn")
    LabelStudioTask.objects.filter(case__in=[int(case_id) for case_id in gone]).update(withdrawn_at=timezone.now())
    outbox.mark_sent(rows)
    outbox.want_in(Case.objects.filter(pk__in=case_ids, state=CaseState.LABELLING))  # Wanted again meanwhile


def _refresh(label_studio: client.Client, project: LabelStudioProject, rows: list[Outbox]) -> None:
    """Show the answers of the version in use on every open task: Label Studio orders by those of one version alone."""
    version = schemas.answering_version(project.schema)
    if not rows and project.version_id == version.pk:
        return
    rows_there = LabelStudioTask.objects.filter(project=project, withdrawn_at=None, case__state=CaseState.LABELLING)
    open_tasks = list(rows_there.select_related("case__current_prediction__version", "case__stored_text"))
    if not open_tasks:  # Label Studio refuses a version of which it has no prediction; the next push comes back here
        outbox.mark_sent(rows)
        return
    there = covers_there(label_studio, project)
    label_studio.replace_predictions(
        project.project,
        {
            row.task: _entry(project.schema_version.parsed, row.case, str(version), there.get(row.task))
            for row in open_tasks
        },
        str(version),
    )
    faults.point("tasks-refreshed")
    for row in open_tasks:  # Not all may have been answered by this version yet; those are refreshed once they are
        row.version = row.case.current_prediction.version if row.case.current_prediction else None
    LabelStudioTask.objects.bulk_update(open_tasks, ["version"])
    LabelStudioProject.objects.filter(pk=project.pk).update(version=version)
    outbox.mark_sent(rows)


def _task(project: LabelStudioProject, case: Case) -> Mapping[str, object]:
    version = str(schemas.answering_version(case.schema))
    parsed, cover = project.schema_version.parsed, covers.current(case)
    text, said = covers.sent(case, parsed, shown(parsed, case), cover)
    number = cover.pk if cover else None
    return payloads.task(parsed, str(case.pk), text, said, version, rank=case.rank, cover=number)


def covers_there(label_studio: client.Client, project: LabelStudioProject) -> dict[int, Cover | None]:
    """Return by which cover each task of a project was sent that names one; None where we do not know that cover."""
    if not Cover.objects.filter(case__label_studio_task__project=project).exists():
        return {}
    named = {task.id: task for task in inspection.tasks(label_studio, project.project) if task.cover is not None}
    rows = Cover.objects.in_bulk([task.cover for task in named.values()])
    found = {number: rows.get(task.cover or 0) for number, task in named.items()}
    return {
        number: row if row is not None and str(row.case_id) == named[number].case_id else None
        for number, row in found.items()
    }


def _entry(parsed: ParsedSchema, case: Case, version: str, cover: Cover | None) -> Mapping[str, object]:
    """Return what a task that is there is filled in with: nothing where it cannot be, so that the others still are."""
    try:
        _, said = covers.sent(case, parsed, shown(parsed, case), cover)
        return payloads.predictions_entry(parsed, said, version, rank=case.rank)
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
    kept = {head.key: known(head, said[head.key].answer) for head in parsed.heads if head.key in said}
    return {key: replace(said[key], answer=answer) for key, answer in kept.items() if answer or answer == []}


def known(head: Head, answer: types.Answer) -> types.Answer:
    """Return what of an answer the head still knows, in its labels; "" where that is nothing.

    The empty list says that no label fits.
    """
    match head.kind, answer:
        case (Kind.CHOICE, str()) | ((Kind.CHOICES | Kind.SPANS), list()):
            found = succession.translate(head, answer)
            return "" if found is None else found
        case Kind.RUBRIC, dict():
            criteria = {group.key: {criterion.key for criterion in group.criteria} for group in head.groups}
            kept = {
                group: {key: mark for key, mark in marks.items() if key in criteria[group]}
                for group, marks in answer.items()
                if group in criteria
            }
            return {group: marks for group, marks in kept.items() if marks}
    return ""


def poll(label_studio: client.Client, project: LabelStudioProject) -> None:
    """Fetch what annotators did in a project since the last time, and see whether it is still as we made it."""
    _look(label_studio, project)
    emails = {user.id: user.email for user in label_studio.users()}
    for page in label_studio.changed_since(project.project, project.cursor or client.BEGINNING):
        for task in page.tasks:
            case = _case_of(project, task.case_id)
            if case is not None:
                _store(label_studio, project, case, task, emails)
                faults.point("annotation-stored")
        LabelStudioProject.objects.filter(pk=project.pk).update(cursor=page.cursor)


def _look(label_studio: client.Client, project: LabelStudioProject) -> None:
    """Note how many tasks a project has, and since when its configuration is not the one that we sent."""
    found = inspection.standing(label_studio, project.project)
    if found is None:
        raise LabelStudioError(f"project {project.project} is gone")
    drifted_since = None if found.config_hash == project.config_hash else project.drifted_since or timezone.now()
    rows = LabelStudioProject.objects.filter(pk=project.pk, config_hash=project.config_hash)
    rows.update(tasks_there=found.tasks, drifted_since=drifted_since)


def _case_of(project: LabelStudioProject, case_id: str) -> Case | None:
    if not case_id.isdecimal():
        return None  # Somebody put a task of their own into the project
    return Case.objects.filter(pk=int(case_id), schema=project.schema).first()


def _store(
    label_studio: client.Client,
    project: LabelStudioProject,
    case: Case,
    task: client.ChangedTask,
    emails: Mapping[int, str],
) -> None:
    """Store the new and changed annotations of a task, and note the deleted ones."""
    parsed, filled_in = project.schema_version.parsed, _filled_in(case)
    said = filled_in.heads if filled_in else {}
    said_none = [key for key in parsed.by_key if key in said and said[key]["answer"] == []]
    for found in task.annotations:
        try:
            received = payloads.annotation_of(parsed, task.json, found, said_none=said_none)
        except PayloadError as exc:
            logger.warning("annotation cannot be read", extra={"case": case.pk, "error": str(exc)})
            continue
        external = submissions.External(received.project, received.id, received.updated_at)
        received = covers.brought_back(case, parsed, task.json.get("data"), received, filled_in)
        is_ours = restorations.recognise(case, external, made_at=received.created_at, mark=found.get("import_id"))
        if not is_ours and not submissions.is_stored(external):
            submissions.record(case, _submission(project, case, received, external, emails))
    present = {found.get("id") for found in task.annotations}
    for number, annotation in restorations.expected_there(case, project.project).items():
        if number not in present and not inspection.is_there(label_studio, number):  # Nor on a duplicate of the task
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
def telling(project: LabelStudioProject) -> Iterator[None]:
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
