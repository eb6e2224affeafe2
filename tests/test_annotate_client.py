"""The client: how answers become errors."""

from __future__ import annotations

import httpx
import pytest

from annotate import payloads
from annotate.client import BEGINNING, OVERLAP, Client, Page
from annotate.errors import LabelStudioDown, LabelStudioError, LabelStudioRefused
from ml import schema as schemas

KEY = "0" * 40
TEXT = "😀 Wanjiru is twelve.\r\nShe lives in Kisumu."
HELPLINE = schemas.load("helpline")


def _client(answer: httpx.Response | Exception) -> Client:
    def handle(request: httpx.Request) -> httpx.Response:
        if isinstance(answer, Exception):
            raise answer
        return answer

    return Client("http://labels.test", KEY, transport=httpx.MockTransport(handle))


@pytest.mark.parametrize("error", [httpx.ConnectError("no"), httpx.ReadTimeout("slow"), httpx.RemoteProtocolError("?")])
def test_a_broken_connection_is_down(error: Exception) -> None:
    with _client(error) as client, pytest.raises(LabelStudioDown, match=type(error).__name__):
        client.get_project(1)


@pytest.mark.parametrize("status", [500, 502, 503, 429])
def test_a_failing_or_busy_server_is_down(status: int) -> None:
    with _client(httpx.Response(status, html="<h1>no</h1>")) as client, pytest.raises(LabelStudioDown) as caught:
        client.ensure_project("Title", "<View/>", "")
    assert str(caught.value) == f"Label Studio answered with status {status}"


def test_a_page_of_html_is_not_repeated() -> None:
    answer = httpx.Response(404, html="<html>" + "x" * 170_000)
    with _client(answer) as client, pytest.raises(LabelStudioRefused) as caught:
        client.push(1, [{"data": {"case_id": "c", "text": "t"}, "predictions": []}])
    assert str(caught.value) == "Label Studio refused with status 404: no detail"
    assert caught.value.status == 404


def test_a_short_detail_is_repeated() -> None:
    answer = httpx.Response(401, json={"detail": "Invalid token." + "!" * 500})
    with _client(answer) as client, pytest.raises(LabelStudioRefused) as caught:
        client.users()
    assert str(caught.value).startswith("Label Studio refused with status 401: Invalid token.")
    assert len(str(caught.value)) < 300


def test_a_redirect_is_refused_and_not_followed() -> None:
    answer = httpx.Response(302, headers={"location": "http://elsewhere.test/"})
    with _client(answer) as client, pytest.raises(LabelStudioRefused, match="302"):
        client.get_project(1)


def test_a_refused_import_does_not_quote_what_was_sent() -> None:
    def handle(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return httpx.Response(200, json={"tasks": []})
        return httpx.Response(400, json={"detail": f"bad: {request.content.decode()}"})

    task = {"data": {"case_id": "c", "text": "my stepfather beats me"}, "predictions": []}
    client = Client("http://labels.test", KEY, transport=httpx.MockTransport(handle))
    with client, pytest.raises(LabelStudioRefused) as caught:
        client.push(1, [task])
    assert "stepfather" not in str(caught.value)


def test_predictions_that_were_dropped_are_noticed() -> None:
    def handle(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return httpx.Response(200, json={"tasks": []})
        return httpx.Response(201, json={"task_count": 1, "prediction_count": 0, "task_ids": [1]})

    task = payloads.task(HELPLINE, "c", TEXT, None, "v1", rank=0.0)
    client = Client("http://labels.test", KEY, transport=httpx.MockTransport(handle))
    with client, pytest.raises(LabelStudioError, match="stored 0 of 1 predictions"):
        client.push(1, [task])


def test_the_cursor_is_the_servers_time_when_the_poll_began_less_the_overlap() -> None:
    answer = httpx.Response(200, json={"tasks": []}, headers={"date": "Sun, 01 Mar 2026 10:00:07 GMT"})
    with _client(answer) as client:
        assert list(client.changed_since(1)) == [Page((), "2026-03-01T10:00:02.000000Z")]
    assert OVERLAP.total_seconds() == 5


def test_a_cursor_never_goes_back() -> None:
    answer = httpx.Response(200, json={"tasks": []}, headers={"date": "Sun, 01 Mar 2026 10:00:07 GMT"})
    with _client(answer) as client:
        assert [page.cursor for page in client.changed_since(1, "2027-01-01T00:00:00.000000Z")] == [
            "2027-01-01T00:00:00.000000Z"
        ]


def test_without_a_server_time_the_cursor_stays() -> None:
    with _client(httpx.Response(200, json={"tasks": []})) as client:
        assert list(client.changed_since(1)) == [Page((), BEGINNING)]


def test_a_server_that_is_down_is_down() -> None:
    with Client("http://127.0.0.1:9", KEY, timeout_seconds=2) as client, pytest.raises(LabelStudioDown):
        client.users()
