"""What other systems say of cases."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from ninja import Router

from webapp.actions import corrections
from webapp.api.base import ERRORS, TokenAuth, caller_of
from webapp.api.schemas import Correction, CorrectionsIn, CorrectionsOut
from webapp.models import Case, Scope, Token
from webapp.queries import answers

router = Router(tags=["corrections"])


@router.post("/corrections", response={200: CorrectionsOut, **ERRORS}, auth=TokenAuth(Scope.CORRECT))
def correct(request: HttpRequest, body: CorrectionsIn) -> dict[str, Any]:
    """Store what a system says of its cases; good ones are kept when others are refused.

    They count as annotations of that system: what people answered stands before them.
    """
    token = caller_of(request)
    return {"results": [_one(token, correction) for correction in body.corrections]}


def _one(token: Token, correction: Correction) -> dict[str, Any]:
    case = _case(token, correction)
    if case is None:
        return {"status": "refused", "heads": [], "problems": ["there is no such case, or it is not yours"]}
    done = corrections.correct(case, correction.labels, by=token, note=correction.note)
    status = "stored" if done.is_news else "known" if done.heads else "refused"
    return {"status": status, "heads": done.heads, "problems": done.problems or ([] if done.heads else ["no label"])}


def _case(token: Token, correction: Correction) -> Case | None:
    named = {"pk": correction.id, "external_id": correction.external_id}
    given = {name: value for name, value in named.items() if value is not None}
    return answers.cases_of(token).filter(**given).first() if given else None
