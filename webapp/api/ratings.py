"""How agents rate what a version said of their calls."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from django.http import Http404, HttpRequest
from ninja import Router, Schema
from ninja.params.functions import Query
from pydantic import Field

from webapp.actions import feedback
from webapp.api.dropins import HELPLINE, REFUSALS, Call, DropinAuth, client_of
from webapp.casefiles.cleaning import clean
from webapp.casefiles.columns import LONGEST
from webapp.models import Feedback
from webapp.queries import ratings

Task = Literal["transcription", "classification", "ner", "summarization", "translation", "qa", "insights"]
DAYS = Query(30, ge=1, le=3660)
router = Router(tags=["agent feedback"])
auth = DropinAuth(HELPLINE)


class Rating(Call):
    """What an agent says of one task on one call."""

    call_id: str = Field(min_length=1, max_length=LONGEST["id"])
    task: Task
    feedback: int = Field(ge=1, le=5)
    reason: str | None = Field(None, max_length=2000)


class RatingOut(Schema):
    """A rating as it is stored, beside what was said of the call."""

    id: int
    call_id: str
    task: str
    prediction: dict[str, Any] | None
    feedback: int
    reason: str | None
    created_at: datetime
    updated_at: datetime


@router.post("/update", response={200: RatingOut, **REFUSALS}, auth=auth)
def update(request: HttpRequest, body: Rating) -> dict[str, Any]:
    """Store a rating, in the place of the one before; 1 and 2 flag the case, also one that is still to come."""
    row = feedback.give(
        source=client_of(request).source,
        external_id=clean(body.call_id),
        task=body.task,
        rating=body.feedback,
        reason=clean(body.reason or ""),
    )
    return _told(row)


@router.get("/call/{path:call_id}", response={200: list[RatingOut], **REFUSALS}, auth=auth)
def of_call(request: HttpRequest, call_id: str, task: Task | None = None) -> list[dict[str, Any]]:
    """Tell the ratings of a call."""
    found = ratings.of_call(client_of(request).source, clean(call_id), task=task)
    if not found:
        raise Http404
    return [_told(row) for row in found]


@router.get("/statistics", response={200: dict[str, Any], **REFUSALS}, auth=auth)
def statistics(request: HttpRequest, task: Task | None = None, days: int = DAYS) -> dict[str, Any]:
    """Tell how tasks were rated within some days."""
    return {"period_days": days, "tasks": ratings.statistics(client_of(request).source, days=days, task=task)}


@router.get("/health", response={200: dict[str, Any], **REFUSALS}, auth=auth)
def health(request: HttpRequest) -> dict[str, Any]:
    """Tell that ratings are taken."""
    return {"status": "healthy", "database": "connected", "rated_entries": Feedback.objects.count()}


def _told(row: Feedback) -> dict[str, Any]:
    said = row.case.current_prediction if row.case else None
    return {
        "id": row.pk,
        "call_id": row.external_id,
        "task": row.task,
        "prediction": said and {key: head["answer"] for key, head in said.heads.items()},
        "feedback": row.rating,
        "reason": row.reason or None,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
    }
