"""What all operations share: who calls, how errors are answered, and the limits."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from functools import partial
from typing import Any

from django.core.exceptions import RequestDataTooBig
from django.http import Http404, HttpRequest, HttpResponse
from ninja import NinjaAPI, Schema
from ninja.errors import HttpError, ValidationError
from ninja.parser import Parser
from ninja.security import HttpBearer

from webapp.actions import tokens
from webapp.casefiles.rows import MAX_DEPTH, depth
from webapp.errors import NotStorable, Taken
from webapp.models import Scope, Token
from webapp.roles import EVERYONE, allow
from webapp.serving import NotServed

MOST_ITEMS = 500  # Of one request
NOT_FOUND = "there is no such thing, or it is not yours"


class Fault(Schema):
    """What is wrong with one part of a request."""

    place: list[str]
    message: str


class Problem(Schema):
    """Why a request was not answered."""

    detail: str
    faults: list[Fault] = []


ERRORS: dict[Any, Any] = {frozenset({400, 401, 403, 413, 422, 429}): Problem}


class Refused(Exception):
    """A request that is not let in."""

    def __init__(self, status: int, detail: str, **headers: str) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, headers


class TokenAuth(HttpBearer):
    """Let calls in whose token is good and was made for this."""

    def __init__(self, scope: Scope) -> None:
        super().__init__()
        self.scope = scope

    def __call__(self, request: HttpRequest) -> Token:
        """Return the token of a call.

        Raises:
            Refused: it has none that is good, or not for this, or called too often.
        """
        kind, _, secret = request.headers.get("Authorization", "").partition(" ")
        if kind.lower() != "bearer" or not secret:
            raise _unknown("give a token in the header Authorization: Bearer TOKEN")
        return self.authenticate(request, secret.strip())

    def authenticate(self, request: HttpRequest, token: str) -> Token:
        """Return the row of a secret."""
        found = tokens.find(token)
        if found is None:
            raise _unknown("the token is unknown, revoked or expired")
        limit(f"token-{found.pk}")
        if not tokens.opens(found, self.scope):
            raise Refused(403, f"the token does not open {self.scope.value}")
        return found


def limit(caller: str) -> None:
    """Count a call.

    Raises:
        Refused: the caller has called too often within this minute.
    """
    if wait := tokens.wait_seconds(caller):
        raise Refused(429, f"too many requests; wait {wait} seconds", **{"Retry-After": str(wait)})


def caller_of(request: HttpRequest) -> Token:
    """Return the token of a call that `TokenAuth` let in."""
    token = request.auth  # type: ignore[attr-defined]
    if not isinstance(token, Token):
        raise Refused(403, "this takes a token")
    return token


class _BoundedParser(Parser):
    """JSON, no deeper than a row of a file may be."""

    def parse_body(self, request: HttpRequest) -> Any:
        body = json.loads(request.body)
        if depth(body) > MAX_DEPTH:
            raise HttpError(400, f"the body is nested more than {MAX_DEPTH} levels deep")
        return body


def make(**options: Any) -> NinjaAPI:
    """Return an API whose errors have one form and never quote what was sent."""
    api = NinjaAPI(parser=_BoundedParser(), docs_decorator=allow(*EVERYONE), **options)
    answers: dict[type[Exception], Callable[[HttpRequest, Any], tuple[int, str, dict[str, str]]]] = {
        Refused: lambda _, exc: (exc.status, exc.detail, exc.headers),
        NotStorable: lambda _, exc: (400, str(exc), {}),
        Taken: lambda _, exc: (409, str(exc), {}),
        NotServed: lambda _, exc: (503, str(exc), {"Retry-After": str(math.ceil(exc.retry_seconds))}),
        RequestDataTooBig: lambda _, exc: (413, "the body is too large; send less at once", {}),
        Http404: lambda _, exc: (404, NOT_FOUND, {}),
        HttpError: lambda _, exc: (exc.status_code, _detail(exc), {}),
    }
    for kind, words in answers.items():
        api.add_exception_handler(kind, partial(_answer, api, words))
    api.add_exception_handler(ValidationError, partial(_answer_faults, api))
    api.add_exception_handler(Exception, _pass_on)
    return api


def _unknown(detail: str) -> Refused:
    return Refused(401, detail, **{"WWW-Authenticate": 'Bearer realm="Caseloop"'})


def _answer(api: NinjaAPI, words: Callable[..., Any], request: HttpRequest, exc: Exception) -> HttpResponse:
    status, detail, headers = words(request, exc)
    response = api.create_response(request, {"detail": detail, "faults": []}, status=status)
    for name, value in headers.items():
        response[name] = value
    return response


def _answer_faults(api: NinjaAPI, request: HttpRequest, exc: ValidationError) -> HttpResponse:
    faults = [{"place": [str(part) for part in one["loc"]], "message": one["msg"]} for one in exc.errors]
    return api.create_response(request, {"detail": "the request is not as declared", "faults": faults}, status=422)


def _pass_on(request: HttpRequest, exc: Any) -> HttpResponse:
    raise exc  # Our log writes no messages of exceptions; the framework's own answer would show them with DEBUG


def _detail(exc: HttpError) -> str:
    cause = exc.__cause__
    return str(cause) if isinstance(cause, HttpError) else str(exc).partition(" (")[0]  # With DEBUG it quotes the body
