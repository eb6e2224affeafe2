"""The gate after a real training, and going back while a worker predicts."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from ml import gate
from tests import tiny
from tests.conftest import change_policy, row_of, train
from webapp import worker
from webapp.actions import predictions, promotions
from webapp.models import Case, CaseState, ModelVersion, Outbox, OutboxPurpose, Promotion, Schema
from webapp.queries import pending, schemas
from webapp.roles import Role


@pytest.fixture
def labelled(toy: Schema, import_rows: Callable[..., Any]) -> Schema:
    """The toy schema with eighty labelled cases, of two sources."""
    rows = [row_of(case) | {"source": "line" if at % 2 else "chat"} for at, case in enumerate(tiny.cases(80))]
    import_rows(toy, *rows)
    return toy


@pytest.fixture
def champion(labelled: Schema) -> ModelVersion:
    version = train(labelled).version
    promotions.promote(version, by=None, reason="the first")
    return version


def test_a_training_stores_what_the_gate_says_of_it_and_a_page_shows_it(labelled, champion, signed_in) -> None:
    change_policy(labelled, gate={"least_cases": 5})
    run = train(labelled, seed=1)
    found = run.version.evaluations.get().gate
    held_out = run.snapshot.rows.filter(side="test").count()
    assert (found["n"], {row["subject"]: row["n"] for row in found["heads"]}) == (
        held_out,
        dict.fromkeys(("Place", "Thing", "Mood", "Names", "Manner"), held_out),
    )
    assert {"source: chat, Place", "source: line, Place"} <= {row["subject"] for row in found["slices"]}
    assert found["cost"]["challenger"]["bytes"] == found["cost"]["champion"]["bytes"] > 1000
    assert found["cost"]["challenger"]["milliseconds"] > 0
    assert champion.evaluations.order_by("id").first().gate == {}
    page = signed_in(Role.SUPERVISOR).get(f"/models/versions/{run.version.pk}/").content.decode()
    assert "The gate, beside version 1</h2>" in page
    assert " ms a case" in page
    assert "<td>source: chat, Place</td><td>its cases</td>" in page


@pytest.mark.parametrize(("automatic", "number"), [(False, 1), (True, 2)])
def test_policy_may_put_a_better_version_in_use_when_it_is_trained(
    labelled, champion, monkeypatch, automatic, number
) -> None:
    change_policy(labelled, gate={"is_automatic": automatic})
    better = gate.Report(gate.Verdict.BETTER, "Better: so and so.", 16, (), gate.Rules())
    monkeypatch.setattr(gate, "compare", lambda *_: better)
    train(labelled, seed=1)
    assert schemas.champion(labelled).number == number
    assert Promotion.objects.filter(reason="Better: so and so.").exists() is automatic


def test_going_back_takes_effect_between_two_batches_of_a_worker(
    labelled, champion, import_rows, sent, monkeypatch
) -> None:
    second = train(labelled, seed=1).version
    promotions.promote(second, by=None, reason="another")
    import_rows(labelled, *({"id": f"asked {n}", "text": f"a hill {n}"} for n in range(6)))
    monkeypatch.setattr(worker.predicting, "BATCH", 2)
    real, answered, begun = predictions.store, [], []

    def store(version: ModelVersion, *args: Any, **rest: Any) -> None:
        real(version, *args, **rest)
        answered.append(version)
        if len(answered) == 1:
            promotions.roll_back(second, by=None, reason="worse")
            begun.append(time.monotonic())

    monkeypatch.setattr(predictions, "store", store)
    worker.predict_cases(labelled.pk)
    assert time.monotonic() - begun[0] < 10
    assert (answered[0], set(answered[1:])) == (second, {champion})
    worker.predict_cases(labelled.pk)
    asked = Case.objects.filter(external_id__startswith="asked")
    assert set(asked.values_list("current_prediction__version", flat=True)) == {champion.pk}


def test_after_a_promotion_open_cases_are_predicted_again_in_order_of_harm_and_told_of(
    labelled, champion, import_rows, sent, monkeypatch
) -> None:
    texts = {"sure": "ship ship", "unsure": "we saw the", "torn": "ship hill"}
    import_rows(labelled, *({"id": name, "text": text} for name, text in texts.items()))
    worker.predict_cases(labelled.pk)
    before = Case.objects.filter(external_id__in=texts).order_by("-rank")
    order, states = list(before.values_list("pk", flat=True)), dict(before.values_list("pk", "state"))
    decided = before[1]
    Case.objects.filter(pk=decided.pk).update(state=CaseState.DECIDED, revision=7)
    kept = Case.objects.values().get(pk=decided.pk)
    Outbox.objects.all().delete()
    second = train(labelled, seed=1).version
    promotions.promote(second, by=None, reason="another")
    assert [case.pk for case in pending.cases(labelled)] == [pk for pk in order if pk != decided.pk]
    stored: list[int] = []
    real = predictions.store

    def store(version: ModelVersion, cases: list[Case], *args: Any, **rest: Any) -> None:
        stored.extend(case.pk for case in cases)
        real(version, cases, *args, **rest)

    monkeypatch.setattr(predictions, "store", store)
    monkeypatch.setattr(worker.predicting, "BATCH", 1)
    change_policy(labelled, thresholds={"place": 1.0})  # Sends everything that is not certain to people
    worker.predict_cases(labelled.pk)
    assert stored == [pk for pk in order if pk != decided.pk]
    assert Case.objects.values().get(pk=decided.pk) == kept
    wanted = set(Outbox.objects.filter(purpose=OutboxPurpose.PUSH).values_list("case", flat=True))
    with_people = set(Case.objects.filter(state=CaseState.LABELLING, pk__in=stored).values_list("pk", flat=True))
    assert wanted == with_people != set()
    assert {pk for pk in with_people if states[pk] != CaseState.LABELLING} != set(), "a route that changed"
