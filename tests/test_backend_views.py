"""What a Label Studio that has connected us as its model asks, without a Label Studio."""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import celery
import pytest
from django.test import Client
from django.utils import timezone

from ml.types import HeadPrediction
from tests import tiny
from tests.conftest import change_policy
from webapp import worker
from webapp.actions import questions, sweeping
from webapp.models import Question, Run, Schema

PASSWORD = "a password for the tests"
PROJECT = """<View><Text name="t" value="$story"/>
<Choices name="where" toName="t"><Choice value="Ocean"/><Choice value="Land"/></Choices></View>"""
SEA = {"place": HeadPrediction("sea", 0.9, {"sea": 0.9, "land": 0.1})}
LAND = {"place": HeadPrediction("land", 0.6, {"sea": 0.4, "land": 0.6})}


class Said:
    """A model that finds the sea where a text names a ship."""

    def predict(self, texts: Any, **_: Any) -> Any:
        return [SEA if "ship" in text else LAND for text in texts]


@pytest.fixture
def ask(settings: Any) -> Callable[..., Any]:
    settings.LABEL_STUDIO_BACKEND_PASSWORD = PASSWORD

    def post(name: str, body: Any, *, user: str = "caseloop", password: str = PASSWORD) -> Any:
        signed = base64.b64encode(f"{user}:{password}".encode()).decode()
        headers = {"Authorization": f"Basic {signed}"}
        client = Client(enforce_csrf_checks=True)
        if body is None:
            return client.get(f"/ls-backend/{name}", headers=headers)
        return client.post(f"/ls-backend/{name}", body, content_type="application/json", headers=headers)

    return post


