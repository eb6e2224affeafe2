"""A project of another team in a real Label Studio that has connected Caseloop as its model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import celery
import httpx
import pytest

from tests.conftest import helpline_prediction
from webapp import tasks, worker
from webapp.models import Question, Run

pytestmark = [pytest.mark.label_studio, pytest.mark.django_db(transaction=True)]

CONFIG = """<View><Text name="story" value="$transcript"/>
<Choices name="urgency" toName="story"><Choice value="1"/><Choice value="2" alias="two"/><Choice value="3"/></Choices>
<Choices name="mood" toName="story"><Choice value="Happy"/><Choice value="Sad"/></Choices></View>"""
PASSWORD = "a password for the tests"


class Said:
    """A model that says the same of every text."""

    def predict(self, texts: Any, **_: Any) -> Any:
        return [helpline_prediction(sure=0.6) for _ in texts]


@pytest.fixture
def theirs(browser: httpx.Client) -> Iterator[int]:
    """A project that is not ours, with two tasks."""
    body = {"title": "Another team", "label_config": CONFIG}
    number = browser.post("/api/projects/", json=body).raise_for_status().json()["id"]
    stories = [{"data": {"transcript": text}} for text in ("a", "b")]
    browser.post(f"/api/projects/{number}/import", json=stories).raise_for_status()
    yield number
    browser.delete(f"/api/projects/{number}/")


@pytest.fixture
def address(helpline_at: Any, settings: Any, live_server: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    """Our backend, with a worker that answers in the process of the tests."""
    settings.LABEL_STUDIO_BACKEND_PASSWORD = PASSWORD
    monkeypatch.setattr(worker.predicting, "model_of", lambda version: Said())

    def run(task: celery.Task, args: Any = None, kwargs: Any = None, **options: Any) -> None:
        if task.name == tasks.answer_question.name:
            tasks.answer_question(*args)

    monkeypatch.setattr(celery.Task, "apply_async", run)
    return f"http://127.0.0.1:{live_server.thread.port}/ls-backend"


def connect(browser: httpx.Client, project: int, address: str, password: str = PASSWORD) -> httpx.Response:
    signed = {"auth_method": "BASIC_AUTH", "basic_auth_user": "caseloop", "basic_auth_pass": password}
    return browser.post("/api/ml/", json={"url": address, "project": project, "title": "Caseloop", **signed})


def test_label_studio_fetches_predictions_from_us_for_the_tasks_of_another_team(address, theirs, browser) -> None:
    connected = connect(browser, theirs, address).raise_for_status().json()
    assert (connected["readable_state"], connected["model_version"]) == ("Connected", "helpline version 1")
    wanted = {"selectedItems": {"all": True, "excluded": []}, "filters": {"conjunction": "and", "items": []}}
    place = {"id": "retrieve_tasks_predictions", "project": theirs}
    browser.post("/api/dm/actions/", params=place, json=wanted).raise_for_status()
    found = browser.get("/api/predictions/", params={"project": theirs}).json()
    assert [(one["model_version"], one["result"]) for one in found] == 2 * [
        (
            "helpline version 1",
            [{"from_name": "urgency", "to_name": "story", "type": "choices", "value": {"choices": ["two"]}}],
        )
    ]
    assert Question.objects.count() == 0


def test_label_studio_is_refused_with_another_password(address, theirs, browser) -> None:
    refused = connect(browser, theirs, address, "another password")
    assert refused.status_code == 400
    assert "authentication parameters were" in refused.text


def test_a_training_that_label_studio_asks_for_is_none(address, theirs, browser) -> None:
    number = connect(browser, theirs, address).raise_for_status().json()["id"]
    assert browser.post(f"/api/ml/{number}/train", json={}).status_code == 200
    assert browser.get(f"/api/ml/{number}").json()["readable_state"] == "Connected"
    assert Run.objects.count() == 0
