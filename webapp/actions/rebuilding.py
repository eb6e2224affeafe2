"""Comparing a Label Studio project with what should be in it, and rebuilding it from our database.

What people of that place put there themselves is reported and left alone.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from django.utils import timezone

from annotate import client, config, inspection
from ml.schema import Schema as ParsedSchema
from ml.types import Labels
from webapp.actions import covers, outbox, restorations
from webapp.actions import label_studio as sync
from webapp.models import Annotation, Annotator, Case, CaseState, LabelStudioProject, LabelStudioTask, Origin

LONGEST_ID = 18  # Digits; more are no number of a case


@dataclass
class Findings:
    """How a project differs from our database. Cases and tasks are named by their numbers."""

    is_gone: bool = False
    difference: list[str] = field(default_factory=list)  # Of the configuration, line by line
    tasks: int = 0
    missing: list[int] = field(default_factory=list)  # Cases whose task is gone
    moved: dict[int, int] = field(default_factory=dict)  # Case -> its task, where we know another
    strays: dict[int, int] = field(default_factory=dict)  # Task -> its case, which should have none there
    duplicates: dict[int, list[inspection.TaskThere]] = field(default_factory=dict)  # Case -> its tasks
    foreign: list[int] = field(default_factory=list)  # Tasks that are of no case of ours
    waiting: int = 0  # Annotations on their way back


def compare(label_studio: client.Client, project: LabelStudioProject) -> Findings:
    """Compare what is in a project with what should be."""
    wanted = dict(LabelStudioTask.objects.filter(project=project, withdrawn_at=None).values_list("case_id", "task"))
    standing = inspection.standing(label_studio, project.project)
    if standing is None:
        return Findings(is_gone=True, missing=sorted(wanted))
    ours = config.build(project.schema_version.parsed)
    found = Findings(difference=inspection.difference(ours, standing.config), tasks=standing.tasks)
    by_case: dict[int, list[inspection.TaskThere]] = defaultdict(list)
    for task in inspection.tasks(label_studio, project.project):
        is_number = task.case_id.isdecimal() and len(task.case_id) <= LONGEST_ID
        by_case[int(task.case_id) if is_number else 0].append(task)
    known = set(Case.objects.filter(schema=project.schema, pk__in=by_case).values_list("pk", flat=True))
    for case, tasks in by_case.items():
        numbers = [task.id for task in tasks]
        if case not in known:
            found.foreign += numbers
        elif case not in wanted:
            found.strays |= dict.fromkeys(numbers, case)
        else:
            if len(tasks) > 1:
                found.duplicates[case] = tasks
            if wanted[case] not in numbers:
                found.moved[case] = numbers[0]
    found.missing = sorted(wanted.keys() - by_case.keys())
    found.waiting = restorations.waiting(project).count()
    return found


def repair(label_studio: client.Client, project: LabelStudioProject, found: Findings) -> dict[str, int]:
    """Put back what is missing, with its annotations, and clear away what is there too often; count what was done."""
    done: Counter[str] = Counter()
    if found.is_gone:
        project = _make_anew(label_studio, project)
        done["projects made anew"] += 1
    for case, task in found.moved.items():
        LabelStudioTask.objects.filter(case=case).update(task=task)
        done["tasks found again"] += 1
    for case, tasks in found.duplicates.items():
        done["duplicates removed"] += _remove_duplicates(label_studio, case, tasks)
    for task, case in found.strays.items():
        done["tasks adopted or removed"] += _settle_stray(label_studio, project, task, case)
    done["tasks made anew"] += _send_again(label_studio, project, found.missing)
    done["annotations put back"] += _put_back(label_studio, project)
    return done


def _make_anew(label_studio: client.Client, project: LabelStudioProject) -> LabelStudioProject:
    made = sync.set_up(label_studio, project.schema, number=None)
    rows = LabelStudioProject.objects.filter(pk=made.pk)
    rows.update(cursor="", version=None, tasks_there=None, failing_since=None, failure="")
    outbox.retry(project.schema)
    return LabelStudioProject.objects.select_related("schema", "schema_version").get(pk=made.pk)


def _remove_duplicates(label_studio: client.Client, case: int, tasks: Sequence[inspection.TaskThere]) -> int:
    """Keep the tasks that somebody answered, else the one that we know, else the oldest."""
    known = LabelStudioTask.objects.filter(case=case)
    kept = [task.id for task in tasks if task.is_annotated]
    kept = kept or [task.id for task in tasks if known.filter(task=task.id).exists()] or [tasks[0].id]
    removed = [task.id for task in tasks if task.id not in kept and label_studio.remove(task.id)]
    if known.filter(task__in=removed).exists():
        known.update(task=kept[0])
    return len(removed)


def _settle_stray(label_studio: client.Client, project: LabelStudioProject, task: int, case_id: int) -> int:
    """Remove a task that should not be there, or count with it where annotators should have it or have begun it."""
    case = Case.objects.get(pk=case_id)
    is_erased = case.state == CaseState.ERASED
    is_wanted = case.state == CaseState.LABELLING
    if is_wanted or not label_studio.remove(task, keep_annotated=not is_erased):
        values = {"project": project, "task": task, "version": None, "withdrawn_at": None}
        LabelStudioTask.objects.update_or_create(case=case, defaults=values)
    return 1


def _send_again(label_studio: client.Client, project: LabelStudioProject, case_ids: Sequence[int]) -> int:
    """Send the cases that annotators have, or have answered; the others needed no task any more."""
    answered = Annotation.objects.filter(
        case__in=case_ids, origin=Origin.LABEL_STUDIO, superseded_by=None, is_deletion=False
    )
    related = Case.objects.select_related("schema", "stored_text", "current_prediction__version")
    kept = related.filter(pk__in=case_ids).exclude(state=CaseState.ERASED).order_by("-rank", "pk")
    with_answers = set(answered.values_list("case_id", flat=True))
    cases = [case for case in kept if case.state == CaseState.LABELLING or case.pk in with_answers]
    over = set(case_ids) - {case.pk for case in cases}
    LabelStudioTask.objects.filter(case__in=over).update(withdrawn_at=timezone.now())
    restorations.begin(cases, project)
    refused: dict[int, str] = {}
    for start in range(0, len(cases), client.IMPORT_BATCH):
        refused |= sync.push_cases(label_studio, project, cases[start : start + client.IMPORT_BATCH])
    return len(cases) - len(refused)


def _put_back(label_studio: client.Client, project: LabelStudioProject) -> int:
    """Hand in again all annotations that are written down for it, by the people who made them where they are known."""
    waiting = list(restorations.waiting(project))
    if not waiting:
        return 0
    people = label_studio.users()
    parsed = project.schema_version.parsed
    covers_there = sync.covers_there(label_studio, project)
    done = 0
    for row in waiting:
        annotation, case = row.annotation, row.annotation.case
        cover = covers_there.get(case.label_studio_task.task)
        entry = inspection.annotation_entry(
            parsed,
            covers.covered_answers(parsed, _known_answers(parsed, annotation), cover),
            comment=annotation.note,
            is_skip=annotation.is_skip,
            seconds=annotation.seconds,
            by=_user_there(annotation.annotator, people),
        )
        there = inspection.put_back(label_studio, case.label_studio_task.task, str(case.pk), entry, row.pk)
        if there is not None:
            restorations.note(row, there.id, there.updated_at)
            done += 1
    return done


def _known_answers(parsed: ParsedSchema, annotation: Annotation) -> Labels:
    """Return what of the answers the schema still knows; that none fits is an answer too."""
    said = annotation.answers
    kept = {head.key: sync.known(head, said[head.key]) for head in parsed.heads if head.key in said}
    return {key: answer for key, answer in kept.items() if answer or not said[key]}


def _user_there(annotator: Annotator, people: Sequence[client.User]) -> int | None:
    """Return the Label Studio user that an annotator is: by e-mail address, else by number."""
    email = annotator.user.email if annotator.user else annotator.name
    by_email = [person.id for person in people if person.email.lower() == email.lower()]
    by_number = [person.id for person in people if person.id == annotator.label_studio_user and "@" not in email]
    return next(iter([*by_email, *by_number]), None)
