"""Savepoints: a training that was interrupted gives what it would have given in one go."""

from __future__ import annotations

import json
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ml import registry, training
from ml.__main__ import main
from ml.encoder import Encoder
from ml.progress import Progress
from ml.savepoint import SavepointError, Savepoints
from ml.training import TrainedModel
from tests import tiny
from tests.test_training import FULL, SCHEMA, same_weights

ROWS = tiny.cases(120)
CONFIG = replace(FULL, tune_epochs=4, tune_patience=9)
BATCHES = 7  # Of an epoch


class Killed(Exception):
    """Stands for the death of the process."""


@pytest.fixture
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write a savepoint after each batch."""
    monkeypatch.setattr(Savepoints, "is_due", property(lambda self: True))


@pytest.fixture(scope="module")
def learn(tiny_encoder: Encoder, tiny_exports: Path) -> Any:
    def run(**given: Any) -> TrainedModel:
        given = {"rows": ROWS, "config": CONFIG, **given}
        return training.train(
            given.pop("rows"), SCHEMA, given.pop("config"), encoder=tiny_encoder, exports=tiny_exports, **given
        )

    return run


@pytest.fixture(scope="module")
def whole(learn: Any) -> TrainedModel:
    return learn()


def killed_at(batch: int) -> Any:
    def tell(progress: Progress) -> None:
        if progress.phase == "tune" and progress.done == batch:
            raise Killed

    return tell


def noting(seen: list[int]) -> Any:
    return lambda progress: seen.append(progress.done) if progress.phase == "tune" else None


@pytest.mark.usefixtures("always")
@pytest.mark.parametrize(
    "batch",
    [
        pytest.param(3, id="in the first epoch"),
        pytest.param(BATCHES + 1, id="with the first batch of the second"),
        pytest.param(2 * BATCHES + 4, id="in the third"),
    ],
)
def test_a_training_that_was_killed_and_resumed_gives_the_same_model(
    learn: Any, whole: TrainedModel, tmp_path: Path, batch: int
) -> None:
    with pytest.raises(Killed):
        learn(savepoints=tmp_path / "points", progress=killed_at(batch))
    seen: list[int] = []
    resumed = learn(
        resume=tmp_path / "points", progress=lambda at: seen.append(at.done) if at.phase == "tune" else None
    )
    assert seen[0] == batch, "what was learnt is not learnt again"
    assert same_weights(resumed, whole)
    assert resumed.metrics == whole.metrics
    assert resumed.calibration == whole.calibration
    assert resumed.epochs == whole.epochs > 0


def test_without_more_a_savepoint_is_written_at_the_end_of_each_epoch(
    learn: Any, whole: TrainedModel, tmp_path: Path
) -> None:
    with pytest.raises(Killed):
        learn(savepoints=tmp_path / "points", progress=killed_at(BATCHES + 3))
    seen: list[int] = []
    resumed = learn(
        resume=tmp_path / "points", progress=lambda at: seen.append(at.done) if at.phase == "tune" else None
    )
    assert seen[0] == BATCHES + 1
    assert same_weights(resumed, whole)


@pytest.mark.usefixtures("always")
def test_a_resumed_training_that_is_killed_too_can_be_resumed(learn: Any, whole: TrainedModel, tmp_path: Path) -> None:
    for batch, given in ((4, {"savepoints": tmp_path}), (BATCHES + 5, {"resume": tmp_path})):
        with pytest.raises(Killed):
            learn(progress=killed_at(batch), **given)
    assert same_weights(learn(resume=tmp_path), whole)


def test_a_savepoint_holds_no_text_and_only_its_owner_may_read_it(learn: Any, tmp_path: Path) -> None:
    learn(savepoints=tmp_path / "points", config=replace(CONFIG, tune_epochs=1))
    [file] = (tmp_path / "points").iterdir()
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert file.name == "savepoint.safetensors"
    assert not any(row.text.encode() in file.read_bytes() for row in ROWS)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"rows": ROWS[1:]}, id="other rows"),
        pytest.param({"rows": [replace(ROWS[0], labels={"place": "sea"}), *ROWS[1:]]}, id="other labels"),
        pytest.param({"config": replace(CONFIG, seed=5)}, id="another seed"),
    ],
)
def test_a_savepoint_of_another_training_is_refused(learn: Any, tmp_path: Path, changes: dict[str, Any]) -> None:
    learn(savepoints=tmp_path, config=replace(CONFIG, tune_epochs=1))
    with pytest.raises(SavepointError, match=r"savepoint.safetensors is of another training: .*; train anew$"):
        learn(resume=tmp_path, **{"config": replace(CONFIG, tune_epochs=1), **changes})


def test_what_is_no_savepoint_is_refused(learn: Any, tmp_path: Path) -> None:
    assert not registry.has_savepoint(tmp_path)
    for content in (None, b"no savepoint"):
        if content:
            (tmp_path / registry.SAVEPOINT).write_bytes(content)
        with pytest.raises(SavepointError, match="is no savepoint that can be read; train anew"):
            learn(resume=tmp_path)


@pytest.mark.usefixtures("always")
def test_the_command_resumes_a_training(
    tiny_encoder: Encoder, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "toy.toml").write_text(tiny.SCHEMA)
    rows = [json.dumps({"id": row.id, "text": row.text, "labels": {"place": row.labels["place"]}}) for row in ROWS]
    (tmp_path / "rows.jsonl").write_text("\n".join(rows))
    monkeypatch.setattr("ml.contrast.head_to_learn", lambda *_: None)
    given = ["train", "--schema", str(tmp_path / "toy.toml"), "--data", str(tmp_path / "rows.jsonl"), "--profile"]
    given += ["full", "--encoder", tiny_encoder.name, "--cache", str(tmp_path / "cache")]
    assert main([*given, "--out", str(tmp_path / "one")]) == 0
    monkeypatch.setattr("ml.commands.terminal.show", killed_at(10))
    with pytest.raises(Killed):
        main([*given, "--out", str(tmp_path / "two")])
    monkeypatch.undo()
    monkeypatch.setattr("ml.contrast.head_to_learn", lambda *_: None)
    points = tmp_path / "two-savepoints"
    assert registry.has_savepoint(points)
    assert main([*given, "--out", str(tmp_path / "two"), "--resume", str(points)]) == 0
    assert not points.exists()
    read = [registry.read_manifest(tmp_path / name) for name in ("one", "two")]
    assert read[0]["metrics"] == read[1]["metrics"]
    assert read[0]["files"]["heads.onnx"] == read[1]["files"]["heads.onnx"]
    assert main([*given, "--out", str(tmp_path / "three"), "--resume", str(points)]) == 2
    assert "is no folder; expected one that a killed full training left" in capsys.readouterr().err
