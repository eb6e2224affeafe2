"""The address that Label Studio nudges: who may, and what it sets going."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse

from annotate import webhooks

SECRET = "the shared secret"
NUDGE = json.dumps({"action": "ANNOTATION_CREATED"}).encode()


@pytest.fixture(autouse=True)
def shared_secret(settings: Any) -> None:
    settings.LABEL_STUDIO_WEBHOOK_SECRET = SECRET


def post(body: bytes = NUDGE, *, secret: str | None = SECRET) -> HttpResponse:
    headers = {} if secret is None else {webhooks.SECRET_HEADER: secret}
    client = Client(enforce_csrf_checks=True)  # Label Studio has no token of ours
    return client.post(reverse("label-studio-webhook"), body, content_type="application/json", headers=headers)


def test_the_right_secret_sends_exactly_one_poll(sent) -> None:
    answer = post()
    assert (answer.status_code, answer.content) == (204, b"")
    assert sent == [("poll_label_studio",)]


@pytest.mark.parametrize("action", webhooks.ACTIONS)
def test_every_action_that_we_ask_for_sends_a_poll(sent, action) -> None:
    assert post(json.dumps({"action": action}).encode()).status_code == 204
    assert sent == [("poll_label_studio",)]


def test_the_poll_does_not_depend_on_what_the_body_claims(sent) -> None:
    body = {"action": "ANNOTATION_CREATED", "project": {"id": 7}, "annotation": {"id": 1, "result": ["believe me"]}}
    assert post(json.dumps(body).encode()).status_code == 204
    assert sent == [("poll_label_studio",)]


def test_an_action_that_does_not_concern_us_sends_nothing(sent) -> None:
    assert post(b'{"action": "PROJECT_UPDATED"}').status_code == 204
    assert sent == []


@pytest.mark.parametrize(
    "secret",
    [
        pytest.param(None, id="missing"),
        pytest.param("", id="empty"),
        pytest.param("the shared secre", id="cut short"),
        pytest.param("THE SHARED SECRET", id="in capitals"),
        pytest.param("gehéim", id="not ASCII"),
    ],
)
def test_another_secret_is_forbidden_and_sends_nothing(sent, secret) -> None:
    answer = post(secret=secret)
    assert (answer.status_code, answer.content) == (403, b"wrong secret")
    assert sent == []


@pytest.mark.parametrize("secret", [None, "", "anything"], ids=["missing", "empty", "any"])
def test_a_secret_that_was_never_set_lets_nobody_in(sent, settings, secret) -> None:
    settings.LABEL_STUDIO_WEBHOOK_SECRET = ""
    assert post(secret=secret).status_code == 403
    assert sent == []


def test_the_secret_is_checked_before_the_body_is_read(sent) -> None:
    assert post(b"{", secret="wrong").status_code == 403
    assert sent == []


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"{", id="not JSON"),
        pytest.param(b"\xff\xfe", id="not UTF-8"),
        pytest.param(b'["ANNOTATION_CREATED"]', id="a list"),
        pytest.param(b"{}", id="no action"),
        pytest.param(b'{"action": 1}', id="an action that is no text"),
        pytest.param(b"[" * 100_000, id="nested too deep"),
        pytest.param(NUDGE + b" " * webhooks.LARGEST_BODY, id="too large"),
        pytest.param(NUDGE + b" " * 6_000_000, id="larger than any request"),
    ],
)
def test_a_body_that_is_malformed_is_refused_and_sends_nothing(sent, body) -> None:
    assert post(body).status_code == 400
    assert sent == []


def test_the_refusal_does_not_repeat_the_body(sent) -> None:
    answer = post(b'{"my stepfather": ')
    assert answer.content == b"webhook body is not JSON (JSONDecodeError)"


@pytest.mark.parametrize("method", ["get", "put", "delete", "head"])
def test_only_post_is_allowed(sent, method) -> None:
    answer = getattr(Client(), method)(reverse("label-studio-webhook"), headers={webhooks.SECRET_HEADER: SECRET})
    assert (answer.status_code, answer.headers["Allow"]) == (405, "POST")
    assert sent == []
