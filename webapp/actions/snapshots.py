"""Freezing the labels that a run learns from."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections import Counter, defaultdict
from typing import Any

from django.db import transaction
from django.db.models import Q

from ml.policy import Side
from webapp.models import Case, CaseText, Label, Origin, Schema, SchemaVersion, Snapshot, SnapshotRow
from webapp.models.cases import GONE_STATES

ENOUGH_AUDITS = 200
NO_WORD = re.compile(r"[\W_]+")
# An audited case counts by what a person answered blind, not by what was imported, or changed once answers were seen
NOT_BLIND = Q(case__is_audit=True) & (
    Q(annotation__origin__in=(Origin.IMPORT, Origin.API)) | Q(annotation__prediction__isnull=False)
)


@transaction.atomic
def take(version: SchemaVersion) -> Snapshot:
    """Freeze ids, labels, text hashes and sides of all labelled cases; the same content is the same snapshot.

    The test side is made of blind audits alone once there are enough of them. Until then the fixed fifth of the
    labelled imports stands in for them; blind audits that are labelled already count too. What is on the test side is
    never trained on, whichever of the two it is.

    The same words may have come as several cases. What stands on the test side, labelled or not, is left out of the
    others, and what is for validation is left out of what is trained on.
    """
    labels: dict[int, dict[str, Any]] = defaultdict(dict)
    heads = version.parsed.by_key
    known = Label.objects.filter(case__schema=version.schema).exclude(case__state__in=GONE_STATES)
    for label in known.exclude(NOT_BLIND).iterator():
        if label.head in heads:
            labels[label.case_id][label.head] = label.answer
    cases = list(Case.objects.filter(pk__in=labels).order_by("pk"))
    blind = {case.pk for case in cases if case.is_audit}
    by_audits = len(blind) >= ENOUGH_AUDITS
    elsewhere = _words_elsewhere(version.schema, cases)
    rows, left_out = [], 0
    for case in cases:
        if case.side == Side.TEST and by_audits and case.pk not in blind:
            continue
        if case.pk in elsewhere:
            left_out += 1
            continue
        rows.append(SnapshotRow(case=case, side=case.side, text_hash=case.text_hash, labels=labels[case.pk]))
    content = [[row.case_id, row.side, row.text_hash, row.labels] for row in rows]
    digest = hashlib.sha256(json.dumps([version.digest, content, left_out], sort_keys=True).encode()).hexdigest()
    snapshot, created = Snapshot.objects.get_or_create(
        digest=digest,
        defaults={
            "schema_version": version,
            "counts": dict(Counter(row.side for row in rows)),
            "left_out": left_out,
            "test_source": "audits" if by_audits else "imports",
        },
    )
    if created:
        for row in rows:
            row.snapshot = snapshot
        SnapshotRow.objects.bulk_create(rows, batch_size=1000)
    return snapshot


def words_hash(text: str) -> str:
    """Return the SHA-256 of the letters and digits of a text, or of the text itself where it has none."""
    words = "".join(NO_WORD.split(unicodedata.normalize("NFKC", text).casefold()))
    return hashlib.sha256((words or text).encode()).hexdigest()


def _words_elsewhere(schema: Schema, cases: list[Case]) -> set[int]:
    """Return the cases for training whose words are also held out, and those for validation that are also for test."""
    test = Case.objects.filter(schema=schema, side=Side.TEST)
    wanted = CaseText.objects.filter(Q(case__in=[case.pk for case in cases]) | Q(case__in=test))
    words = {row.case_id: words_hash(row.text) for row in wanted.iterator(chunk_size=500)}
    tested = {words.get(pk) for pk in test.values_list("pk", flat=True)} - {None}
    validated = {words.get(case.pk) for case in cases if case.side == Side.VALIDATION} - {None}
    held_out = {Side.TEST: set(), Side.VALIDATION: tested, Side.TRAIN: tested | validated}
    return {case.pk for case in cases if words.get(case.pk) in held_out[Side(case.side)]}
