"""What a program is told of a case: never its text, and of who decided only in which role."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from django.db.models import Prefetch, QuerySet
from django.http import Http404

from ml.types import HeadPrediction
from webapp.models import Case, CaseState, Flag, Label, Origin, Schema, Token
from webapp.queries import search, wording
from webapp.roles import visible_cases

ROLES = {
    Origin.REVIEW: "supervisor",
    Origin.LABEL_STUDIO: "annotator",
    Origin.API: "system",
    Origin.IMPORT: "import",
}


def cases_of(token: Token) -> QuerySet[Case]:
    """Return the cases that a token opens: those of its own source for a service, those of its person else."""
    if token.user is not None:
        found = visible_cases(token.user)
    else:
        found = Case.objects.exclude(state=CaseState.ERASED).filter(source=token.name)
    return _with_facts(found)


def told_outside(ids: Iterable[int]) -> list[dict[str, Any]]:
    """Return what subscribers are told of cases: the answer for each head, without what else was likely."""
    found = [told(case, None) for case in _with_facts(Case.objects.filter(pk__in=list(ids)).order_by("pk"))]
    for facts in found:
        del facts["is_blind"]
        if facts["prediction"]:
            heads = facts["prediction"]["heads"].items()
            facts["prediction"]["heads"] = {
                key: {"answer": head["answer"], "confidence": head["confidence"]} for key, head in heads
            }
    return found


def _with_facts(cases: QuerySet[Case]) -> QuerySet[Case]:
    return cases.select_related("schema", "conversation", "current_prediction__version").prefetch_related(
        Prefetch("flags", Flag.objects.filter(resolved_at=None).order_by("id"), to_attr="open_flags"),
        Prefetch("labels", Label.objects.select_related("annotation").order_by("id")),
    )


def case_of(token: Token, pk: int) -> Case:
    """Return one case if the token opens it.

    Raises:
        Http404: there is no such case, or it is not theirs; the answer does not tell which.
    """
    found = cases_of(token).filter(pk=pk).first()
    if found is None:
        raise Http404("no such case")
    return found


def find(
    token: Token,
    *,
    schema: Schema | None = None,
    state: str | None = None,
    source: str | None = None,
    external_ids: Sequence[str] | None = None,
    conversation: str | None = None,
    words: str | None = None,
    after: int = 0,
    most: int,
) -> tuple[list[Case], int | None]:
    """Return the cases that fit, the oldest first, and after which to go on; None at the end."""
    found = cases_of(token).filter(pk__gt=after)
    given: dict[str, Any] = {
        "schema": schema,
        "state": state,
        "source": source,
        "external_id__in": external_ids,
        "conversation__external_id": conversation,
    }
    found = found.filter(**{name: value for name, value in given.items() if value is not None})
    if words is not None:
        found = search.within(found, words, token.user)
    rows = list(found.order_by("pk")[: most + 1])
    return rows[:most], rows[most - 1].pk if len(rows) > most else None


def told(case: Case, token: Token | None) -> dict[str, Any]:
    """Return what a program may know of a case. People hear nothing of what is audited blind, services do."""
    is_blind = bool(token and token.user) and case.is_audit and case.is_open
    said = case.current_prediction
    return {
        "id": case.pk,
        "source": case.source,
        "external_id": case.external_id,
        "schema": case.schema.name,
        "conversation": case.conversation and case.conversation.external_id,
        "state": case.state,
        "received_at": case.received_at,
        "sent_at": case.sent_at,
        "is_blind": is_blind,
        "prediction": None
        if said is None or is_blind
        else {
            "version": str(said.version),
            "is_trained": said.version.is_trained,
            "is_familiar": said.is_familiar,
            "at": said.created_at,
            "heads": {key: head_of(HeadPrediction.from_json(head)) for key, head in said.heads.items()},
        },
        "flags": [
            {"kind": flag.kind, "head": flag.head or None}
            for flag in wording.told(case.open_flags, blind=is_blind)  # type: ignore[attr-defined]
        ],
        "labels": {
            label.head: {
                "answer": label.answer,
                "rule": label.rule,
                "decided_by": ROLES[Origin(label.annotation.origin)],
                "at": label.resolved_at,
            }
            for label in case.labels.all()
        },
    }


def head_of(said: HeadPrediction, *, probabilities: bool = True, words: Sequence[Any] | None = None) -> dict[str, Any]:
    """Return what a program is told of one head."""
    return {
        "answer": said.answer,
        "confidence": said.confidence,
        "probabilities": said.probabilities if probabilities else None,
        "words": words,
    }
