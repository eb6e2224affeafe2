"""Predicting texts that are not stored, in the web process."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from ml import registry
from ml.serving import Predictor
from tests import tiny
from tests.calling import call, token
from tests.conftest import change_policy
from webapp import serving
from webapp.actions import intake, promotions
from webapp.models import Case, CaseText, ModelVersion, Question, Schema, Scope
from webapp.queries import schemas as in_force
from webapp.roles import Role

TEXTS = ["hello Ship ship calm", "a Road road"]


@pytest.fixture
def served(toy: Schema, tiny_folder: Path, settings: Any, sent: Any) -> ModelVersion:
    """A trained version of the toy schema, in use."""
    settings.MODELS_DIR = tiny_folder.parent
    return promote(toy, tiny_folder, 1)


def promote(schema: Schema, folder: Path, number: int) -> ModelVersion:
    version = ModelVersion.objects.create(
        schema=schema,
        schema_version=in_force.newest_version(schema),
        kind="trained",
        number=number,
        folder=folder.name,
        manifest_hash=registry.manifest_hash(folder),
    )
    promotions.promote(version, by=None, reason="a test needs it")
    return version


def ask(texts: list[str], secret: str = "", **options: Any) -> Any:
    body = {"schema": "toy", "texts": texts, **options}
    return call("POST", "/predict", secret or token(Scope.PREDICT, name="shop"), body)


def warm(texts: list[str], secret: str = "", **options: Any) -> Any:
    """Ask again as often as we are told to, but sooner."""
    for _ in range(200):
        answer = ask(texts, secret, **options)
        if answer.status_code != 503:
            return answer
        time.sleep(0.05)
    raise AssertionError(answer.content)


@pytest.fixture(autouse=True)
def _cold() -> None:
    serving.forget()


def test_a_cold_process_says_when_to_ask_again_and_then_answers_as_the_model_does(served, tiny_folder) -> None:
    cold = ask(TEXTS)
    assert (cold.status_code, cold["Retry-After"]) == (503, "2")
    assert cold.json()["detail"] == "version 1 of toy is being loaded"
    answer = warm(TEXTS, probabilities=True).json()
    expected = Predictor(tiny_folder).predict(TEXTS)
    assert answer["version"] == "version 1"
    for told, said in zip(answer["predictions"], expected, strict=True):
        assert list(told) == list(said)
        for key, head in said.items():
            assert told[key]["answer"] == head.answer
            assert told[key]["confidence"] == pytest.approx(head.confidence)
            assert told[key]["words"] is None
    assert answer["predictions"][0]["names"]["answer"][0]["label"] == "NAME"
    assert sum(answer["predictions"][0]["place"]["probabilities"].values()) == pytest.approx(1)


def test_probabilities_and_words_come_only_on_request_and_heads_can_be_chosen(served) -> None:
    (said, _) = warm(TEXTS, heads=["place", "names"]).json()["predictions"]
    assert (set(said), said["place"]["probabilities"]) == ({"place", "names"}, None)
    (said, _) = warm(TEXTS, heads=["place"], explain=True).json()["predictions"]
    words = {TEXTS[0][start:end] for start, end, weight in said["place"]["words"] if weight > 0}
    assert words <= set(TEXTS[0].split()) != set()
    assert (refused := warm(TEXTS, heads=["cheese"])).status_code == 404
    assert refused.json()["detail"] == "1 heads are unknown; version 1 answers place, thing, mood, names, manner"


def test_nothing_is_guessed_where_nothing_is_trained(toy) -> None:
    answer = ask(TEXTS)
    assert (answer.status_code, answer["Retry-After"]) == (503, "60")
    assert answer.json()["detail"] == "no trained version of toy is in use yet"


def test_nothing_of_the_texts_is_kept(served) -> None:
    assert warm(TEXTS).status_code == 200
    assert (Case.objects.count(), CaseText.objects.count(), Question.objects.count()) == (0, 0, 0)


def test_500_texts_are_answered_in_order_and_501_are_not(served) -> None:
    texts = [case.text for case in tiny.cases(500, seed=3)]
    found = warm(texts, heads=["place"]).json()["predictions"]
    truth = [case.labels["place"] for case in tiny.cases(500, seed=3)]
    assert sum(one["place"]["answer"] == label for one, label in zip(found, truth, strict=True)) > 475
    assert warm([*texts, "a"]).status_code == 422
    assert warm(["x" * 200_000] * 6).status_code == 413
    assert warm([]).status_code == 422


def test_a_new_version_takes_over_once_it_is_loaded_and_a_broken_one_is_not_served(
    served, toy, tiny_folder, tmp_path, settings
) -> None:
    assert warm(TEXTS).json()["version"] == "version 1"
    promote(toy, tiny_folder, 2)
    said = {ask(TEXTS).json()["version"] for _ in range(3)}
    assert said <= {"version 1", "version 2"}
    deadline = time.monotonic() + 10
    while ask(TEXTS).json()["version"] != "version 2" and time.monotonic() < deadline:
        time.sleep(0.05)
    assert ask(TEXTS).json()["version"] == "version 2"
    settings.MODELS_DIR = tmp_path
    broken = shutil.copytree(tiny_folder, tmp_path / "broken")
    (broken / "heads.onnx").write_bytes(b"damaged")
    promote(toy, broken, 3)
    deadline = time.monotonic() + 10
    while ask(TEXTS).status_code != 503 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert ask(TEXTS).status_code == 503, "another model than the ledger names must not go on answering"


def test_a_person_is_told_nothing_of_what_is_audited_blind(served, toy, person) -> None:
    change_policy(toy, audit_share=1.0)
    intake.receive(toy, [{"text": "a\r\nship"}], source="shop", by=None)
    texts = ["a\r\nship", "a\nship", "another ship"]
    secret = token(Scope.PREDICT, user=person(Role.SUPERVISOR))
    assert [bool(one) for one in warm(texts, secret).json()["predictions"]] == [False, False, True]
    assert warm(texts, secret).json()["familiar"][:2] == [None, None]
    assert all(warm(texts).json()["predictions"])
    assert None not in warm(texts).json()["familiar"]


def test_a_process_that_predicts_loads_no_torch(tiny_folder: Path) -> None:
    code = (
        "import sys, django; django.setup(); import webapp.api.predict; from ml.serving import Predictor; "
        "Predictor(sys.argv[1]).predict(['a ship']); "
        "sys.exit(' '.join({'torch', 'transformers'} & sys.modules.keys()) or 0)"
    )
    command = [sys.executable, "-W", "ignore", "-c", code, str(tiny_folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
