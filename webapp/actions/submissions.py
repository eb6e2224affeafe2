"""Recording what annotators said, and what follows for the case."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Q

from ml.answers import Problem
from ml.policy import FlagKind, Policy, Reason
from ml.types import Labels
from webapp.actions import events, flags, labelling, labels, outbox
from webapp.models import Annotation, Annotator, Case, CaseState, Event, Origin, Prediction, SchemaVersion
from webapp.queries import asks, schemas

BY_PEOPLE = (Origin.LABEL_STUDIO, Origin.REVIEW)


@dataclass(frozen=True, slots=True)
class External:
    """Which annotation of a Label Studio project this is, in which state."""

    project: int
    id: int
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Submission:
    """One submission of one annotator, as it came."""

    annotator: Annotator
    schema_version: SchemaVersion
    origin: Origin
    answers: Labels
    problems: Sequence[Problem] = ()
    shown: Prediction | None = None  # What was filled in on their screen
    is_skip: bool = False
    is_deletion: bool = False
    seconds: float | None = None
    reason: str = ""
    note: str = ""
    origins: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    external: External | None = None

    @property
    def is_answer(self) -> bool:
        """Whether an annotator answered: no skip, no deletion, no review, no word of another system."""
        return self.origin == Origin.LABEL_STUDIO and not self.is_skip and not self.is_deletion


def record(case: Case, submission: Submission) -> Annotation | None:
    """Store a submission and settle the case by it; None if this very submission is stored already.

    Twice the same webhook, a webhook and a poll, two workers at once: the database's unique constraint decides.
    """
    try:
        with transaction.atomic():
            case = Case.objects.select_for_update(of=("self",)).select_related("schema").get(pk=case.pk)
            if case.state == CaseState.ERASED:
                return None  # Label Studio is about to forget it too; a note would bring its text back
            rules = schemas.policy(case.schema).parsed
            routing = rules.thresholds.keys()
            submission = replace(submission, problems=[*submission.problems, *_unanswered(submission, routing)])
            doubts = _doubts(case, submission)
            annotation = store(case, submission)
            labelling.let_go(case, submission.annotator)
            before = annotation.supersedes
            takes_back = not submission.is_answer and before is not None and not before.is_skip
            settle(case, doubts, rules=rules, takes_back=takes_back)
    except IntegrityError:
        if submission.external is None or not is_stored(submission.external, is_deletion=submission.is_deletion):
            raise
        return None
    return annotation


def settle(case: Case, doubts: Iterable[Reason], *, rules: Policy, takes_back: bool = False) -> None:
    """Resolve the labels of a case and move it on. The row must be locked.

    Doubts, and annotators who disagree on a head that routes or has a limit, send it to review; once every head that
    routes has a label from a person, and as many annotators have answered as are wanted, it is decided, unless a
    supervisor sent it back and waits. What was withdrawn or erased stays so.

    Args:
        takes_back: whether an answer was deleted or became a skip, so that a case may have lost what decided it.
    """
    routing = rules.thresholds.keys()
    disputed = [
        Reason(FlagKind.DISAGREEMENT, head, asdict(distance))
        for head, distance in labels.resolve(case).items()
        if head in routing | rules.disagreement_limits.keys()
    ]
    reasons = [*doubts, *disputed]
    by_people = set(case.labels.filter(annotation__origin__in=BY_PEOPLE).values_list("head", flat=True))
    if case.state in (CaseState.WITHDRAWN, CaseState.ERASED):
        return
    event = None
    if reasons:
        raised = [
            flags.raise_flag(case, reason.kind, head=reason.head or "", facts=dict(reason.facts)) for reason in reasons
        ]
        event = Event.FLAGGED if any(raised) else None
        case.state = CaseState.REVIEW
        outbox.want_out([case])
    elif asks.waiting([case.pk]):
        pass
    elif case.state != CaseState.REVIEW and routing <= by_people and _is_answered_by_enough(case):
        flags.resolve_all(case)
        case.state, event = CaseState.DECIDED, Event.DECIDED
    elif case.state == CaseState.DECIDED and takes_back:
        case.state = CaseState.LABELLING
        outbox.want_in([case])
    case.revision += 1
    case.save(update_fields=["state", "revision"])
    if event:
        events.tell(event, [case])


def _is_answered_by_enough(case: Case) -> bool:
    """Whether a supervisor, or as many annotators as are wanted, have answered."""
    standing = labels.standing(case)
    annotators = {annotation.annotator_id for annotation in standing if annotation.origin == Origin.LABEL_STUDIO}
    is_reviewed = any(annotation.origin == Origin.REVIEW for annotation in standing)
    return is_reviewed or len(annotators) >= case.annotators_wanted


def _unanswered(submission: Submission, routing: AbstractSet[str]) -> list[Problem]:
    """Return the heads that route and that an annotator left out: without them the case would wait for ever."""
    if not submission.is_answer:
        return []
    known = submission.answers.keys() | {problem.head for problem in submission.problems}
    asked = [head.key for head in submission.schema_version.parsed.heads if head.key in routing]
    return [Problem(head, f"{head} has no answer") for head in asked if head not in known]


def _doubts(case: Case, submission: Submission) -> list[Reason]:
    """Return why a supervisor must see what an annotator sent, before it is stored.

    An answer that calls a case urgent never decides it alone, and reopens what was decided to be less urgent: nobody
    who decided it knew of the answer. A faulty one does not, since what a supervisor answered stands. What was asked of
    one annotator, who skips it, would wait for ever.
    """
    if submission.is_skip and submission.origin == Origin.LABEL_STUDIO:
        ask = asks.waiting([case.pk]).get(case.pk)
        skipped = {**flags.BY_ANNOTATOR, "name": submission.annotator.name}
        is_asked = ask is not None and asks.asked_one(ask) == submission.annotator
        return [Reason(FlagKind.SECOND_OPINION, facts=skipped)] if is_asked else []
    if not submission.is_answer:
        return []
    reviewed_by = case.annotations.filter(origin=Origin.REVIEW, superseded_by=None, is_deletion=False)
    review = reviewed_by.order_by("id").last()
    reviewed: Labels = review.answers if review else {}
    urgent = {head.key: head.urgent for head in submission.schema_version.parsed.heads if head.urgent}
    found = [
        Reason(FlagKind.URGENT, head, {**flags.BY_ANNOTATOR, "label": label})
        for head, label in urgent.items()
        if submission.answers.get(head) == label and reviewed.get(head) != label
    ]
    if review is None:
        found += [Reason(FlagKind.INVALID, one.head, {"problem": one.message}) for one in submission.problems]
    return found


def changed_heads(prediction: dict[str, Any] | None, answers: Labels) -> list[str]:
    """Return the heads on which a person answered otherwise than the model did."""
    shown = prediction or {}
    return [
        head
        for head, answer in answers.items()
        if head in shown and _without_confidence(shown[head]["answer"]) != answer
    ]


def _without_confidence(answer: Any) -> Any:
    """Return a predicted answer as a person would give it: only the model says how sure it is of a span."""
    if not isinstance(answer, list):
        return answer
    return [
        {key: value for key, value in item.items() if key != "confidence"} if isinstance(item, dict) else item
        for item in answer
    ]


def store(case: Case, submission: Submission) -> Annotation:
    """Add the row of a submission to a locked case; what follows is the business of the caller."""
    external = submission.external
    return Annotation.objects.create(
        case=case,
        annotator=submission.annotator,
        schema_version=submission.schema_version,
        origin=submission.origin,
        answers={} if submission.is_skip or submission.is_deletion else submission.answers,
        problems=[problem.message for problem in submission.problems],
        is_skip=submission.is_skip,
        is_deletion=submission.is_deletion,
        supersedes=_superseded(case, submission),
        prediction=submission.shown,
        changed_heads=changed_heads(submission.shown.heads if submission.shown else None, submission.answers),
        origins=submission.origins,
        reason=submission.reason,
        note=submission.note[:2000],
        seconds=submission.seconds,
        external_project=external.project if external else None,
        external_id=external.id if external else None,
        external_updated_at=external.updated_at if external else None,
    )


def _superseded(case: Case, submission: Submission) -> Annotation | None:
    """Return the earlier row that this one takes the place of: the same annotation in Label Studio before its edit."""
    if submission.external is None:
        return None
    project, number = submission.external.project, submission.external.id
    put_back = Q(restorations__project=project, restorations__external_id=number)
    earlier = case.annotations.filter(Q(external_project=project, external_id=number) | put_back, superseded_by=None)
    return earlier.order_by("-id").first()


def is_stored(external: External, *, is_deletion: bool = False) -> bool:
    """Whether this state of this annotation is stored already."""
    return Annotation.objects.filter(
        external_project=external.project,
        external_id=external.id,
        external_updated_at=external.updated_at,
        is_deletion=is_deletion,
    ).exists()
