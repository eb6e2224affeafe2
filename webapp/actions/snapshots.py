"""Freezing the labels that a run learns from."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from typing import Any

from django.db import transaction
from django.db.models import Q

from ml.policy import Side
from webapp.models import Case, CaseState, Label, SchemaVersion, Snapshot, SnapshotRow

ENOUGH_AUDITS = 200
# An audited case counts by what a person answered blind, not by what was imported, or changed once answers were seen
NOT_BLIND = Q(case__is_audit=True) & (Q(rule__in=("import", "system")) | Q(annotation__prediction__isnull=False))


@transaction.atomic
def take(version: SchemaVersion) -> Snapshot:
    """Freeze ids, labels, text hashes and sides of all labelled cases; the same content is the same snapshot.

    The test side is made of blind audits alone once there are enough of them. Until then the fixed fifth of the
    labelled imports stands in for them; blind audits that are labelled already count too. What is on the test side is
    never trained on, whichever of the two it is.
    """
    labels: dict[int, dict[str, Any]] = defaultdict(dict)
    heads = version.parsed.by_key
    known = Label.objects.filter(case__schema=version.schema).exclude(case__state=CaseState.ERASED)
    for label in known.exclude(NOT_BLIND).iterator():
        if label.head in heads:
            labels[label.case_id][label.head] = label.answer
    cases = list(Case.objects.filter(pk__in=labels).order_by("pk"))
    blind = {case.pk for case in cases if case.is_audit}
    by_audits = len(blind) >= ENOUGH_AUDITS
    rows = []
    for case in cases:
        is_test = case.side == Side.TEST
        if is_test and by_audits and case.pk not in blind:
            continue
        rows.append(SnapshotRow(case=case, side=case.side, text_hash=case.text_hash, labels=labels[case.pk]))
    content = [[row.case_id, row.side, row.text_hash, row.labels] for row in rows]
    digest = hashlib.sha256(json.dumps([version.digest, content], sort_keys=True).encode()).hexdigest()
    snapshot, created = Snapshot.objects.get_or_create(
        digest=digest,
        defaults={
            "schema_version": version,
            "counts": dict(Counter(row.side for row in rows)),
            "test_source": "audits" if by_audits else "imports",
        },
    )
    if created:
        for row in rows:
            row.snapshot = snapshot
        SnapshotRow.objects.bulk_create(rows, batch_size=1000)
    return snapshot
