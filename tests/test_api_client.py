"""The client of docs/examples, used against the real app."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.calling import token
from tests.engines import NOBODY_LISTENS
from webapp.actions import schemas
from webapp.models import Annotation, Case, Scope

PLACE = Path(__file__).resolve().parent.parent / "docs" / "examples" / "client.py"
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="module")
def example() -> Any:
    spec = importlib.util.spec_from_file_location("caseloop_client", PLACE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def waits() -> list[float]:
    """How long the client waited, without the waiting."""
    return []


@pytest.fixture
def caseloop(example: Any, live_server: Any, sent: Any, waits: list[float]) -> Iterator[Any]:
    schemas.register_shipped()
    with example.Caseloop(live_server.url, token(name="pipeline"), wait=waits.append) as client:
        yield client


def cases(count: int) -> Iterator[dict[str, str]]:
    return ({"text": f"She is hungry, says caller {number}."} for number in range(count))


def test_more_cases_than_one_request_takes_are_sent_once_and_read_page_by_page(caseloop) -> None:
    first = caseloop.send("helpline", cases(501), key="nightly")
    again = caseloop.send("helpline", cases(501), key="nightly")
    assert ({one["status"] for one in first}, {one["status"] for one in again}) == ({"created"}, {"known"})
    assert Case.objects.count() == 501
    assert [case["id"] for case in caseloop.search(limit=200)] == [one["id"] for one in first]
    assert [one["status"] for one in caseloop.send("helpline", [{"text": ""}, *cases(1)])] == ["refused", "created"]


def test_a_case_is_read_corrected_and_withdrawn(caseloop) -> None:
    (sent,) = caseloop.send("helpline", [{"external_id": "17", "text": "She is hungry."}])
    assert caseloop.read(sent["id"])["state"] == "new"
    (done,) = caseloop.correct([{"external_id": "17", "labels": {"priority": "1"}}])
    assert (done["status"], Annotation.objects.get().case.external_id) == ("stored", "17")
    assert caseloop.withdraw(sent["id"])["state"] == "withdrawn"
    assert list(caseloop.search(state="new")) == []


def test_what_is_refused_is_an_error_that_says_why(caseloop, example, live_server) -> None:
    with pytest.raises(example.Refused, match="404: there is no such thing, or it is not yours"):
        caseloop.read(10**6)
    with (
        example.Caseloop(live_server.url, token(Scope.READ, name="reader")) as reader,
        pytest.raises(example.Refused, match="403: the token does not open cases:write"),
    ):
        reader.send("helpline", cases(1))


def test_it_waits_as_long_as_it_is_asked_to_and_not_for_ever(caseloop, example, waits) -> None:
    with pytest.raises(example.Refused, match="503: no trained version of helpline is in use yet"):
        caseloop.predict("helpline", ["She is hungry."])
    assert waits == [60, 60]


def test_who_calls_too_often_is_answered_in_the_end(caseloop, waits, settings) -> None:
    settings.API_REQUESTS_PER_MINUTE = 1

    def wait(seconds: float) -> None:
        waits.append(seconds)
        settings.API_REQUESTS_PER_MINUTE = 1000

    caseloop.wait = wait
    for _ in range(3):  # The minute may end meanwhile
        assert list(caseloop.search()) == []
    assert len(waits) <= 1
    assert all(1 <= seconds <= 60 for seconds in waits)


def test_a_server_that_is_gone_is_asked_again_for_a_while(example, waits) -> None:
    with (
        example.Caseloop(NOBODY_LISTENS, "x", patience_seconds=10, wait=waits.append) as client,
        pytest.raises(httpx.ConnectError),
    ):
        client.read(1)
    assert waits == [1, 2, 4]
