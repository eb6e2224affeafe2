"""The benchmark on a tiny encoder, and a reference as tiny: what it measures, never how fast that is."""

from __future__ import annotations

import contextlib
import io
import json
import resource
import subprocess
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer
from transformers import DistilBertConfig

from ml import answers, bench, examples, schema
from ml.__main__ import main
from ml.bench import Turns
from ml.pieces import Splitter
from ml.progress import Progress, ignore
from ml.reference import Reference
from ml.types import Example
from tests import tiny

pytestmark = pytest.mark.filterwarnings("ignore:Implicitly cleaning up")  # Folders of encoders that were exported

SMALL = DistilBertConfig(vocab_size=64, dim=32, n_layers=1, n_heads=2, hidden_dim=64)
HELPLINE = schema.load("helpline")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bench")
    tiny.write_encoder(folder / "encoder")
    (folder / "toy.toml").write_text(tiny.SCHEMA)
    unlabelled = [replace(case, labels={}) for case in tiny.cases(20, seed=1)]
    lines = [examples.write(case) for case in [*tiny.cases(60), *unlabelled]]
    (folder / "data.jsonl").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module")
def found(folder: Path) -> dict[str, Any]:
    """What the command prints, with a small reference."""
    given = {"data": "data.jsonl", "schema": "toy.toml", "encoder": "encoder"}
    options = [word for key, name in given.items() for word in (f"--{key}", str(folder / name))]
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.setattr(bench, "run", partial(bench.run, config=SMALL))
        assert main(["bench", *options, "--rounds", "1"]) == 0
    found: dict[str, Any] = json.loads(printed.getvalue().splitlines()[-1])
    return found


@pytest.fixture
def reference(folder: Path) -> Reference:
    return Reference(Tokenizer.from_file(str(folder / "encoder" / "tokenizer.json")), SMALL)


@pytest.mark.parametrize(
    ("part", "figure"),
    [
        ("batch", "cases_per_second"),
        ("batch_whole", "cases_per_second"),
        ("single", "milliseconds"),
        ("training", "rows_per_second"),
    ],
)
def test_each_ratio_is_ours_divided_by_the_reference(found: dict[str, Any], part: str, figure: str) -> None:
    ours, theirs = found[part][figure], found[part][f"reference_{figure}"]
    assert found[part]["ratio"] == pytest.approx(ours / theirs, rel=0.01)
    assert min(ours, theirs) > 0


def test_the_answer_tells_memory_precision_and_how_fast_known_cases_train(found: dict[str, Any]) -> None:
    assert list(found) == [
        "batch", "batch_whole", "single", "training", "peak_memory_mb", "fast_again_seconds", "precision", "cases",
    ]  # fmt: skip
    assert 0 < found["training"]["rows_per_second_all_in"] <= found["training"]["rows_per_second"]
    assert found["fast_again_seconds"] > 0
    assert found["precision"] in ("int8", "float32")
    assert found["cases"] == 80


def test_memory_is_that_of_a_process_that_only_serves_however_large_the_one_that_started_it(
    found: dict[str, Any],
) -> None:
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    assert 20 < found["peak_memory_mb"] < 250 < own


def test_a_process_that_serves_must_not_load_torch(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "SERVE", "import sys, torch" + bench.SERVE[bench.SERVE.index("\nif") :])
    with pytest.raises(subprocess.CalledProcessError):
        bench.serve_alone(folder, [])


def test_too_few_cases_are_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few = folder / "few.jsonl"
    few.write_text("\n".join(examples.write(case) for case in tiny.cases(5)))
    assert main(["bench", "--data", str(few), "--schema", str(folder / "toy.toml")]) == 2
    assert capsys.readouterr().err == "error: expected at least 50 cases to measure on, found 5\n"


def test_the_reference_answers_cases_padded_to_256_and_learns_from_batches_padded_to_512(reference: Reference) -> None:
    shapes: list[tuple[int, ...]] = []
    reference.network.register_forward_pre_hook(
        lambda _, __, given: shapes.append(tuple(given["input_ids"].shape)), with_kwargs=True
    )
    assert all(0 <= place < count for place, count in zip(reference.answer("ship"), (7, 58, 8, 3), strict=True))
    before = [weights.clone() for weights in reference.network.parameters()]
    reference.step(["ship", "wave " * 600])
    assert shapes == [(1, 256), (2, 512)]
    assert not any(map(torch.equal, before, reference.network.parameters()))


def test_the_reference_makes_a_step_after_each_round_of_ours(reference: Reference) -> None:
    turns = Turns(reference, ["ship"], 2, ignore)
    taken = []
    for done in (1, 2, 3, 4, 5, 6, 6):
        turns(Progress("tune", done, 6))
        taken.append(len(turns.theirs))
    assert taken == [0, 0, 1, 1, 1, 2, 2]
    assert len(turns.ours) == 2
    figures = turns.figures(90)
    turns.below = 90 / figures["rows_per_second"]
    assert turns.figures(90)["rows_per_second_all_in"] == pytest.approx(figures["rows_per_second"] / 2, rel=0.01)


def test_missing_labels_are_made_up_and_those_there_are_stay() -> None:
    text = "Amina said that Juma hits her."
    made = bench.labelled(Example("1", text, {"main_category": "VANE", "priority": "1"}), HELPLINE)
    assert (made["main_category"], made["priority"]) == ("VANE", "1")
    assert list(made) == [head.key for head in HELPLINE.heads]
    assert made["entities"][1] == {"start": 16, "end": 20, "label": "NAME"}
    read, problems = answers.read(HELPLINE, made, text=text)
    assert (read, problems) == (made, [])


@pytest.mark.parametrize(
    ("most", "kept"), [(64, "ship unknownword, the hill"), (6, "ship unknownword, the"), (4, "ship unknownword")]
)
def test_texts_are_cut_after_the_last_word_that_fits(folder: Path, most: int, kept: str) -> None:
    splitter = Splitter.load(folder / "encoder" / "tokenizer.json", 64)
    found = bench.shortened(["ship unknownword, the hill"], splitter, most)
    assert found == [kept]
    assert len(splitter.split(found)[0].ids) <= most
