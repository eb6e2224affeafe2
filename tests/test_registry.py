from __future__ import annotations

import json
from pathlib import Path

import pytest

from ml import registry, training
from ml.predictor import Predictor
from ml.registry import ModelFolderError
from ml.training import TrainedModel
from tests import tiny

CASES = tiny.cases(80)
TEXTS = [case.text for case in tiny.cases(30, seed=5)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> TrainedModel:
    encoder = tiny.load_encoder(tmp_path_factory.mktemp("tiny"))
    return training.train(CASES, tiny.toy_schema(), tiny.QUICK, encoder=encoder)


@pytest.fixture
def folder(trained: TrainedModel, tmp_path: Path) -> Path:
    registry.save(trained, tmp_path / "model", data_hash="abc")
    return tmp_path / "model"


def test_a_saved_model_predicts_exactly_as_the_trained_one(trained: TrainedModel, folder: Path) -> None:
    assert Predictor(folder).predict(TEXTS) == Predictor.of(trained).predict(TEXTS)


def test_the_manifest_says_what_the_model_is(trained: TrainedModel, folder: Path) -> None:
    manifest = registry.read_manifest(folder)
    assert manifest["schema"]["sha256"] == tiny.toy_schema().digest
    assert manifest["heads"] == ["place", "thing", "mood"]
    assert manifest["config"] == training.as_json(tiny.QUICK)
    assert manifest["counts"]["train"] == {"place": 80, "thing": 80, "mood": 80}
    assert manifest["encoder"] == {"name": trained.encoder.name, "sha256": trained.encoder.digest, "is_tuned": False}
    assert manifest["data_sha256"] == "abc"
    assert {"accuracy", "majority"} <= manifest["metrics"]["place"].keys()
    assert sorted(path.name for path in folder.iterdir()) == ["manifest.json", "model.safetensors"]


def test_a_changed_file_is_refused(folder: Path) -> None:
    path = folder / "model.safetensors"
    changed = bytearray(path.read_bytes())
    changed[-1] ^= 1
    path.write_bytes(bytes(changed))
    with pytest.raises(ModelFolderError, match="is not the file that was saved: its SHA-256 differs"):
        registry.load(folder)


def test_an_encoder_with_other_weights_is_refused(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["encoder"]["sha256"] = "0" * 64
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ModelFolderError, match=r"has other weights than those that .* was trained on"):
        registry.load(folder)


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        pytest.param("{", "is not JSON", id="damaged"),
        pytest.param("[]", "has format None; this version reads 1", id="another form"),
        pytest.param('{"format": 2}', "has format 2; this version reads 1", id="newer"),
        pytest.param('{"format": 1}', "lacks calibration, encoder, files, heads, schema", id="incomplete"),
    ],
)
def test_a_manifest_that_is_none_is_refused(folder: Path, manifest: str, message: str) -> None:
    (folder / "manifest.json").write_text(manifest)
    with pytest.raises(ModelFolderError, match=message):
        registry.load(folder)


def test_a_folder_without_a_model_is_refused(folder: Path) -> None:
    with pytest.raises(ModelFolderError, match="expected a model folder"):
        registry.load(folder.parent)
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelFolderError, match="cannot be read"):
        registry.load(folder)


def test_a_model_is_never_overwritten_and_leaves_no_draft_behind(trained: TrainedModel, folder: Path) -> None:
    with pytest.raises(ModelFolderError, match="exists already; models are never overwritten"):
        registry.save(trained, folder)
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


def test_the_hash_of_data_does_not_depend_on_its_order() -> None:
    assert registry.hash_of(CASES) == registry.hash_of(CASES[::-1])
    assert registry.hash_of(CASES) != registry.hash_of(CASES[1:])
