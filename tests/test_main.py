from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ml import examples, served
from ml.__main__ import main
from tests import tiny

HEADS = ["place", "thing", "mood", "names", "manner"]


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
        "--out", folder / "model", "--encoder", folder / "encoder", "--seed", "3", "--cache", folder / "cache",
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    (folder / "answer.json").write_text(found.stdout)
    (folder / "told").write_text(found.stderr)
    return folder


def test_training_writes_a_model_folder_and_says_how_good_it_is(files: Path) -> None:
    answer = json.loads((files / "answer.json").read_text())
    assert list(answer) == ["model", "counts", "faults", "metrics", "export"]
    assert answer["counts"]["train"] == dict.fromkeys(HEADS, 120)
    assert set(answer["faults"]["names"].values()) == {0}
    assert json.loads((files / "model" / "manifest.json").read_text())["config"]["seed"] == 3


def test_training_tells_how_far_it_is_and_nothing_else(files: Path) -> None:

    told = re.split(r"[\r\n]+", (files / "told").read_text().strip())
    assert {line.split(" ")[0] for line in told} == {"encode", "train", "export"}
    assert all(re.fullmatch(r"\w+ +\[[#.]{30}\] \d+/\d+(  loss \d+\.\d{3})? *", line) for line in told)


def test_the_cache_keeps_vectors_and_exports_where_it_was_told_to(files: Path) -> None:
    [encoder] = (files / "cache" / "exports").iterdir()
    assert encoder.name.endswith(f"-int8.{served.FORM}.onnx")
    texts = {case.text for case in tiny.cases(120)}
    assert len(list((files / "cache" / "vectors").rglob("*.npy"))) >= len(texts)


