"""Which case an annotator is taken to next. The database decides between two who want the same one."""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from webapp.models import Annotator, Case, LabelStudioProject, LabelStudioTask
from webapp.queries import asks, labelling


@transaction.atomic
def take_next(user: User, project: LabelStudioProject, *, done: Collection[int] = ()) -> LabelStudioTask | None:
    """Return the task of the case that this person has open, of one asked of them, or of the one that matters most.

    Nobody else has it open. It is theirs for LEASE_MINUTES, or until they have answered. None if nothing waits.

    Args:
        done: the numbers in Label Studio of tasks that they have just answered, which we may not know yet.
    """
    now = timezone.now()
    mine = (
        labelling.tasks_for(user)
        .filter(project=project)
        .exclude(task__in=done)
        .select_for_update(skip_locked=True, of=("self",))
    )
    begun = mine.filter(opened_by=user, opened_until__gt=now).order_by("-opened_until")
    free = mine.exclude(opened_by__isnull=False, opened_until__gt=now).order_by("-case__rank", "case_id")
    asked, _others = asks.by_name(user)
    task = begun.first() or free.filter(case__in=asked).first() or free.first()
    return _opened(user, task)


@transaction.atomic
def take(user: User, project: LabelStudioProject, case: int) -> LabelStudioTask | None:
    """Return the task of one case, as theirs; None while Label Studio does not have it, or another has it open."""
    tasks = project.tasks.select_for_update().filter(case=case, withdrawn_at=None)
    of_others = Q(opened_by__isnull=False, opened_until__gt=timezone.now()) & ~Q(opened_by=user)
    return _opened(user, tasks.exclude(of_others).first())


def _opened(user: User, task: LabelStudioTask | None) -> LabelStudioTask | None:
    if task is not None:
        task.opened_by, task.opened_until = user, timezone.now() + timedelta(minutes=settings.LEASE_MINUTES)
        task.save(update_fields=["opened_by", "opened_until"])
    return task


def let_go(case: Case, annotator: Annotator) -> None:
    """Let others have a case that this annotator has answered or skipped."""
    if annotator.user_id is not None:
        mine = LabelStudioTask.objects.filter(case=case, opened_by=annotator.user_id)
        mine.update(opened_by=None, opened_until=None)
