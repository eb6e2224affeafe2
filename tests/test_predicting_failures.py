"""A case that cannot be predicted keeps no other from its answer, and goes to people in the end."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from ml.registry import ModelFolderError
from ml.types import HeadPrediction
from tests.conftest import case_named, trained_version
from webapp import worker
from webapp.actions import predictions, promotions
from webapp.models import Case, CaseState, ModelVersion
from webapp.queries import pending, schemas, wording
from webapp.roles import Role

FAILED = "no model could answer it: predicting it failed 3 times"


class Choking:
    """Answers as a model does, but for texts with one word in them."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def predict(self, texts: list[str]) -> list[dict[str, HeadPrediction]]:
        self.batches.append(len(texts))
        if any("poison" in text for text in texts):
            raise ValueError("cannot read it")
        return [{"priority": HeadPrediction("2", 0.9, {"2": 0.9, "1": 0.1})} for _ in texts]


@pytest.fixture
def model(monkeypatch) -> Choking:
    found = Choking()
    monkeypatch.setattr(worker.predicting, "model_of", lambda version: found)
    return found


@pytest.fixture
def waiting(helpline, import_rows, sent):
    import_rows(helpline, *({"id": text, "text": text} for text in ("first", "poison", "last")))
    return helpline


def dead(cases: list[Case]) -> None:
    """Let the leases of cases run out, as those of a worker that died do."""
    held = Case.objects.filter(pk__in=[case.pk for case in cases])
    assert held.update(predicting_until=timezone.now() - timedelta(seconds=1)) == len(cases)


def test_a_case_that_fails_keeps_no_other_of_its_batch_unpredicted(waiting, model, caplog) -> None:
    with pytest.raises(ValueError, match="cannot read it"):
        worker.predict_cases(waiting.pk)
    assert model.batches == [3, 1, 1, 1, 1, 1, 1]  # With a neutral text after each failure
    assert [case_named(name).current_prediction is None for name in ("first", "poison", "last")] == [False, True, False]
    assert (case_named("first").predicting_attempts, case_named("poison").predicting_attempts) == (0, 2)
    assert "poison" not in caplog.text


def test_a_case_that_fails_three_times_is_reviewed_with_the_reason_in_words(waiting, model, signed_in) -> None:
    for _ in range(2):
        with pytest.raises(ValueError, match="cannot read it"):
            worker.predict_cases(waiting.pk)
    case = case_named("poison")
    assert (case.state, case.predicting_until) == (CaseState.REVIEW, None)
    parsed = schemas.newest_version(waiting).parsed
    assert wording.reason(parsed, case.flags.all(), blind=False) == FAILED
    assert FAILED in signed_in(Role.SUPERVISOR).get(f"/cases/{case.pk}/").content.decode()
    assert not pending.cases(waiting).exists()
    worker.predict_cases(waiting.pk)
    assert len(model.batches) == 9


def test_a_case_that_kills_its_worker_is_claimed_alone_and_three_times_at_most(waiting) -> None:
    def claim() -> list[str]:
        cases = predictions.claim(waiting, 10, most_characters=1000)
        dead(cases)
        return sorted(case.external_id for case in cases)

    assert claim() == ["first", "last", "poison"]
    taken = [claim() for _ in range(6)]
    assert all(len(names) == 1 for names in taken)
    assert sorted(name for names in taken for name in names) == sorted(["first", "last", "poison"] * 2)
    assert claim() == []
    assert set(Case.objects.values_list("state", "predicting_attempts")) == {(CaseState.REVIEW, 3)}
    assert not pending.free_cases(waiting).exists()


def test_another_version_in_use_is_asked_again(waiting) -> None:
    Case.objects.update(predicting_attempts=3, state=CaseState.REVIEW)
    promotions.promote(trained_version(waiting), by=None, reason="better")
    assert len(predictions.claim(waiting, 10, most_characters=1000)) == 3


def test_a_model_that_fails_at_everything_is_no_fault_of_the_cases(waiting, monkeypatch) -> None:
    class Broken:
        def predict(self, texts: list[str]) -> Any:
            raise RuntimeError("out of memory")

    monkeypatch.setattr(worker.predicting, "model_of", lambda version: Broken())
    for _ in range(4):
        with pytest.raises(RuntimeError, match="out of memory"):
            worker.predict_cases(waiting.pk)
    assert set(Case.objects.values_list("state", "predicting_attempts", "predicting_until")) == {("new", 0, None)}


def test_cases_that_fail_together_are_to_blame_where_the_model_answers_another_text(
    helpline, import_rows, model
) -> None:
    import_rows(helpline, *({"id": name, "text": f"poison {name}"} for name in ("first", "last")))
    with pytest.raises(ValueError, match="cannot read it"):
        worker.predict_cases(helpline.pk)
    assert set(Case.objects.values_list("predicting_attempts", "predicting_until")) == {(1, None)}


@pytest.mark.parametrize("fails", ["to load", "to answer"])
def test_a_model_that_is_broken_uses_up_no_attempt_of_a_lone_case(
    helpline, import_rows, monkeypatch, sent, fails
) -> None:
    attempts: list[int] = []

    class Broken:
        def __init__(self, version: ModelVersion) -> None:
            attempts.append(Case.objects.get().predicting_attempts)  # What would stay if the worker died of it
            if fails == "to load":
                raise ModelFolderError("a file is missing")

        def predict(self, texts: list[str]) -> Any:
            attempts.append(Case.objects.get().predicting_attempts)
            raise RuntimeError("out of memory")

    import_rows(helpline, {"id": "1", "text": "alone"})
    monkeypatch.setattr(worker.answering, "_load", Broken)
    for _ in range(4):
        with pytest.raises((ModelFolderError, RuntimeError)):
            worker.predict_cases(helpline.pk)
    assert set(attempts) == {0}
    case = case_named("1")
    assert (case.state, case.predicting_attempts, case.predicting_until) == (CaseState.NEW, 0, None)


def test_a_model_that_breaks_after_it_was_loaded_uses_up_no_attempt_of_a_lone_case(
    helpline, import_rows, monkeypatch, sent
) -> None:
    class Broken:
        def predict(self, texts: list[str]) -> Any:
            raise RuntimeError("out of memory")

    import_rows(helpline, {"id": "1", "text": "alone"})
    monkeypatch.setattr(worker.predicting, "model_of", lambda version: Broken())
    for _ in range(4):
        with pytest.raises(RuntimeError, match="out of memory"):
            worker.predict_cases(helpline.pk)
    assert case_named("1").predicting_attempts == 0


def test_a_batch_has_no_more_characters_than_it_may_but_one_case_at_least(waiting) -> None:
    sizes = [len(predictions.claim(waiting, 10, most_characters=12)) for _ in range(3)]
    assert sizes == [2, 1, 0]
    Case.objects.update(predicting_until=None, predicting_attempts=0)
    assert len(predictions.claim(waiting, 10, most_characters=1)) == 1


def test_a_failing_audit_is_still_shown_blind(waiting, model) -> None:
    Case.objects.filter(external_id="poison").update(is_audit=True)
    predictions.fail(predictions.claim(waiting, 10, most_characters=1000))
    Case.objects.filter(external_id="poison").update(predicting_attempts=3)
    predictions.fail([case_named("poison")])
    parsed = schemas.newest_version(waiting).parsed
    assert wording.reason(parsed, case_named("poison").flags.all(), blind=True) == "audit: answered without the model"
