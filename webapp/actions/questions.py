"""Questions of projects that are not ours, which connect Caseloop as their model.

A worker answers, since it has the model; the request waits for a bounded time, and few do at once: each keeps a thread
of the web server busy. The texts are gone with the answer.
"""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

from django.utils import timezone

from annotate import backend, payloads
from ml import policy
from ml.types import HeadPrediction, Prediction
from webapp import tasks
from webapp.errors import NotAnswered
from webapp.locks import in_turn
from webapp.models import Question, Schema
from webapp.queries import audits, schemas

PATIENCE_SECONDS = 30.0  # Label Studio itself waits for 100
MOST_WAITING = 2  # Of the threads of all web servers
RETRY_SECONDS = 5
GLANCE_SECONDS = 0.05
LEFT_BEHIND = timedelta(minutes=10)


def connect(label_config: object) -> tuple[Schema, backend.Connection]:
    """Return the schema that answers a project, and how.

    Raises:
        PayloadError: none does.
    """
    newest = {schema.name: schemas.newest_version(schema).parsed for schema in Schema.objects.order_by("name")}
    connection = backend.connect(label_config, newest.values())
    return Schema.objects.get(name=connection.schema.name), connection


def version_of(schema: Schema) -> str:
    """Return what a project calls the version in use."""
    return f"{schema.name} {schemas.answering_version(schema)}"


def ask(label_config: object, asked: object) -> dict[str, Any]:
    """Return the body of predictions for the tasks of a project.

    Raises:
        PayloadError: they are not what a project sends.
        NotAnswered: no worker has answered in time, or it failed, or as many questions as may wait do.
    """
    schema, connection = connect(label_config)
    texts = backend.texts_of(connection, asked)
    question = _answered(schema, sorted({text for text in texts if text}))
    answers = dict(zip(question.texts, question.predictions or [], strict=True))
    blind = audits.blind(question.texts)
    rules = schemas.policy(schema).parsed
    results = []
    for text in texts:
        heads = {} if text in blind else answers.get(text, {})
        said = {key: HeadPrediction.from_json(head) for key, head in heads.items() if key in connection.schema.by_key}
        results.append((backend.result_of(connection, said), _score(connection, rules, said)))
    return backend.answer(f"{schema.name} {question.version}", results)


def clear_out() -> None:
    """Delete the questions that a process left behind when it died."""
    Question.objects.filter(asked_at__lt=timezone.now() - LEFT_BEHIND).delete()


def _answered(schema: Schema, texts: list[str]) -> Question:
    """Return a question as a worker answered it; its row is gone by then."""
    with in_turn("questions"):
        since = timezone.now() - timedelta(seconds=PATIENCE_SECONDS)  # Older ones belong to a process that died
        if Question.objects.filter(asked_at__gt=since).count() >= MOST_WAITING:
            raise NotAnswered(f"{MOST_WAITING} questions wait already; ask again in {RETRY_SECONDS} seconds")
        question = Question.objects.create(schema=schema, texts=texts)
    try:
        tasks.answer_question.apply_async((question.pk,), expires=PATIENCE_SECONDS)
        until = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < until:
            question = Question.objects.select_related("version").get(pk=question.pk)
            if question.failure:
                raise NotAnswered(question.failure)
            if question.predictions is not None:
                return question
            time.sleep(GLANCE_SECONDS)
    finally:
        Question.objects.filter(pk=question.pk).delete()
    raise NotAnswered(f"no worker answered within {PATIENCE_SECONDS:g} seconds; ask again, or for fewer tasks at once")


def _score(connection: backend.Connection, rules: policy.Policy, said: Prediction) -> float:
    """Return a score by which Label Studio's uncertainty order begins with what a mistake on would cost most."""
    harm = policy.expected_harm(connection.schema, rules, said)
    return payloads.score_of(policy.rank(harm, policy.RANK_BEGINS, doubling_hours=rules.doubling_hours))
