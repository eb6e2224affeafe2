"""Calling the API, as a program does."""

from __future__ import annotations

import json
from typing import Any

from django.test import Client

from webapp.actions import tokens
from webapp.models import Scope


def token(*scopes: Scope, name: str = "pipeline", **options: Any) -> str:
    """Make a token, of all scopes unless some are named, and return its secret."""
    return tokens.issue(name, scopes or list(Scope), days=1, by=None, **options)


def call(method: str, path: str, secret: str | None, body: Any = None, *, root: str = "/api/v1", **headers: str) -> Any:
    """Send a request, without cookies; a text is sent as it is."""
    signed = {} if secret is None else {"Authorization": f"Bearer {secret}"}
    written = body if isinstance(body, str) else "" if body is None else json.dumps(body)
    return Client(enforce_csrf_checks=True).generic(
        method, root + path, written, content_type="application/json", headers=signed | headers
    )
