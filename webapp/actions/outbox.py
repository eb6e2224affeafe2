"""The outbox: what has to reach Label Studio, written in the transaction that decides it."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import timedelta
from functools import partial
from typing import Any

from django.db import connection, transaction
from django.db.models import F
from django.utils import timezone
from django_guid import get_guid

from webapp import faults, tasks
from webapp.models import Case, LabelStudioTask, Outbox, OutboxPurpose, Schema

logger = logging.getLogger(__name__)

LONGEST_WAIT = timedelta(minutes=10)
TOGETHER = timedelta(seconds=5)  # Predictions in Label Studio are replaced all at once, so one waits for the others

# Django can name no partial index as the target of a conflict
WISH = """
    insert into webapp_outbox (case_id, purpose, created_at, due_at, revision, attempts, failure, request_id)
    select unnest(%(ids)s), %(purpose)s, %(now)s, %(due_at)s, 0, 0, '', %(request)s
    on conflict (case_id, purpose) where sent_at is null do update
    set revision = webapp_outbox.revision + 1, request_id = excluded.request_id
"""


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
    """Record that the effects happened; what was wished for again since a row was read still waits.

    One row at a time: a statement that holds several could wait in a circle with `_add`.
    """
    for row in rows:
        as_read = Outbox.objects.filter(pk=row.pk, revision=row.revision)
        if as_read.update(sent_at=timezone.now(), failure=""):
            facts = {"case": row.case_id, "purpose": row.purpose, "wished_by": row.request_id}
            logger.info("outbox row delivered", extra=facts)


def mark_failed(rows: Iterable[Outbox], failure: str) -> None:
    """Record that the effects did not happen, and try again later: 10 s, 20 s, 40 s, up to 10 minutes."""
    for row in rows:
        wait = min(timedelta(seconds=10 * 2 ** min(row.attempts, 10)), LONGEST_WAIT)
        Outbox.objects.filter(pk=row.pk).update(
            attempts=row.attempts + 1, failure=failure[:300], due_at=timezone.now() + wait
        )


def retry(schema: Schema) -> None:
    """Let what failed and waits to be tried again be tried now."""
    Outbox.objects.filter(case__schema=schema, sent_at=None).update(due_at=timezone.now())
    transaction.on_commit(tasks.deliver_outbox.delay)


def _add(case_ids: Iterable[int], purpose: OutboxPurpose, *, wait: timedelta = timedelta()) -> None:
    """Add a row for each case, or raise the revision of the one that waits: a worker may be delivering it just now."""
    ids = sorted(case_ids)  # In one order, so that two of these never wait in a circle
    if not ids:
        return
    now = timezone.now()
    with connection.cursor() as cursor:
        given: dict[str, Any] = {
            "ids": ids,
            "purpose": purpose.value,
            "now": now,
            "due_at": now + wait,
            "request": get_guid() or "",
        }
        cursor.execute(WISH, given | {"now": now, "due_at": now + wait})
    transaction.on_commit(partial(faults.point, "outbox-written"))
    transaction.on_commit(tasks.deliver_outbox.delay)
