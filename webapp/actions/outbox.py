"""The outbox: what has to reach Label Studio, written in the transaction that decides it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from webapp import tasks
from webapp.models import Case, LabelStudioTask, Outbox, OutboxPurpose

LONGEST_WAIT = timedelta(minutes=10)
TOGETHER = timedelta(seconds=5)  # Predictions in Label Studio are replaced all at once, so one waits for the others


def want_in(cases: Iterable[Case]) -> None:
    """Ask that cases be in Label Studio; what waits to be taken back is not taken back."""
    ids = [case.pk for case in cases]
    Outbox.objects.filter(case__in=ids, purpose=OutboxPurpose.WITHDRAW, sent_at=None).delete()
    there = LabelStudioTask.objects.filter(case__in=ids, withdrawn_at=None)
    stale = there.exclude(version=F("case__current_prediction__version")).values_list("case_id", flat=True)
    _add(stale, OutboxPurpose.REFRESH, wait=TOGETHER)
    _add(set(ids) - set(there.values_list("case_id", flat=True)), OutboxPurpose.PUSH)


def want_out(cases: Iterable[Case]) -> None:
    """Ask that cases be taken back from Label Studio; what was never sent is just not sent."""
    ids = [case.pk for case in cases]
    Outbox.objects.filter(case__in=ids, sent_at=None).exclude(purpose=OutboxPurpose.WITHDRAW).delete()
    there = LabelStudioTask.objects.filter(case__in=ids, withdrawn_at=None).values_list("case_id", flat=True)
    _add(there, OutboxPurpose.WITHDRAW)


def mark_sent(rows: Iterable[Outbox]) -> None:
    """Record that the effects happened."""
    Outbox.objects.filter(pk__in=[row.pk for row in rows]).update(sent_at=timezone.now(), failure="")


def mark_failed(rows: Iterable[Outbox], failure: str) -> None:
    """Record that the effects did not happen, and try again later: 10 s, 20 s, 40 s, up to 10 minutes."""
    for row in rows:
        wait = min(timedelta(seconds=10 * 2 ** min(row.attempts, 10)), LONGEST_WAIT)
        Outbox.objects.filter(pk=row.pk).update(
            attempts=row.attempts + 1, failure=failure[:300], due_at=timezone.now() + wait
        )


def _add(case_ids: Iterable[int], purpose: OutboxPurpose, *, wait: timedelta = timedelta()) -> None:
    due_at = timezone.now() + wait
    rows = [Outbox(case_id=case_id, purpose=purpose, due_at=due_at) for case_id in case_ids]
    if rows:
        Outbox.objects.bulk_create(rows, ignore_conflicts=True)
        transaction.on_commit(tasks.deliver_outbox.delay)
