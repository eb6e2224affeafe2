from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ml import examples
from ml.__main__ import main
from tests import tiny


def run(*arguments: str | Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ml", *map(str, arguments)]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    tiny.write_encoder(folder / "encoder")
    (folder / "toy.toml").write_text(tiny.SCHEMA)
    lines = [examples.write(case) for case in tiny.cases(120)]
    (folder / "data.jsonl").write_text("\n".join(lines) + "\n")
    found = run(
        "train", "--schema", folder / "toy.toml", "--data", folder / "data.jsonl",
        "--out", folder / "model", "--encoder", folder / "encoder", "--seed", "3",
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    (folder / "answer.json").write_text(found.stdout)
    assert "train    [" in found.stderr
    return folder


def test_training_writes_a_model_folder_and_says_how_good_it_is(files: Path) -> None:
    answer = json.loads((files / "answer.json").read_text())
    assert answer["counts"]["train"] == {"place": 120, "thing": 120, "mood": 120}
    assert json.loads((files / "model" / "manifest.json").read_text())["config"]["seed"] == 3


def test_evaluating_prints_one_object_with_the_heads_of_the_model(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", "--model", str(files / "model"), "--data", str(files / "data.jsonl")]) == 0
    heads = json.loads(capsys.readouterr().out)["heads"]
    assert list(heads) == ["place", "thing", "mood"]
    assert list(heads["place"]) == ["n", "accuracy", "macro_f1", "majority", "ece"]
    assert list(heads["mood"]) == ["n", "micro_f1", "macro_f1", "majority", "ece"]
    assert heads["place"]["n"] == 120


def test_predicting_answers_good_lines_and_names_bad_ones(files: Path) -> None:
    lines = ['{"id": "a", "text": "ship ship"}', "broken", '{"id": "b", "text": "hill", "labels": {"place": "land"}}']
    found = run("predict", "--model", files / "model", stdin="\n".join(lines))
    answers = [json.loads(line) for line in found.stdout.splitlines()]
    assert found.returncode == 1
    assert [answer["id"] for answer in answers] == ["a", "b"]
    assert list(answers[0]["heads"]["mood"]) == ["answer", "confidence", "probabilities"]
    assert "error: line 2: not JSON" in found.stderr


def test_predicting_good_lines_only_is_a_success(files: Path) -> None:
    found = run("predict", "--model", files / "model", stdin='{"id": "a", "text": "ship"}\n')
    assert (found.returncode, found.stderr) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["--schema", "nothing"], "schema is 'nothing'; expected one of customer, helpline", id="schema"),
        pytest.param(["--data", "none.jsonl"], "none.jsonl cannot be read: No such file", id="data"),
        pytest.param(["--profile", "full"], "--profile full is not available in this version", id="profile"),
        pytest.param(["--encoder", "none"], "encoder 'none' cannot be loaded", id="encoder"),
        pytest.param(["--out", "."], ". exists already; models are never overwritten", id="out"),
    ],
)
def test_wrong_arguments_are_explained_and_exit_with_2(
    files: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    usual = ["--schema", files / "toy.toml", "--data", files / "data.jsonl", "--out", files / "new"]
    assert main(["train", *map(str, usual), *arguments]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("error: ")
    assert message in told.err
