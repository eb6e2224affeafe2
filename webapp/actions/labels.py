"""Resolving labels: which answer stands for each head of a case.

The rule, head by head: the newest review; else what the annotators agree on (one alone agrees with itself); else the
newest answer of another system; else the newest import, where the people whom it names agree. Annotators who disagree
leave the head without a label, and the case is reviewed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ml.types import Answer
from webapp.models import Annotation, AnnotatorKind, Case, Label, Origin

RULES = ((Origin.API, "system"), (Origin.IMPORT, "import"))


def resolve(case: Case) -> list[str]:
    """Derive the labels of a case from its annotations again.

    Returns:
        The heads on which annotators disagree and no review has decided.
    """
    annotations = standing(case)
    disputed = []
    found: dict[str, tuple[Answer, str, Annotation]] = {}
    for head in {head for annotation in annotations for head in annotation.answers}:
        said = [annotation for annotation in annotations if head in annotation.answers]
        chosen = _choose(said, head)
        if chosen is None:
            disputed.append(head)
        else:
            rule, annotation = chosen
            found[head] = (annotation.answers[head], rule, annotation)
    case.labels.exclude(head__in=found).delete()
    Label.objects.bulk_create(
        [
            Label(case=case, head=head, answer=answer, rule=rule, annotation=annotation)
            for head, (answer, rule, annotation) in found.items()
        ],
        update_conflicts=True,
        unique_fields=["case", "head"],
        update_fields=["answer", "rule", "annotation", "resolved_at"],
    )
    return sorted(disputed)


def standing(case: Case) -> list[Annotation]:
    """Return the annotations of a case that nothing superseded, oldest first; skips and deletions are none."""
    rows = case.annotations.filter(superseded_by=None, is_skip=False, is_deletion=False)
    return list(rows.select_related("annotator").order_by("id"))


def _choose(said: Sequence[Annotation], head: str) -> tuple[str, Annotation] | None:
    reviews = _of(said, Origin.REVIEW)
    if reviews:
        return "review", reviews[-1]
    annotators = _last_of_each(_of(said, Origin.LABEL_STUDIO))
    if annotators:
        if not _agree(annotators, head):
            return None
        return ("agreement" if len(annotators) > 1 else "annotator"), annotators[-1]
    for origin, rule in RULES:
        if rows := _of(said, origin):
            named = [row for row in _last_of_each(rows) if row.annotator.kind == AnnotatorKind.PERSON]
            return (rule, rows[-1]) if rows[-1] not in named or _agree(named, head) else None
    raise AssertionError(f"annotation {said[0].pk} has an origin that no rule knows: {said[0].origin}")


def _last_of_each(rows: Iterable[Annotation]) -> list[Annotation]:
    """Return what each annotator said last."""
    return list({row.annotator_id: row for row in rows}.values())


def _agree(rows: Sequence[Annotation], head: str) -> bool:
    return all(row.answers[head] == rows[0].answers[head] for row in rows)


def _of(said: Iterable[Annotation], origin: Origin) -> list[Annotation]:
    return [annotation for annotation in said if annotation.origin == origin]
