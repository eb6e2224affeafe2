from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ml import export, registry, tracking, training
from ml.encoder import Encoder
from ml.progress import Progress
from ml.tracking import TrackingError
from tests import tiny


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # A folder in place of a server
        yield tmp_path_factory.mktemp("runs").as_uri()


@pytest.fixture(scope="module")
def client(store: str) -> Any:
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking_uri=store)


@pytest.fixture(scope="module")
def recorded(
    store: str, tiny_encoder: Encoder, tiny_exports: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, list[Progress], Path]:
    """A real training that was recorded: its run, what it told beside, and its folder."""
    told: list[Progress] = []
    folder = tmp_path_factory.mktemp("recorded") / "model"
    config, schema = tiny.QUICK, tiny.toy_schema()
    with tracking.run(store, experiment="toy", name="first", parameters=config.as_json()) as run:
        tell = run.watch(told.append)
        trained = training.train(
            tiny.cases(64), schema, config, encoder=tiny_encoder, exports=tiny_exports, progress=tell
        )
        run.finish(export.save(trained, folder, progress=tell), folder)
    assert run.failure == ""
    return run.run_id, told, folder


def files_of(client: Any, run_id: str) -> Path:
    return Path(client.get_run(run_id).info.artifact_uri.removeprefix("file://"))


def test_a_run_holds_what_the_training_was_given(client: Any, recorded: Any) -> None:
    run = client.get_run(recorded[0])
    assert (run.info.run_name, run.info.status) == ("first", "FINISHED")
    assert run.data.params == {key: str(value) for key, value in tiny.QUICK.as_json().items()}


def test_a_run_holds_the_measures_of_each_epoch(client: Any, recorded: Any) -> None:
    run_id, told, _ = recorded
    epochs = [one for one in told if one.phase == "train"]
    assert [one.epoch for one in epochs] == list(range(1, len(epochs) + 1))
    assert len(epochs) >= 2
    history = client.get_metric_history(run_id, "train/place")
    assert [(one.step, one.value) for one in history] == [(one.epoch, one.metrics["place"]) for one in epochs]
    losses = client.get_metric_history(run_id, "train/loss")
    assert [one.value for one in losses] == [one.loss for one in epochs]


def test_a_run_holds_the_final_measures_and_the_model(client: Any, recorded: Any) -> None:
    run_id, _, folder = recorded
    manifest = registry.checked_manifest(folder)
    measured = client.get_run(run_id).data.metrics
    assert measured["final/thing/accuracy"] == manifest["metrics"]["thing"]["accuracy"]
    assert measured["final/thing/ece"] == manifest["metrics"]["thing"]["ece"]
    place = files_of(client, run_id)
    assert registry.checked_manifest(place / "model") == manifest
    assert registry.read_manifest(place) == manifest


def test_a_run_holds_no_text(client: Any, recorded: Any) -> None:
    files = [path for path in files_of(client, recorded[0]).parent.rglob("*") if path.is_file()]
    assert len(files) > 20
    texts = [case.text.encode() for case in tiny.cases(64)]
    for path in files:
        content = path.read_bytes()
        assert not any(text in content for text in texts), path.name


def test_epochs_of_the_encoder_are_recorded_and_batches_are_not(
    client: Any, store: str, tiny_encoder: Encoder, tiny_exports: Path
) -> None:
    config = replace(tiny.QUICK, profile="full", epochs=1, contrast_examples=0, tune_layers=1, tune_epochs=2)
    told: list[Progress] = []
    with tracking.run(store, experiment="toy", name="full", parameters={}) as run:
        training.train(
            tiny.cases(48), tiny.toy_schema(), config,
            encoder=tiny_encoder, exports=tiny_exports, progress=run.watch(told.append),
        )  # fmt: skip
    assert sum(one.phase == "tune" for one in told) > 2
    assert [one.step for one in client.get_metric_history(run.run_id, "tune/loss")] == [1, 2]


def test_a_training_that_fails_is_recorded_as_failed(client: Any, store: str) -> None:
    with (
        pytest.raises(training.TrainingError),
        tracking.run(store, experiment="toy", name="failing", parameters={}) as run,
    ):
        training.learnable(tiny.toy_schema(), [])
    assert client.get_run(run.run_id).info.status == "FAILED"


def test_a_store_that_fails_later_ends_no_training(store: str, tmp_path: Path, tiny_folder: Path) -> None:
    place = tmp_path / "gone"
    told: list[Progress] = []
    with tracking.run(place.as_uri(), experiment="toy", name="half", parameters={}) as run:
        shutil.rmtree(place)
        run.watch(told.append)(Progress("train", 1, 2, 0.5, {"place": 0.5}, 1))
        run.finish(registry.read_manifest(tiny_folder), tiny_folder)
    assert len(told) == 1
    assert run.failure.startswith("Exception: ")
    assert "gone' does not exist" in run.failure


def test_without_an_address_nothing_is_recorded() -> None:
    told: list[Progress] = []
    with tracking.run("", experiment="toy", name="none", parameters={"seed": 1}) as run:
        run.watch(told.append)(Progress("train", 1, 2, 0.5, {"place": 0.5}, 1))
        run.finish({"metrics": {"place": {"accuracy": 1.0}}, "epochs": 1}, "nowhere")
    assert (run.failure, len(told)) == ("", 1)


@pytest.mark.parametrize("uri", ["nonsense://x", "http://127.0.0.1:1", "sqlite:////nowhere/runs.db"])
def test_an_address_that_takes_no_runs_is_explained(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with (
        pytest.raises(TrackingError, match=f"nothing takes runs of MLflow at {uri}"),
        tracking.run(uri, experiment="toy", name="none", parameters={}),
    ):
        raise AssertionError("a run was opened")


def test_mlflow_that_is_missing_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow.exceptions", None)
    with (
        pytest.raises(TrackingError, match=r"MLflow is not installed; pip install -r requirements-mlflow\.txt"),
        tracking.run("http://127.0.0.1:1", experiment="toy", name="none", parameters={}),
    ):
        raise AssertionError("a run was opened")


def test_mlflow_is_loaded_when_it_is_used_and_tells_its_makers_nothing(tmp_path: Path) -> None:
    code = f"""
import logging, sys
import ml.tracking as tracking
assert "mlflow" not in sys.modules
with tracking.run("", experiment="toy", name="none", parameters={{}}):
    assert "mlflow" not in sys.modules
with tracking.run({tmp_path.as_uri()!r}, experiment="toy", name="one", parameters={{}}):
    pass
from mlflow.telemetry import get_telemetry_client
assert get_telemetry_client() is None
assert logging.getLogger("mlflow").handlers == []
"""
    quiet = {"PYTEST_CURRENT_TEST", "CI"}  # MLflow is silent in tests
    environment = {name: value for name, value in os.environ.items() if name not in quiet and "MLFLOW" not in name}
    environment["MLFLOW_ALLOW_FILE_STORE"] = "true"
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert (found.returncode, found.stderr) == (0, "")
