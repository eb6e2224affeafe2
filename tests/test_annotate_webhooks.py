"""Webhooks of Label Studio: who may nudge, and what a nudge says."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotate import webhooks
from annotate.errors import PayloadError
from annotate.webhooks import Nudge


def test_the_right_secret_is_authentic() -> None:
    assert webhooks.is_authentic("s3cret", "s3cret")


@pytest.mark.parametrize("header", [None, "", "S3cret", "s3cret ", "s3cre", "é3cret", "\udcff"])
def test_any_other_secret_is_not(header: str | None) -> None:
    assert not webhooks.is_authentic(header, "s3cret")


@pytest.mark.parametrize("header", [None, ""])
def test_an_empty_secret_authenticates_nobody(header: str | None) -> None:
    assert not webhooks.is_authentic(header, "")


def test_a_body_with_an_action_alone_is_a_nudge() -> None:
    assert webhooks.parse(b'{"action": "ANNOTATION_CREATED"}') == Nudge("ANNOTATION_CREATED")


@pytest.mark.parametrize("project", [{"id": 7, "title": "Calls"}, 7], ids=["as an object", "as a number"])
def test_a_body_may_say_which_project(project: object) -> None:
    body = json.dumps({"action": "ANNOTATIONS_DELETED", "project": project}).encode()
    assert webhooks.parse(body) == Nudge("ANNOTATIONS_DELETED", 7)


def test_an_action_that_does_not_concern_us_is_none() -> None:
    assert webhooks.parse(b'{"action": "PROJECT_UPDATED"}') is None


@pytest.mark.parametrize(
    "body",
    [b"", b"\xff", b"[]", b"null", b"{}", b'{"action": 1}', b"[" * 100_000, b'{"action": "A"'],
    ids=["empty", "not text", "list", "null", "no action", "number", "nested too deep", "cut off"],
)
def test_a_malformed_body_is_a_payload_error(body: bytes) -> None:
    with pytest.raises(PayloadError):
        webhooks.parse(body)


def test_a_body_that_is_too_large_is_not_even_parsed() -> None:
    body = b'{"action": "ANNOTATION_CREATED", "x": "' + b"x" * webhooks.LARGEST_BODY + b'"}'
    with pytest.raises(PayloadError, match="at most 1048576 are read"):
        webhooks.parse(body)


def test_an_error_does_not_quote_the_body() -> None:
    with pytest.raises(PayloadError) as caught:
        webhooks.parse(b"my stepfather beats me")
    assert "stepfather" not in str(caught.value)
    assert caught.value.__cause__ is None


@given(st.binary(max_size=200) | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps))
def test_whatever_comes_is_a_nudge_or_none_or_a_payload_error(body: bytes | str) -> None:
    try:
        nudge = webhooks.parse(body if isinstance(body, bytes) else body.encode())
    except PayloadError:
        return
    assert nudge is None or nudge.action in webhooks.ACTIONS