@pytest.fixture
def answering(toy: Schema, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """A worker that answers at once; what was sent to it."""
    sent: list[tuple[str, Any]] = []

    def run(task: celery.Task, args: Any = None, kwargs: Any = None, **options: Any) -> None:
        sent.append((task.name.removeprefix("webapp.tasks."), args))
        if task.name.endswith("answer_question"):
            task.run(*args)

    monkeypatch.setattr(celery.Task, "apply_async", run)
    monkeypatch.setattr(worker.predicting, "model_of", lambda version: Said())
    return sent


def predict(ask: Callable[..., Any], *texts: str) -> Any:
    return ask("predict", {"tasks": [{"id": 1, "data": {"story": text}} for text in texts], "label_config": PROJECT})


def test_tasks_are_answered_in_their_order_and_nothing_of_them_is_kept(answering, ask) -> None:
    found = predict(ask, "a hill", "", "a ship", "a hill").json()
    assert found["model_version"] == "toy label definitions"
    told = [[one["value"]["choices"] for one in result["result"]] for result in found["results"]]
    assert told == [[["Land"]], [], [["Ocean"]], [["Land"]]]
    scores = [result["score"] for result in found["results"]]
    assert scores[1] < scores[0] == scores[3] < scores[2], "the lowest is asked about first"
    assert (Question.objects.count(), [name for name, _ in answering]) == (0, ["answer_question"])
    assert "ship" not in str(answering), "the broker holds no texts"


def test_setup_names_the_version_and_refuses_a_project_that_we_cannot_answer(answering, ask) -> None:
    body = {"project": "1.1", "schema": PROJECT, "access_token": "secret", "extra_params": None}
    assert ask("setup", body).json() == {"model_version": "toy label definitions"}
    refused = ask("setup", body | {"schema": "<View/>"})
    assert (refused.status_code, "no control of this project" in refused.json()["error"]) == (400, True)


@pytest.mark.parametrize("name", ["health", "setup", "predict", "webhook"])
def test_nobody_is_answered_without_the_password(answering, ask, settings, name) -> None:
    for wrong in ({"password": "another"}, {"user": "admin"}, {"password": ""}):
        answer = ask(name, None if name == "health" else {}, **wrong)
        assert (answer.status_code, answer["WWW-Authenticate"]) == (401, 'Basic realm="Caseloop"')
    settings.LABEL_STUDIO_BACKEND_PASSWORD = ""
    assert ask(name, None if name == "health" else {}, password="").status_code == 401
    assert Client().get("/ls-backend/health", headers={"Authorization": "Basic §"}).status_code == 401


def test_health_says_that_we_are_up(answering, ask) -> None:
    assert ask("health", None).json()["status"] == "UP"


def test_what_is_audited_blind_is_told_to_no_project(answering, ask, toy, import_rows) -> None:
    change_policy(toy, audit_share=1.0)
    import_rows(toy, {"id": "1", "text": "a ship"})
    results = predict(ask, "a ship", "another ship").json()["results"]
    assert [bool(result["result"]) for result in results] == [False, True]


def test_nothing_is_trained_on_request(answering, ask) -> None:
    assert ask("webhook", {"action": "START_TRAINING", "project": {"id": 1}}).status_code == 200
    assert (answering, Run.objects.count()) == ([], 0)
    assert ask("webhook", {"action": "ANNOTATION_CREATED"}).status_code == 200
    assert [name for name, _ in answering] == ["poll_label_studio"]


@pytest.mark.parametrize("body", ["{", "[]", '{"tasks": []}'])
def test_what_is_no_question_is_refused(answering, ask, body) -> None:
    assert ask("predict", body).status_code == 400


def test_a_worker_that_fails_or_is_busy_is_told_in_words(answering, ask, monkeypatch, sent) -> None:
    monkeypatch.setattr(questions, "PATIENCE_SECONDS", 0.2)
    answer = predict(ask, "a ship")  # Nobody answers: it was only noted
    assert (answer.status_code, "no worker answered within 0.2 seconds" in answer.json()["error"]) == (503, True)
    assert Question.objects.count() == 0


def test_a_question_more_than_may_wait_is_refused_at_once(answering, ask, toy) -> None:
    for _ in range(questions.MOST_WAITING):
        Question.objects.create(schema=toy, texts=["a hill"])
    answer = predict(ask, "a ship")
    assert (answer.status_code, answer["Retry-After"]) == (503, "5")
    assert answer.json()["error"] == "2 questions wait already; ask again in 5 seconds"
    assert answering == [], "no worker was asked"
    Question.objects.update(asked_at=timezone.now() - timedelta(seconds=31))  # Their process died
    assert predict(ask, "a ship").status_code == 200


def test_a_failure_never_quotes_a_text(answering, toy, monkeypatch) -> None:
    def broken(version: Any) -> Any:
        raise ValueError("my stepfather locks the door")

    monkeypatch.setattr(worker.predicting, "model_of", broken)
    question = Question.objects.create(schema=toy, texts=["my stepfather locks the door"])
    with pytest.raises(ValueError, match="stepfather"):
        worker.answer(question.pk)
    question.refresh_from_db()
    assert question.failure == "ValueError while predicting; the log of the worker says where."


def test_a_question_that_nobody_waits_for_is_not_answered_and_swept_away(answering, toy) -> None:
    worker.answer(17)
    old = Question.objects.create(schema=toy, texts=["a"])
    Question.objects.update(asked_at=timezone.now() - timedelta(minutes=11))
    new = Question.objects.create(schema=toy, texts=["b"])
    sweeping.sweep()
    assert list(Question.objects.all()) == [new] != [old]


def test_the_version_in_use_answers_more_texts_than_it_reads_at_once(toy) -> None:
    version = toy.model_versions.get()
    question = Question.objects.create(schema=toy, texts=[case.text for case in tiny.cases(70)])
    worker.answer(question.pk)
    question.refresh_from_db()
    expected = worker.model_of(version).predict(question.texts)
    assert [heads["place"]["answer"] for heads in question.predictions] == [said["place"].answer for said in expected]
    assert question.version == version