def test_evaluating_prints_one_object_with_the_heads_of_the_model(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", "--model", str(files / "model"), "--data", str(files / "data.jsonl")]) == 0
    heads = json.loads(capsys.readouterr().out)["heads"]
    assert list(heads) == HEADS
    others = ["macro_f1", "majority", "ece", "ece_interval", "ece_perfect"]
    mains = [list(found)[1] for found in heads.values()]
    assert mains == ["accuracy", "accuracy", "micro_f1", "micro_f1", "accuracy"]
    assert all(list(found) == ["n", main_one, *others] for found, main_one in zip(heads.values(), mains, strict=True))
    assert heads["thing"]["n"] == 120
    assert all(heads[key]["accuracy"] > heads[key]["majority"] for key in ("place", "thing", "manner"))


def test_predicting_answers_good_lines_and_names_bad_ones(files: Path) -> None:
    lines = ['{"id": "a", "text": "Ship ship"}', "broken", '{"id": "b", "text": "hill", "labels": {"place": "land"}}']
    found = run("predict", "--model", files / "model", stdin="\n".join(lines))
    answers = [json.loads(line) for line in found.stdout.splitlines()]
    assert found.returncode == 1
    assert [answer["id"] for answer in answers] == ["a", "b"]
    assert list(answers[0]["heads"]) == HEADS
    assert list(answers[0]["heads"]["mood"]) == ["answer", "confidence", "probabilities"]
    assert list(answers[0]["heads"]["names"]) == ["answer", "confidence"]
    assert set(answers[0]["heads"]["manner"]["answer"]) == {"opening", "hold"}
    assert found.stderr.splitlines()[0].startswith("error: line 2: not JSON")


def test_predicting_goes_on_after_lines_that_cannot_be_read(files: Path) -> None:
    bad = [b'{"id": "1", "text": "\xff"}', b'{"id": "1", "text": "\\ud800"}', b'{"id": %s}' % (b"1" * 5000)]
    lines = b"\n".join([*bad, b'{"id": "b", "text": "hill"}'])
    command = [sys.executable, "-m", "ml", "predict", "--model", files / "model"]
    found = subprocess.run(command, input=lines, capture_output=True, check=False)
    assert found.returncode == 1
    assert json.loads(found.stdout)["id"] == "b"
    assert [line[:14] for line in found.stderr.splitlines()] == [b"error: line %d:" % number for number in (1, 2, 3)]


def test_predicting_good_lines_only_is_a_success(files: Path) -> None:
    found = run("predict", "--model", files / "model", stdin='{"id": "a", "text": "ship"}\n')
    assert (found.returncode, found.stderr) == (0, "")


def test_training_goes_on_from_a_model(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = files / "second"
    begin = ["--from", str(files / "model"), "--cache", str(files / "cache"), "--profile", "full"]
    common = ["train", "--schema", str(files / "toy.toml"), "--data", str(files / "data.jsonl")]
    assert main([*common, "--out", str(out), *begin]) == 0
    assert json.loads(capsys.readouterr().out)["model"] == str(out)
    first, second = (json.loads((files / name / "manifest.json").read_text()) for name in ("model", "second"))
    assert second["config"]["profile"] == "full"
    assert second["encoder"]["name"] == first["encoder"]["name"] == str(files / "encoder")
    assert second["encoder"]["base_sha256"] == first["encoder"]["base_sha256"]
    with_it = [*common, "--out", str(files / "third"), "--cache", str(files / "cache"), "--from", str(out)]
    assert main(with_it) == 0
    third = json.loads((files / "third" / "manifest.json").read_text())
    assert third["encoder"]["is_tuned"] == second["encoder"]["is_tuned"]


def test_a_student_learns_from_a_teacher_with_fewer_layers(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    usual = ["train", "--schema", str(files / "toy.toml"), "--data", str(files / "data.jsonl")]
    more = ["--cache", str(files / "cache"), "--teacher", str(files / "model"), "--layers", "1"]
    assert main([*usual, "--out", str(files / "student"), *more]) == 0
    capsys.readouterr()
    manifest = json.loads((files / "student" / "manifest.json").read_text())
    assert manifest["encoder"]["layers"] == [1]
    assert manifest["encoder"]["name"] == str(files / "encoder")
    assert manifest["teachers"] == [hashlib.sha256((files / "model" / "manifest.json").read_bytes()).hexdigest()]


def test_spans_that_cannot_be_learnt_from_are_counted_and_stop_nothing(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [json.loads(examples.write(case)) for case in tiny.cases(60)]
    odd = [(0, 0), (0, 10_000), (5, 3), (0, 10_000)]
    for line in lines[:10]:
        line["labels"]["names"] += [{"start": start, "end": end, "label": "NAME"} for start, end in odd]
    (files / "odd.jsonl").write_text("\n".join(map(json.dumps, lines)))
    options = ["--schema", files / "toy.toml", "--data", files / "odd.jsonl", "--out", files / "odd"]
    assert main(["train", *map(str, [*options, "--encoder", files / "encoder", "--cache", files / "cache"])]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["counts"]["train"]["names"] == 60
    faults = told["faults"]["names"]
    assert (faults["empty"], faults["duplicate"], faults["misaligned"], faults["unknown"]) == (20, 10, 0, 0)
    assert faults["overlapping"] == sum(len(tiny.names(case.text)) for case in tiny.cases(10))


def options_of(files: Path, data: str = "data.jsonl") -> list[str]:
    named = {"schema": "toy.toml", "data": data, "encoder": "encoder", "cache": "cache"}
    return [part for name, value in named.items() for part in (f"--{name}", str(files / value))]


def test_cross_validating_measures_every_row_by_a_model_that_did_not_see_it(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["cross-validate", *options_of(files), "--folds", "2"]) == 0
    heads = json.loads(capsys.readouterr().out)["heads"]
    assert list(heads) == HEADS
    assert {found["n"] for found in heads.values()} == {120}
    assert list(heads["thing"]) == ["n", "accuracy", "macro_f1", "majority", "ece", "ece_interval", "ece_perfect"]
    assert heads["thing"]["accuracy"] > heads["thing"]["majority"]


def test_likely_label_errors_are_printed_one_a_line(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = {"ship": "wave", "wave": "ship", "hill": "road", "road": "hill"}
    lines = [json.loads(examples.write(case)) for case in tiny.cases(120)]
    for line in lines:
        line["labels"] = {key: line["labels"][key] for key in ("place", "thing")}
    for line in lines[:8]:
        line["labels"]["thing"] = wrong[line["labels"]["thing"]]
    (files / "spoilt.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert main(["label-errors", *options_of(files, "spoilt.jsonl"), "--folds", "2"]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert all(list(one) == ["id", "head", "given", "suggested", "probability", "rank"] for one in found)
    things = [one for one in found if one["head"] == "thing"]
    assert [one["rank"] for one in things] == list(range(1, len(things) + 1))
    assert things[0]["id"] in {line["id"] for line in lines[:8]}
    assert wrong[things[0]["suggested"]] == things[0]["given"]


@pytest.mark.parametrize("command", ["cross-validate", "label-errors"])
def test_more_folds_than_texts_are_explained(files: Path, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    (files / "few.jsonl").write_text("\n".join(examples.write(case) for case in tiny.cases(3)))
    assert main([command, *options_of(files, "few.jsonl")]) == 2
    assert "3 different texts make no 5 folds" in capsys.readouterr().err


def test_a_training_is_recorded_where_it_was_told_to(
    files: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    store = (files / "runs").as_uri()
    assert main(["train", *options_of(files), "--out", str(files / "recorded"), "--mlflow", store]) == 0
    assert "warning" not in capsys.readouterr().err
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=store)
    [run] = client.search_runs([client.get_experiment_by_name("toy").experiment_id])
    assert (run.info.run_name, run.info.status) == ("recorded", "FINISHED")
    assert (run.data.params["schema"], run.data.params["seed"]) == ("toy", "0")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["--mlflow", "nonsense://x"], "nothing takes runs of MLflow at nonsense://x", id="mlflow"),
        pytest.param(["--schema", "nothing"], "schema is 'nothing'; expected one of customer, helpline", id="schema"),
        pytest.param(["--data", "none.jsonl"], "none.jsonl cannot be read: No such file", id="data"),
        pytest.param(["--encoder", "none"], "encoder 'none' cannot be loaded", id="encoder"),
        pytest.param(["--out", "."], ". exists already; models are never overwritten", id="out"),
        pytest.param(["--out", "/dev/null/new"], "/dev/null/new cannot be written: ", id="out that cannot be"),
        pytest.param(["--from", "x", "--encoder", "y"], "--encoder and --from are both given", id="encoder and from"),
        pytest.param(["--from", "none"], "manifest.json cannot be read: No such file", id="from"),
        pytest.param(["--teacher", "none"], "manifest.json cannot be read: No such file", id="teacher"),
        pytest.param(["--layers", "7"], "expected 1 to", id="layers"),
        pytest.param(["--schema", "customer"], "is not a head of the schema customer", id="another schema"),
    ],
)
def test_wrong_arguments_are_explained_and_exit_with_2(
    files: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    usual = ["--schema", files / "toy.toml", "--data", files / "data.jsonl", "--out", files / "new"]
    assert main(["train", *map(str, usual), "--cache", str(files / "cache"), *arguments]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("error: ")
    assert message in told.err
    assert not (files / "new").exists()


def test_evaluating_without_labels_names_the_heads(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (files / "bare.jsonl").write_text('{"id": "a", "text": "ship"}\n')
    assert main(["evaluate", "--model", str(files / "model"), "--data", str(files / "bare.jsonl")]) == 2
    assert f"has no label for a head of the model: {', '.join(HEADS)}" in capsys.readouterr().err


def test_files_of_one_name_are_not_compared(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "--data", "a/x.jsonl", "b/x.jsonl"]) == 2
    assert "--data names two files x; expected different names" in capsys.readouterr().err


def test_a_profile_that_is_none_is_refused_by_the_parser(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["train", "--schema", "helpline", "--data", "x", "--out", "y", "--profile", "slow"])
    assert "invalid choice: 'slow'" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["evaluate", "predict"])
def test_a_folder_that_is_no_model_is_explained(files: Path, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    more = ["--data", str(files / "data.jsonl")] if command == "evaluate" else []
    assert main([command, "--model", str(files), *more]) == 2
    assert "expected a model folder" in capsys.readouterr().err


def test_predicting_needs_no_torch(files: Path) -> None:
    program = "import sys; from ml.__main__ import main; code = main(sys.argv[1:]); assert 'torch' not in sys.modules"
    found = subprocess.run(
        [sys.executable, "-c", program, "predict", "--model", files / "model"],
        input='{"id": "a", "text": "ship"}\n', capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (found.returncode, found.stderr) == (0, "")
