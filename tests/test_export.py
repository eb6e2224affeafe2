from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from ml import export, metrics, model, registry, training
from ml.encoder import Encoder
from ml.export import Predictor
from ml.progress import Progress
from ml.registry import ModelFolderError
from ml.training import TrainedModel
from ml.types import Example, HeadPrediction
from tests import tiny

SCHEMA = tiny.toy_schema()
TEXTS = [case.text for case in tiny.cases(30, seed=5)]
POOLED = ["place", "thing", "mood", "manner"]


def in_float32(trained: TrainedModel) -> TrainedModel:
    """The model as torch runs it where the processor does not multiply in bfloat16."""
    encoder = trained.encoder
    network = encoder.tuned_with({}).network.float()
    return replace(trained, encoder=replace(encoder, network=network, dtype=torch.float32))


@pytest.fixture
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no export in int8 be good enough."""
    monkeypatch.setattr(export, "LARGEST_CHANGE", -1.0)


def test_a_folder_answers_as_torch_does_where_it_is_served_in_float32(
    tiny_model: TrainedModel, tmp_path: Path, exact: None
) -> None:
    export.save(in_float32(tiny_model), tmp_path / "model")
    texts = [*TEXTS, "", "Ship", "the " * 150 + "Wave"]
    expected, found = export.predict(in_float32(tiny_model), texts), Predictor(tmp_path / "model").predict(texts)
    for one, other in zip(expected, found, strict=True):
        assert list(one) == list(other)
        for key in POOLED:
            assert other[key].answer == one[key].answer
            assert other[key].probabilities == pytest.approx(one[key].probabilities, abs=1e-4)
            assert other[key].confidence == pytest.approx(one[key].confidence, abs=1e-4)
        pairs = zip(one["names"].answer, other["names"].answer, strict=True)
        assert all(first == pytest.approx(second, abs=1e-3) for first, second in pairs)


def test_int8_is_served_where_it_is_close_and_the_manifest_says_how_close(tiny_folder: Path) -> None:
    found = registry.read_manifest(tiny_folder)["export"]
    assert (found["precision"], found["n"]) == ("int8", min(200, export.MOST_COMPARED))
    assert "float32" not in found
    assert set(found["int8"]) == set(SCHEMA.by_key)
    assert all(one["drop"] <= max(0.01, 1 / one["n"]) and one["change"] <= 0.02 for one in found["int8"].values())


def test_float32_is_served_where_int8_costs_too_much(
    tiny_model: TrainedModel, tiny_folder: Path, tmp_path: Path, exact: None
) -> None:
    manifest = export.save(tiny_model, tmp_path / "model", exports=tmp_path / "exports")
    assert manifest == registry.checked_manifest(tmp_path / "model")
    assert manifest["export"]["precision"] == "float32"
    [kept] = (tmp_path / "exports").iterdir()
    assert kept.read_bytes() == (tmp_path / "model" / "encoder.onnx").read_bytes()
    assert set(manifest["export"]) == {"precision", "n", "int8", "float32"}
    sizes = [(folder / "encoder.onnx").stat().st_size for folder in (tiny_folder, tmp_path / "model")]
    assert sizes[0] < sizes[1]
    assert manifest["files"] != registry.read_manifest(tiny_folder)["files"]


def test_an_export_is_compared_by_its_answers_and_its_probabilities() -> None:
    rows = [Example(str(at), "x", {"place": "sea", "names": []}) for at in range(4)]
    said = {"place": HeadPrediction("sea", 0.9, {"sea": 0.9, "land": 0.1}), "names": HeadPrediction([], None)}
    other = said | {"place": HeadPrediction("land", 0.6, {"sea": 0.4, "land": 0.6})}
    found = export.compare(SCHEMA, rows, [said] * 4, [other, said, said, said])
    assert found == {
        "place": {"n": 4, "drop": 0.25, "change": pytest.approx(0.125)},
        "names": {"n": 4, "drop": 0.0, "change": 0.0},
    }
    assert not export.is_close(found)
    assert export.is_close(export.compare(SCHEMA, rows, [said] * 4, [said] * 4))


@pytest.mark.parametrize(
    ("n", "drop", "change", "expected"),
    [
        (1000, -0.5, 0.02, True),
        (1000, 0.01, 0.0, True),
        (1000, 0.011, 0.0, False),
        (60, 1 / 60, 0.0, True),  # One case
        (60, 2 / 60, 0.0, False),
        (1000, 0.0, 0.021, False),
    ],
)
def test_an_export_is_close_where_no_head_falls_or_changes_much(
    n: int, drop: float, change: float, expected: bool
) -> None:
    fine = {"n": 1000, "drop": 0.0, "change": 0.0}
    assert export.is_close({"place": fine, "names": {"n": n, "drop": drop, "change": change}}) is expected


@pytest.mark.parametrize("size", [1, 2, 5])
@pytest.mark.parametrize("keys", [["place"], ["names"], list(SCHEMA.by_key)], ids=["whole", "spans", "all"])
def test_the_graph_of_the_heads_gives_what_torch_does(size: int, keys: list[str], tmp_path: Path) -> None:
    network = model.CaseModel([SCHEMA.head(key) for key in keys], 16).eval()
    with torch.no_grad():
        for value in network.parameters():
            value.copy_(torch.randn(value.shape, generator=torch.Generator().manual_seed(len(value))))
    export.export_heads(network, 16, tmp_path / "heads.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "heads.onnx")
    rng = np.random.default_rng(size)
    lengths = rng.integers(2, 41, size)
    for n_words in (1, 7):  # One is what texts without words have
        given = {
            "tokens": rng.normal(size=(size, 40, 16)).astype(np.float32),
            "mask": np.arange(40)[None] < lengths[:, None],
            "firsts": rng.integers(0, 40, (size, n_words)),
            "shapes": rng.integers(0, 2, (size, n_words, 12)).astype(np.float32),
        }
        with torch.inference_mode():
            expected = network(*map(torch.from_numpy, given.values()))
        wanted = {one.name for one in session.get_inputs()}
        names = [one.name for one in session.get_outputs()]
        found = dict(zip(names, session.run(None, {key: given[key] for key in wanted}), strict=True))
        for kind, values in [("scores", expected.pooled), ("attention", expected.attention)]:
            for key, value in values.items():
                np.testing.assert_allclose(found[f"{kind}.{key}"], value[0].numpy(), atol=1e-4, rtol=1e-4)
        for key, value in expected.tags.items():
            np.testing.assert_allclose(found[f"scores.{key}"], value.numpy(), atol=1e-4, rtol=1e-4)
        assert len(found) == 2 * len(expected.pooled) + len(expected.tags)


def test_the_manifest_says_what_the_model_is(tiny_model: TrainedModel, tiny_folder: Path) -> None:
    manifest = registry.read_manifest(tiny_folder)
    encoder = tiny_model.encoder
    assert manifest["schema"]["sha256"] == SCHEMA.digest
    assert manifest["heads"] == list(SCHEMA.by_key)
    assert training.TrainConfig(**manifest["config"]) == tiny.QUICK
    assert manifest["counts"]["train"] == dict.fromkeys(SCHEMA.by_key, 200)
    assert manifest["encoder"] == {
        "name": encoder.name, "base_sha256": encoder.digest, "sha256": encoder.digest, "is_tuned": False,
        "layers": None, "max_tokens": 64, "pad": 0, "pooling": "pieces", "normalising": "none",
    }  # fmt: skip
    assert manifest["data_sha256"] == "abc"
    assert {"accuracy", "majority"} <= manifest["metrics"]["place"].keys()
    assert manifest["faults"] == {"names": dict.fromkeys(manifest["faults"]["names"], 0)}
    assert manifest["epochs"] == tiny_model.epochs


def test_saving_leaves_the_model_as_it_was(tiny_model: TrainedModel, tmp_path: Path) -> None:

    # what is compared with the export after that has dropout
    expected = export.predict(tiny_model, TEXTS)
    export.save(tiny_model, tmp_path / "model")
    assert export.predict(tiny_model, TEXTS) == expected
    assert not any(part.training for part in tiny_model.network.modules())


def test_what_is_restored_is_what_was_saved(tiny_model: TrainedModel, tiny_folder: Path) -> None:
    encoder = export.restore(tiny_folder)
    assert torch.equal(encoder.means(TEXTS), tiny_model.encoder.means(TEXTS))
    assert (encoder.digest, encoder.tuned) == (tiny_model.encoder.digest, frozenset())


def test_a_tuned_encoder_is_saved_with_what_was_tuned_alone(
    tiny_model: TrainedModel, tiny_encoder: Encoder, tmp_path: Path
) -> None:
    name = "encoder.layer.1.output.dense.bias"
    tuned = tiny_encoder.tuned_with({name: torch.full((32,), 0.5)})
    manifest = export.save(replace(tiny_model, encoder=tuned), tmp_path / "model")
    assert (manifest["encoder"]["is_tuned"], manifest["encoder"]["base_sha256"]) == (True, tiny_encoder.digest)
    assert list(export.load_file(tmp_path / "model" / "encoder.safetensors")) == [name]
    encoder = export.restore(tmp_path / "model")
    assert encoder.tuned == {name}
    assert torch.equal(encoder.means(TEXTS), tuned.means(TEXTS))


def rewritten(folder: Path, tmp_path: Path, **encoder: object) -> Path:
    """A copy of a folder whose manifest says something else of the encoder."""
    place = shutil.copytree(folder, tmp_path / "model")
    manifest = json.loads((place / "manifest.json").read_text())
    manifest["encoder"] |= encoder
    (place / "manifest.json").write_text(json.dumps(manifest))
    return place


def test_an_encoder_with_other_weights_is_refused(tiny_folder: Path, tmp_path: Path) -> None:
    place = rewritten(tiny_folder, tmp_path, base_sha256="0" * 64)
    with pytest.raises(ModelFolderError, match=r"has other weights than those that .* was trained on"):
        export.restore(place)
    assert len(Predictor(place).predict(TEXTS)) == 30, "serving reads no weights but those in the folder"


def test_training_does_not_go_on_from_an_imported_model(tiny_folder: Path, tmp_path: Path) -> None:
    place = rewritten(tiny_folder, tmp_path)
    manifest = json.loads((place / "manifest.json").read_text()) | {"imported": {"checkpoint": "old"}}
    (place / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ModelFolderError, match="was imported from a checkpoint; training goes on only from a model"):
        export.restore(place)


def test_a_model_is_served_where_its_encoder_is_not_installed(tiny_folder: Path, tmp_path: Path) -> None:
    place = rewritten(tiny_folder, tmp_path, name="/nowhere")
    assert Predictor(place).predict(TEXTS) == Predictor(tiny_folder).predict(TEXTS)
    with pytest.raises(export.encoders.EncoderError, match="encoder '/nowhere' cannot be loaded"):
        export.restore(place)


@pytest.mark.parametrize("name", ["encoder.layer.1.output.dense.bias", "nothing"], ids=["shape", "name"])
def test_weights_that_do_not_fit_the_encoder_are_refused(tiny_folder: Path, tmp_path: Path, name: str) -> None:
    place = shutil.copytree(tiny_folder, tmp_path / "model")
    export.save_file({name: torch.zeros(3)}, place / "encoder.safetensors")
    registry.write_manifest(place, registry.read_manifest(place))
    with pytest.raises(ModelFolderError, match="do not fit the manifest beside them"):
        export.restore(place)


def test_a_model_is_never_overwritten_and_leaves_no_draft_behind(tiny_model: TrainedModel, tiny_folder: Path) -> None:
    with pytest.raises(ModelFolderError, match="exists already; models are never overwritten"):
        export.save(tiny_model, tiny_folder)
    assert [path.name for path in tiny_folder.parent.iterdir()] == ["model"]


@pytest.mark.parametrize("step", [0, 1])
def test_an_exception_in_progress_ends_the_saving_and_leaves_nothing(
    tiny_model: TrainedModel, tmp_path: Path, step: int, exact: None
) -> None:
    class Cancelled(Exception):
        pass

    def cancel(progress: Progress) -> None:
        assert (progress.phase, progress.total) == ("export", 2)
        if progress.done == step:
            raise Cancelled

    with pytest.raises(Cancelled):
        export.save(tiny_model, tmp_path / "model", progress=cancel)
    assert list(tmp_path.iterdir()) == []


def test_a_model_without_held_out_rows_is_served_in_float32(tiny_model: TrainedModel, tmp_path: Path) -> None:
    manifest = export.save(replace(tiny_model, held_out=[]), tmp_path / "model")
    assert manifest["export"] == {"precision": "float32", "n": 0, "int8": {}, "float32": {}}
    found = Predictor(tmp_path / "model").predict([case.text for case in tiny.cases(50, seed=6)])
    assert metrics.evaluate(SCHEMA, tiny.cases(50, seed=6), found)["place"]["accuracy"] > 0.9


def test_heads_whose_rows_come_last_are_compared_too(
    tiny_model: TrainedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "MOST_COMPARED", 10)
    rows = tiny.cases(40, seed=7)
    rows = [replace(row, labels={"place": row.labels["place"]}) for row in rows[:30]] + rows[30:]
    found = export.save(replace(tiny_model, held_out=rows), tmp_path / "model")["export"]
    assert (found["n"], set(found["int8"])) == (10, set(SCHEMA.by_key))
    assert found["int8"]["place"]["n"] == 10
    assert found["int8"]["names"]["n"] == 5


def test_float32_is_served_where_a_head_was_never_compared(tiny_model: TrainedModel, tmp_path: Path) -> None:
    rows = [replace(row, labels={"place": row.labels["place"]}) for row in tiny.cases(20, seed=7)]
    found = export.save(replace(tiny_model, held_out=rows), tmp_path / "model")["export"]
    assert export.is_close(found["int8"])
    assert (found["precision"], list(found["int8"])) == ("float32", ["place"])


def test_spans_are_compared_with_what_the_model_itself_finds() -> None:
    def said(*starts: int) -> dict[str, HeadPrediction]:
        return {"names": HeadPrediction([{"start": at, "end": at + 1, "label": "NAME"} for at in starts], None)}

    rows = [Example(str(at), "abcd", {"names": []}) for at in range(2)]
    found = export.compare(SCHEMA, rows, [said(0, 1), said(2)], [said(0, 1), said(3)])["names"]
    assert found == {"n": 2, "drop": 0.0, "change": pytest.approx(1 / 3)}
    assert not export.is_close({"names": found})
