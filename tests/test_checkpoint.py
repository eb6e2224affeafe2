"""The oracle is the published forward, written below with transformers and plain torch calls, beside what is served."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional
from transformers import DistilBertConfig, DistilBertModel

from ml import checkpoint, examples, registry
from ml.__main__ import main
from ml.checkpoint import Checkpoint
from ml.classes import PARTS, CheckpointError
from ml.serving import Predictor
from ml.types import Example
from tests.four_heads import HELPLINE, WINDOW, WORDS, altered, write

SHORT = "Mama W3, shule! w7-W9 7"
LONG = " ".join(f"w{number * 7 % 40}" for number in range(100))
TEXTS = [SHORT, LONG, "!?", " ".join(f"w{number}" for number in range(30))]


def published_logits(folder: Path, text: str) -> dict[str, Tensor]:
    """Answer a text as the published code does, in windows of 32 that share 8, by layer."""
    weights = load_file(folder / "model.safetensors")
    network = DistilBertModel(DistilBertConfig.from_dict(json.loads((folder / "config.json").read_text()))).eval()
    network.load_state_dict({n.removeprefix("distilbert."): v for n, v in weights.items() if n.startswith("distilb")})
    ids = [
        WORDS.index(word) for word in re.sub(r"[^a-z0-9\s]", "", text.lower().strip()).replace("w7w9", "[UNK]").split()
    ]
    room, overlap = WINDOW - 2, WINDOW // 4
    count = max(1, int(np.ceil((len(ids) - overlap) / (room - overlap))))
    starts = np.linspace(0, len(ids) - room, count).astype(int) if count > 1 else [0]
    found: dict[str, list[Tensor]] = {part.layer: [] for part in PARTS}
    for start in starts:
        window = [2, *ids[start : start + room], 3]
        given = torch.tensor([window + [0] * (WINDOW - len(window))])
        with torch.inference_mode():
            hidden = network(input_ids=given, attention_mask=(given > 0).long()).last_hidden_state[:, 0]
        hidden = functional.relu(hidden @ weights["pre_classifier.weight"].T + weights["pre_classifier.bias"])
        for layer, logits in found.items():
            logits.append(functional.linear(hidden, weights[f"{layer}.weight"], weights[f"{layer}.bias"])[0])
    return {layer: torch.stack(logits).mean(dim=0) for layer, logits in found.items()}


def probabilities(folder: Path, text: str) -> dict[str, list[float]]:
    """Return the softmax of each classifier, by head."""
    logits = published_logits(folder, text)
    return {part.head: logits[part.layer].double().softmax(dim=0).tolist() for part in PARTS}


@pytest.fixture(scope="module")
def plain(published: Path) -> Path:
    """The checkpoint, served with a schema of its own."""
    checkpoint.save(checkpoint.read(published), published.parent / "plain")
    return published.parent / "plain"


@pytest.fixture(scope="module")
def helpline(published: Path) -> Path:
    """The checkpoint, served as a version of the helpline schema."""
    checkpoint.save(checkpoint.read(published, HELPLINE), published.parent / "helpline")
    return published.parent / "helpline"


@pytest.mark.parametrize("text", TEXTS, ids=["short", "four windows", "nothing left", "just one window"])
def test_served_logits_are_those_of_the_published_forward(published: Path, plain: Path, text: str) -> None:
    found = Predictor(plain).logits([text])
    expected = published_logits(published, text)
    for part in PARTS:
        np.testing.assert_allclose(found[part.head][0], expected[part.layer].numpy(), atol=1e-5)


def test_texts_of_one_and_of_several_windows_are_answered_beside_each_other(published: Path, plain: Path) -> None:
    found = Predictor(plain).logits(TEXTS)
    for at, text in enumerate(TEXTS):
        logits = published_logits(published, text)
        np.testing.assert_allclose(found["sub_category"][at], logits["classifier_sub"].numpy(), atol=1e-5)


def test_a_schema_of_its_own_names_the_classes_in_their_order(published: Path, plain: Path) -> None:
    own = registry.schema_of(registry.read_manifest(plain))
    assert {head.key: (str(head.kind), list(head.keys)) for head in own.heads} == {
        "main_category": ("choice", ["VANE", "advice and counseling", "Nutrition"]),
        "sub_category": ("choice", ["Balanced Diet", "Bully", "Beating", "Sexual Abuse", "Physical Abuse"]),
        "intervention": ("choice", ["Referral", "Counselling, Referred", "Signposting", "Referral, counselling"]),
        "priority": ("choice", ["3", "1", "2"]),
    }
    assert "Imported from sub_categories.json" in own.head("sub_category").labels[0].definition
    [said] = Predictor(plain).predict([LONG])
    for key, expected in probabilities(published, LONG).items():
        assert list((said[key].probabilities or {}).values()) == pytest.approx(expected, abs=1e-5)
        assert said[key].answer == own.head(key).keys[int(np.argmax(expected))]
        assert said[key].confidence is None, "nothing has calibrated it"


@pytest.mark.parametrize("text", TEXTS, ids=["short", "four windows", "nothing left", "just one window"])
def test_classes_answer_with_the_labels_that_they_mean(published: Path, helpline: Path, text: str) -> None:
    main, sub, interventions, priorities = probabilities(published, text).values()
    [said] = Predictor(helpline).predict([text])
    together = {  # A main and a sub-category that go with each other are as likely as both classifiers find them
        ("Nutrition", "Balanced Diet"): main[2] * sub[0],
        ("Advice and Counselling", "Bullying"): main[1] * sub[1],
        ("VANE", "Physical Abuse"): main[0] * (sub[2] + sub[4]),
        ("VANE", "Sexual Abuse"): main[0] * sub[3],
    }
    total = sum(together.values())
    expected = dict.fromkeys(HELPLINE.head("sub_category").keys, 0.0)
    expected |= {child: value / total for (_, child), value in together.items()}
    assert said["sub_category"].probabilities == pytest.approx(expected, abs=1e-5)
    assert (said["main_category"].answer, said["sub_category"].answer) in together
    vane = (together["VANE", "Physical Abuse"] + together["VANE", "Sexual Abuse"]) / total
    assert (said["main_category"].probabilities or {})["VANE"] == pytest.approx(vane, abs=1e-5)
    order = {"3": priorities[0], "1": priorities[1], "2": priorities[2]}
    assert said["priority"].probabilities == pytest.approx(order, abs=1e-5)
    both = interventions[1] + interventions[3]  # Two spellings of one set
    assert said["intervention"].probabilities == pytest.approx(
        {
            "Counselling": both,
            "Referral": interventions[0] + both,
            "Signposting": interventions[2],
            "Awareness/Information Provided": 0.0,
        },
        abs=1e-5,
    )
    sets = {("Referral",): interventions[0], ("Counselling", "Referral"): both, ("Signposting",): interventions[2]}
    assert said["intervention"].answer == list(max(sets, key=lambda keys: sets[keys]))
    assert said["intervention"].confidence is None, "nothing has calibrated it"


def test_the_manifest_says_what_was_imported_and_that_nothing_was_measured(helpline: Path) -> None:
    manifest = registry.read_manifest(helpline)
    assert manifest["encoder"] | {"sha256": "", "base_sha256": ""} == {
        "name": "four-heads", "base_sha256": "", "sha256": "", "is_tuned": False, "max_tokens": 32, "pad": 0,
        "pooling": "first", "normalising": "plain",
    }  # fmt: skip
    assert manifest["heads"] == ["main_category", "sub_category", "intervention", "priority"]
    assert manifest["export"] == {"precision": "float32", "n": 0}
    assert (manifest["metrics"], manifest["counts"], manifest["data_sha256"]) == ({}, {}, "")
    assert manifest["imported"]["labels_never_answered"]["intervention"] == ["Awareness/Information Provided"]
    assert manifest["calibration"]["priority"]["temperature"] == 1.0
    assert sorted(file.name for file in helpline.iterdir()) == [
        "encoder.onnx", "heads.onnx", "manifest.json", "tokenizer.json",
    ]  # fmt: skip


def test_attention_is_told_of_no_head(helpline: Path) -> None:
    [found] = Predictor(helpline).read([LONG])
    assert list(found.prediction) == ["main_category", "sub_category", "intervention", "priority"]
    assert found.looks == {}


def labelled(folder: Path, *, count: int) -> list[Example]:
    """Draw texts whose labels are what the served checkpoint answers, but for every fourth."""
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(WORDS[5:], size=int(rng.integers(2, 60)))) for _ in range(count)]
    found = []
    for at, (text, said) in enumerate(zip(texts, Predictor(folder).predict(texts), strict=True)):
        labels = {key: given.answer for key, given in said.items()}
        if at % 4 == 0:
            labels |= {"priority": "2", "intervention": ["Awareness/Information Provided"]}
        found.append(Example(str(at), text, labels))
    return found


def test_with_data_the_model_is_calibrated_measured_and_compared_on_it(
    published: Path, helpline: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = labelled(helpline, count=80)
    data = tmp_path / "held.jsonl"
    data.write_text("\n".join(map(examples.write, rows)))
    arguments = ["--schema", "helpline", "--data", str(data), "--out", str(tmp_path / "model")]
    assert main(["import-checkpoint", str(published), *arguments]) == 0
    told = json.loads(capsys.readouterr().out)
    manifest = registry.read_manifest(tmp_path / "model")
    assert told["metrics"] == manifest["metrics"]
    assert manifest["imported"]["calibrated_and_measured_on"] == "held.jsonl"
    assert manifest["data_sha256"] == registry.hash_of(rows)
    assert manifest["counts"] == {"calibrate": dict.fromkeys(manifest["heads"], 80)}
    compared = manifest["export"]["int8"]
    is_close = all(head["drop"] <= max(0.01, 1 / head["n"]) and head["change"] <= 0.02 for head in compared.values())
    assert manifest["export"]["precision"] == ("int8" if is_close else "float32")
    predictor = Predictor(tmp_path / "model")
    said = [prediction["intervention"] for prediction in predictor.predict([row.text for row in rows])]
    right = [given.answer == row.labels["intervention"] for given, row in zip(said, rows, strict=True)]
    sure = [given.confidence or 0.0 for given in said]
    assert np.mean(sure) == pytest.approx(np.mean(right), abs=0.05), "the true share of right sets is learnt"
    assert manifest["metrics"]["main_category"]["accuracy"] > 0.9


@pytest.mark.parametrize("is_close", [True, False], ids=["close", "not close"])
def test_int8_is_served_where_it_is_close_to_float32(
    published: Path, helpline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_close: bool
) -> None:
    monkeypatch.setattr("ml.export.LARGEST_CHANGE", 1.0 if is_close else -1.0)
    monkeypatch.setattr("ml.export.LARGEST_DROP", 1.0)
    rows = labelled(helpline, count=24)
    manifest = checkpoint.save(checkpoint.read(published, HELPLINE), tmp_path / "model", rows=rows)
    assert manifest["export"]["precision"] == ("int8" if is_close else "float32")
    exact = np.array_equal(
        Predictor(tmp_path / "model").logits([LONG])["priority"], Predictor(helpline).logits([LONG])["priority"]
    )
    assert exact is not is_close


def test_int8_is_not_served_where_a_head_could_not_be_compared(
    published: Path, helpline: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ml.export.LARGEST_CHANGE", 1.0)
    monkeypatch.setattr("ml.export.LARGEST_DROP", 1.0)
    rows = [Example(row.id, row.text, {"priority": row.labels["priority"]}) for row in labelled(helpline, count=24)]
    manifest = checkpoint.save(checkpoint.read(published, HELPLINE), tmp_path / "model", rows=rows)
    assert manifest["export"]["precision"] == "float32"


def test_data_without_a_label_of_the_four_heads_is_refused(published: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"^no row of x.jsonl has a label for one of main_category, sub_cat"):
        checkpoint.save(checkpoint.read(published), tmp_path / "model", rows=[Example("1", "w1")], rows_from="x.jsonl")
    assert not (tmp_path / "model").exists()


def test_pickled_weights_and_a_whole_tokenizer_give_the_same_model(
    published: Path, plain: Path, tmp_path: Path
) -> None:
    other = altered(published, tmp_path / "other", {})
    weights = load_file(other / "model.safetensors") | {"distilbert.embeddings.position_ids": torch.arange(WINDOW)}
    torch.save(weights, other / "pytorch_model.bin")
    (other / "model.safetensors").unlink()
    (other / "tokenizer.json").write_bytes((plain / "tokenizer.json").read_bytes())
    (other / "vocab.txt").unlink()
    checkpoint.save(checkpoint.read(other), tmp_path / "model")
    found, expected = Predictor(tmp_path / "model").logits([LONG]), Predictor(plain).logits([LONG])
    np.testing.assert_array_equal(found["main_category"], expected["main_category"])


@pytest.mark.parametrize(
    "content",
    ['["a", "b", "c"]', '{"0": "a", "2": "c", "1": "b"}', '{"c": 2, "a": 0, "b": 1}'],
    ids=["list", "name by index", "index by name"],
)
def test_names_are_read_in_the_order_of_their_index(published: Path, tmp_path: Path, content: str) -> None:
    other = altered(published, tmp_path / "other", {})
    (other / "priorities.json").write_text(content)
    found: Checkpoint = checkpoint.read(other)
    assert found.meanings["priority"] == ["a", "b", "c"]


@pytest.mark.slow
def test_a_checkpoint_of_the_real_size_is_imported_and_predicts(tmp_path: Path) -> None:
    folder = write(tmp_path / "real", layers=6, width=768, window=512, words=30522)
    assert main(["import-checkpoint", str(folder), "--schema", "helpline"]) == 0
    predictor = Predictor(tmp_path / "real-served")
    assert predictor.manifest["encoder"]["max_tokens"] == 256
    [said] = predictor.predict([LONG * 4])
    assert list(said) == ["main_category", "sub_category", "intervention", "priority"]
    assert sum((said["priority"].probabilities or {}).values()) == pytest.approx(1.0)
