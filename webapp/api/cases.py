"""Cases in, and what is known of them out."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from ninja import Router
from ninja.params.functions import Header
from pydantic import ValidationError

from webapp.actions import intake
from webapp.actions.intake import Received
from webapp.api.base import ERRORS, Problem, Refused, TokenAuth, caller_of
from webapp.api.schemas import CaseIn, CaseOut, CasesIn, CasesOut, Result, ResultsOut, SearchIn
from webapp.models import Schema, Scope
from webapp.queries import answers

router = Router(tags=["cases"])

KEY = Header("", alias="Idempotency-Key", max_length=200)


def schema_named(name: str) -> Schema:
    """Return a label schema.

    Raises:
        Refused: there is none of that name.
    """
    found = Schema.objects.filter(name=name.replace("\x00", "")).first()
    if found is None:
        known = ", ".join(Schema.objects.order_by("name").values_list("name", flat=True))
        raise Refused(404, f"there is no such label schema; expected one of {known}")
    return found


@router.post("/cases", response={200: ResultsOut, 404: Problem, **ERRORS}, auth=TokenAuth(Scope.WRITE))
def create(request: HttpRequest, body: CasesIn, key: str = KEY) -> dict[str, Any]:
    """Create cases; good items are kept when others are refused.

    A case is known by its source, which is the name of the token, and its external id. Where an item has none, the same
    `Idempotency-Key` gives it the same. A message of a conversation is a case that names it.
    """
    token, schema = caller_of(request), schema_named(body.schema_name)
    read = [_read(item) for item in body.cases]
    good = [one for one in read if isinstance(one, dict)]
    found = iter(intake.receive(schema, good, source=token.name, by=token, key=key))
    return {"results": [result_of(next(found)) if isinstance(one, dict) else one for one in read]}


@router.get("/cases/{int:pk}", response={200: CaseOut, 404: Problem, **ERRORS}, auth=TokenAuth(Scope.READ))
def read(request: HttpRequest, pk: int) -> dict[str, Any]:
    """Tell what was predicted of a case, where it went, and what was decided by whom."""
    token = caller_of(request)
    return answers.told(answers.case_of(token, pk), token)


@router.post("/cases/search", response={200: CasesOut, 404: Problem, **ERRORS}, auth=TokenAuth(Scope.READ))
def search(request: HttpRequest, body: SearchIn) -> dict[str, Any]:
    """Tell the same of all cases that fit, the oldest first."""
    token = caller_of(request)
    found, after = answers.find(
        token,
        schema=schema_named(body.schema_name) if body.schema_name is not None else None,
        state=body.state,
        source=body.source,
        external_ids=body.external_ids,
        conversation=body.conversation,
        words=body.words,
        after=body.after,
        most=body.limit,
    )
    return {"cases": [answers.told(case, token) for case in found], "after": after}


@router.post("/cases/{int:pk}/withdraw", response={200: CaseOut, 404: Problem, **ERRORS}, auth=TokenAuth(Scope.WRITE))
def withdraw(request: HttpRequest, pk: int) -> dict[str, Any]:
    """Take a case back: nobody is asked about it any more."""
    token = caller_of(request)
    intake.withdraw(answers.case_of(token, pk), by=token)
    return answers.told(answers.case_of(token, pk), token)


def result_of(received: Received) -> Result:
    """Return how an item is answered."""
    case = received.case
    return Result(
        status="refused" if case is None else "created" if received.is_new else "known",
        id=case.pk if case else None,
        external_id=received.external_id,
        problems=list(received.problems),
    )


def _read(item: dict[str, Any]) -> dict[str, Any] | Result:
    """Return an item as a row of a file, or why it is refused."""
    try:
        case = CaseIn.model_validate(item)
    except ValidationError as exc:
        problems = [
            f"{'.'.join(map(str, one['loc']))}: {one['msg']}"
            for one in exc.errors(include_url=False, include_context=False, include_input=False)
        ]
        return Result(status="refused", id=None, external_id=None, problems=problems)
    row = case.model_dump(exclude_none=True)
    return {
        "text": row["text"],
        "id": row.get("external_id"),
        "conversation": row.get("conversation"),
        "sent_at": case.sent_at.isoformat() if case.sent_at else None,
        "metadata": row["metadata"],
    }
