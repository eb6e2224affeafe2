"""Telling what became of corrections: written once, of the first version that learnt from each."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from django.db import transaction
from django.db.models import F

from ml import metrics
from ml.policy import Side
from ml.types import Answer, Prediction
from webapp.models import Annotation, CaseText, ModelVersion, Receipt
from webapp.models.cases import GONE_STATES
from webapp.queries import similar

logger = logging.getLogger(__name__)

MOST = 100  # Corrections of one run, the newest, that are followed up
SIMILAR = 10  # Cases like each

Ask = Callable[[Sequence[str]], Sequence[Prediction]]


@dataclass(frozen=True, slots=True)
class _Correction:
    annotation: Annotation
    like: list[int]


def try_to_write(version: ModelVersion, *, now: Ask, before: Ask | None) -> None:
    """Write receipts as `write` does; a version is trained whether or not it can be told what became of corrections."""
    try:
        with transaction.atomic():
            write(version, now=now, before=before)
    except Exception as exc:  # Only the kind is told: the message of a foreign error may quote a text
        logger.warning("receipts are not written", extra={"version": version.pk, "error": type(exc).__name__})


def write(version: ModelVersion, *, now: Ask, before: Ask | None) -> int:
    """Write the receipts of the corrections that a version is the first to have learnt from; return how many.

    Args:
        now: asks the version what it says of texts.
        before: asks the one that was in use when it was trained; without it, no case has changed its answer.
    """
    found = [
        _Correction(annotation, similar.alike(annotation.case, most=SIMILAR) if before else [])
        for annotation in _learnt(version)
    ]
    wanted = {one.annotation.case_id for one in found} | {case for one in found for case in one.like}
    texts = dict(CaseText.objects.filter(case__in=wanted).values_list("case_id", "text"))
    said = _ask(now, texts)
    earlier = _ask(before, {case: text for one in found for case in one.like if (text := texts.get(case))})
    rows = [_receipt(version, one, said, earlier) for one in found if one.annotation.case_id in said]
    return len(Receipt.objects.bulk_create(rows, ignore_conflicts=True))


def _learnt(version: ModelVersion) -> list[Annotation]:
    """Return the corrections whose answer stood in the snapshot that a version learnt from, and in none before."""
    rows = version.run.snapshot.rows.exclude(side=Side.TEST) if version.run.snapshot else []
    labels = {row.case_id: row.labels for row in rows}
    corrections = (
        Annotation.objects.filter(case__in=labels, receipt=None, superseded_by=None, is_deletion=False)
        .filter(created_at__lt=version.run.snapshot.created_at if version.run.snapshot else version.created_at)
        .exclude(changed_heads=[])
        .exclude(case__state__in=GONE_STATES)
        .select_related("case")
        .order_by(F("id").desc())
    )
    stands = (
        one
        for one in corrections.iterator()
        if any(labels[one.case_id].get(head) == one.answers.get(head) for head in one.changed_heads)
    )
    return [one for one, _ in zip(stands, range(MOST), strict=False)]


def _ask(ask: Ask | None, texts: Mapping[int, str]) -> dict[int, Prediction]:
    if ask is None or not texts:
        return {}
    return dict(zip(texts, ask(list(texts.values())), strict=True))


def _receipt(
    version: ModelVersion, one: _Correction, said: Mapping[int, Prediction], earlier: Mapping[int, Prediction]
) -> Receipt:
    annotation = one.annotation
    heads = [head for head in annotation.changed_heads if head in annotation.answers]
    asked = [case for case in one.like if case in said and case in earlier]
    return Receipt(
        annotation=annotation,
        version=version,
        heads={head: _says(said[annotation.case_id], head, annotation.answers[head]) for head in heads},
        similar=len(asked),
        changed=sum(any(_differs(said[case], earlier[case], head) for head in heads) for case in asked),
    )


def _says(prediction: Prediction, head: str, answer: Answer) -> bool:
    found = prediction.get(head)
    return found is not None and metrics.items(found.answer) == metrics.items(answer)


def _differs(one: Prediction, other: Prediction, head: str) -> bool:
    return head in one and head in other and metrics.items(one[head].answer) != metrics.items(other[head].answer)
