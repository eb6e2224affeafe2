"""Resolving labels: which answer stands for each head of a case.

The rule, head by head: the newest review; else what the annotators agree on (one alone agrees with itself), or where
they are no farther apart than the policy allows, the answer that is closest to all; else the newest answer of another
system; else what an import calls the truth; else the newest import, where the people whom it names agree in the same
way. Annotators who disagree leave the head without a label, and the case is reviewed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from ml import disagreement
from ml.disagreement import Distance
from ml.schema import Head
from ml.succession import translate
from ml.types import Answer, Labels
from webapp.models import Annotation, AnnotatorKind, Case, Label, Origin
from webapp.queries import schemas

RULES = ((Origin.API, "system"), (Origin.IMPORT, "import"))


def resolve(case: Case) -> dict[str, Distance]:
    """Derive the labels of a case from its annotations again.

    Returns:
        The heads on which annotators disagree and no review has decided, with how far they are apart.
    """
    annotations = standing(case)
    limits = schemas.policy(case.schema).parsed.disagreement_limits
    heads = schemas.newest_version(case.schema).parsed.by_key
    for annotation in annotations:  # Not saved: what was said stays as it was
        annotation.answers = _in_words_of(heads, annotation.answers)
    disputed = {}
    found: dict[str, tuple[Answer, str, Annotation]] = {}
    for head in {head for annotation in annotations for head in annotation.answers}:
        said = [annotation for annotation in annotations if head in annotation.answers]
        try:
            rule, annotation = _choose(said, head, heads.get(head), limits.get(head))
        except _Disputed as exc:
            disputed[head] = exc.distance
        else:
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
    return dict(sorted(disputed.items()))


def _in_words_of(heads: Mapping[str, Head], answers: Labels) -> Labels:
    """Return answers in the labels of today's schema; heads that it has lost stay as they are."""
    found = {key: translate(heads[key], answer) if key in heads else answer for key, answer in answers.items()}
    return {key: answer for key, answer in found.items() if answer is not None}


def standing(case: Case) -> list[Annotation]:
    """Return the annotations of a case that nothing superseded, oldest first; skips and deletions are none."""
    rows = case.annotations.filter(superseded_by=None, is_skip=False, is_deletion=False)
    return list(rows.select_related("annotator").order_by("id"))


class _Disputed(Exception):
    """Annotators disagree."""

    def __init__(self, distance: Distance) -> None:
        super().__init__()
        self.distance = distance


def _choose(said: Sequence[Annotation], key: str, head: Head | None, limit: float | None) -> tuple[str, Annotation]:
    reviews = _of(said, Origin.REVIEW)
    if reviews:
        return "review", reviews[-1]
    annotators = _last_of_each(_of(said, Origin.LABEL_STUDIO))
    if len(annotators) == 1:
        return "annotator", annotators[0]
    if annotators:
        return _agreed(annotators, key, head, limit)
    for origin, rule in RULES:
        if rows := _of(said, origin):
            if truths := [row for row in rows if row.is_ground_truth]:
                return rule, truths[-1]
            named = [row for row in _last_of_each(rows) if row.annotator.kind == AnnotatorKind.PERSON]
            if rows[-1] not in named:
                return rule, rows[-1]
            how, annotation = _agreed(named, key, head, limit)
            return (rule, rows[-1]) if how == "agreement" else (how, annotation)
    raise AssertionError(f"annotation {said[0].pk} has an origin that no rule knows: {said[0].origin}")


def _last_of_each(rows: Iterable[Annotation]) -> list[Annotation]:
    """Return what each annotator said last."""
    return list({row.annotator_id: row for row in rows}.values())


def _agreed(
    annotators: Sequence[Annotation], key: str, head: Head | None, limit: float | None
) -> tuple[str, Annotation]:
    """Return what stands of several annotators' answers. A head that the schema has lost has no distances."""
    answers = [annotation.answers[key] for annotation in annotators]
    if all(answer == answers[0] for answer in answers):
        return "agreement", annotators[-1]
    found = disagreement.widest(head, answers) if head else Distance(1.0, 1.0)
    if head is None or limit is None or found.apart > limit:
        raise _Disputed(found)
    return "closest", annotators[disagreement.closest(head, answers)]


def _of(said: Iterable[Annotation], origin: Origin) -> list[Annotation]:
    return [annotation for annotation in said if annotation.origin == origin]
