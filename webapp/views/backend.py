"""What a Label Studio asks us that has connected Caseloop as its model.

It signs in by HTTP Basic, as its form for models offers. Nothing here trains, whatever it is asked to.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable
from functools import wraps
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET, require_POST

from annotate import webhooks
from annotate.errors import PayloadError
from webapp import tasks
from webapp.actions import questions
from webapp.errors import NotAnswered

USER = "caseloop"

View = Callable[[HttpRequest], HttpResponse]


def for_label_studio(view: View) -> View:
    """Let only those through who know the password, and answer what is wrong with a request in words."""

    @csrf_exempt
    @wraps(view)
    def checked(request: HttpRequest) -> HttpResponse:
        if not webhooks.is_authentic(_password(request), settings.LABEL_STUDIO_BACKEND_PASSWORD):
            challenge = {"WWW-Authenticate": 'Basic realm="Caseloop"'}
            return JsonResponse({"error": "wrong user or password"}, status=401, headers=challenge)
        try:
            return view(request)
        except PayloadError as exc:
            return JsonResponse({"error": str(exc)}, status=400)
        except NotAnswered as exc:
            again = {"Retry-After": str(questions.RETRY_SECONDS)}
            return JsonResponse({"error": str(exc)}, status=503, headers=again)

    return checked


@for_label_studio
@require_GET
def health(request: HttpRequest) -> HttpResponse:
    """Say that we are there."""
    return JsonResponse({"status": "UP", "model_class": "Caseloop"})


@for_label_studio
@require_POST
def setup(request: HttpRequest) -> HttpResponse:
    """Say which version answers a project, if one can; its access token is not read."""
    schema, _ = questions.connect(_body(request).get("schema"))
    return JsonResponse({"model_version": questions.version_of(schema)})


@for_label_studio
@require_POST
def predict(request: HttpRequest) -> HttpResponse:
    """Answer the tasks of a project."""
    body = _body(request)
    return JsonResponse(questions.ask(body.get("label_config"), body.get("tasks")))


@for_label_studio
@require_POST
def webhook(request: HttpRequest) -> HttpResponse:
    """Take what happened in a project for a nudge to poll our own; who asks for a training gets none."""
    if webhooks.parse(request.body) is not None:
        tasks.poll_label_studio.delay()
    return JsonResponse({})


def _password(request: HttpRequest) -> str:
    """Return the password of a request; the empty text, which opens nothing, if it has none or is another user's."""
    kind, _, given = request.headers.get("Authorization", "").partition(" ")
    try:
        user, _, password = base64.b64decode(given, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return ""
    return password if kind.lower() == "basic" and user == USER else ""


def _body(request: HttpRequest) -> dict[str, Any]:
    try:
        body = json.loads(request.body)
    except (ValueError, RecursionError):
        raise PayloadError("the body is not JSON") from None
    if not isinstance(body, dict):
        raise PayloadError("the body is not an object")
    return body
