"""Checkpoints that are refused: other layouts, other parameters, names that are no labels, pickles that run code."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ml import checkpoint, schema
from ml.__main__ import main
from ml.classes import CheckpointError
from tests.four_heads import HELPLINE, WORDS, altered


class Malicious:
    def __reduce__(self) -> tuple[Any, tuple[Path]]:
        return Path.touch, (Path("malicious-was-here"),)


def test_a_pickle_that_would_run_code_is_refused(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    other = altered(published, tmp_path / "other", {})
    (other / "model.safetensors").unlink()
    torch.save({"pre_classifier.bias": Malicious()}, other / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"pytorch_model.bin is not a file of weights alone \(UnpicklingError\)"):
        checkpoint.read(other)
    assert not Path("malicious-was-here").exists()


def test_all_names_that_are_no_labels_are_told_with_the_nearest(published: Path, tmp_path: Path) -> None:
    other = altered(published, tmp_path / "other", {})
    (other / "main_categories.json").write_text('["VAN", "advice and counseling", "Nutrition"]')
    (other / "interventions.json").write_text('["Referral", "Counselling, Prayr", "Signpost", "Referred, Counselling"]')
    with pytest.raises(CheckpointError) as caught:
        checkpoint.read(other, HELPLINE)
    assert str(caught.value).splitlines() == [
        "not all names are labels of the schema helpline:",
        "main_categories.json: main_category has the unknown label 'VAN'; the nearest known label is 'VANE'",
        (
            "interventions.json: intervention has the unknown label 'Prayr'; "
            "expected Counselling, Referral, Signposting, Awareness/Information Provided"
        ),
        "interventions.json: intervention has the unknown label 'Signpost'; the nearest known label is 'Signposting'",
    ]


def test_a_class_that_could_never_be_answered_is_refused(published: Path, tmp_path: Path) -> None:
    other = altered(published, tmp_path / "other", {})
    (other / "main_categories.json").write_text('["VANE", "Disability", "Nutrition"]')
    expected = r"knows a main_category without a sub_category under it, or the other way round: Advice.*, Disability;"
    with pytest.raises(CheckpointError, match=expected):
        checkpoint.read(other, HELPLINE)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"pre_classifier.bias": None}, "pre_classifier.bias is missing", id="missing"),
        pytest.param({"classifier_age.bias": torch.zeros(2)}, "classifier_age.bias is not expected", id="unexpected"),
        pytest.param(
            {"classifier_sub.weight": torch.zeros(4, 32)},
            "classifier_sub.weight is 4 x 32; expected 5 x 32, from sub_categories.json",
            id="label count",
        ),
        pytest.param(
            {"distilbert.embeddings.word_embeddings.weight": torch.zeros(9, 32)},
            "distilbert.embeddings.word_embeddings.weight is 9 x 32; expected 48 x 32, from config.json",
            id="vocabulary",
        ),
    ],
)
def test_other_parameters_are_refused_by_name(
    published: Path, tmp_path: Path, changes: dict[str, Tensor | None], message: str
) -> None:
    other = altered(published, tmp_path / "other", changes)
    with pytest.raises(CheckpointError) as caught:
        checkpoint.read(other)
    assert str(caught.value).splitlines() == [f"{other / 'model.safetensors'} has other parameters:", message]


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        pytest.param("config.json", '{"model_type": "bert"}', "has model_type 'bert'; expected 'distilb", id="bert"),
        pytest.param("config.json", "[]", "has model_type None; expected 'distilbert'", id="list"),
        pytest.param(
            "config.json", '{"model_type": "distilbert", "dim": "32"}', "has dim '32'; expected a whole", id="dim"
        ),
        pytest.param("config.json", '{"model_type": "distilbert", "n_heads": 7}', "7 n_heads do not", id="heads"),
        pytest.param(
            "config.json", '{"model_type": "distilbert", "activation": "x"}', "expected gelu or relu", id="activation"
        ),
        pytest.param("config.json", None, "config.json cannot be read: No such file", id="no configuration"),
        pytest.param("main_categories.json", "{", "main_categories.json is not JSON", id="not JSON"),
        pytest.param("priorities.json", None, "priorities.json cannot be read: No such file", id="no names"),
        pytest.param("priorities.json", "[1]", "is not a list of two or more names", id="one name"),
        pytest.param("priorities.json", "[1, null]", "has a NoneType that is no name", id="null"),
        pytest.param("priorities.json", '["1", 1.0]', "has the name '1' twice", id="twice"),
        pytest.param("priorities.json", '{"1": "a", "2": "b"}', "nor an object of names and indices", id="from 1"),
        pytest.param("priorities.json", '{"0": 1, "1": 2, "2": 0}', "nor an object of names and ind", id="uncertain"),
        pytest.param("vocab.txt", None, "has no tokenizer.json, nor a vocab.txt", id="no tokenizer"),
        pytest.param("vocab.txt", "a\nb", "vocab.txt is not a tokenizer", id="no special pieces"),
        pytest.param("vocab.txt", "\n".join([*WORDS, "more"]), "has a word piece 48; vocab_size is 48", id="long"),
        pytest.param("model.safetensors", None, "has no model.safetensors, nor a pytorch_model.bin", id="no weights"),
        pytest.param("model.safetensors", "x", "is not a file of weights alone (SafetensorError)", id="no safetensors"),
    ],
)  # fmt: skip
def test_what_is_not_of_the_layout_is_refused(
    published: Path, tmp_path: Path, file: str, content: str | None, message: str
) -> None:
    other = altered(published, tmp_path / "other", {})
    if content is None:
        (other / file).unlink()
    else:
        (other / file).write_text(content)
    with pytest.raises(CheckpointError, match=re.escape(message)):
        checkpoint.read(other)


def test_a_schema_without_the_four_heads_is_refused(published: Path) -> None:
    with pytest.raises(CheckpointError, match=r"^the schema customer has no head main_category of kind"):
        checkpoint.read(published, schema.load("customer"))


def test_a_faulty_checkpoint_exits_with_2(published: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import-checkpoint", str(tmp_path)]) == 2
    assert "main_categories.json cannot be read" in capsys.readouterr().err
    assert main(["import-checkpoint", str(published), "--out", str(tmp_path)]) == 2
    assert "exists already; models are never overwritten" in capsys.readouterr().err
