"""The comparison with TF-IDF on a tiny encoder: what it measures, never how good that is on real cases."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from ml import baselines, examples
from ml.__main__ import main
from ml.types import Example, Span
from tests import tiny

CALIBRATION = ["ece", "ece_interval", "ece_perfect"]
TOY = tiny.toy_schema()


def moved(names: list[Span]) -> list[Span]:
    """What stands of spans where their text lost its first character."""
    return [{**span, "start": span["start"] + 1, "end": span["end"] + 1} for span in names]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two files: cases with every label, and others with spans alone."""
    folder = tmp_path_factory.mktemp("baselines")
    tiny.write_encoder(folder / "encoder")
    (folder / "toy.toml").write_text(tiny.SCHEMA)
    tagged = [replace(case, labels={"names": case.labels["names"]}) for case in tiny.cases(80, seed=1)]
    tagged[::4] = [replace(case, labels={"names": moved(case.labels["names"])}) for case in tagged[::4]]
    unlabelled = [replace(case, id=f"new {case.id}", labels={}) for case in tiny.cases(10, seed=2)]
    for name, cases in {"cases": [*tiny.cases(120), *unlabelled], "tagged": tagged}.items():
        (folder / f"{name}.jsonl").write_text("".join(f"{examples.write(case)}\n" for case in cases))
    return folder


def compare(folder: Path, *files: str, profile: str = "fast") -> int:
    data = [str(folder / f"{file}.jsonl") for file in files]
    given = {"schema": str(folder / "toy.toml"), "encoder": str(folder / "encoder"), "profile": profile}
    return main(["compare", "--data", *data, *(word for key, value in given.items() for word in (f"--{key}", value))])


def test_the_command_tells_the_figures_of_every_file_in_one_object(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert compare(folder, "cases", "tagged") == 0
    printed = capsys.readouterr()
    told = json.loads(printed.out)
    assert list(told) == ["profile", "files"]
    assert (told["profile"], list(told["files"])) == ("fast", ["cases", "tagged"])
    cases, tagged = told["files"].values()
    for key, measure in {"place": "accuracy", "thing": "accuracy", "mood": "micro_f1"}.items():
        assert list(cases["heads"][key]) == ["n", measure, "macro_f1", "majority", *CALIBRATION, "tf_idf"]
    assert list(tagged["heads"]) == ["names"]
    assert {"n", "micro_f1", *CALIBRATION} <= tagged["heads"]["names"].keys()
    _, held_out = baselines.part(examples.read(folder / "tagged.jsonl", TOY))
    fitting = [case for case in held_out if all(case.text[one["start"]].isupper() for one in case.labels["names"])]
    names = tagged["heads"]["names"]
    assert (names["n"], names["of_words"]["n"]) == (len(held_out), len(fitting))
    assert len(fitting) < len(held_out)
    assert names["of_words"]["micro_f1"] >= names["micro_f1"]
    assert "tune" not in printed.err
    assert min(cases["train_seconds"], tagged["train_seconds"]) > 0
    learnt, held_out = baselines.part(examples.read(folder / "cases.jsonl", TOY))
    assert (cases["learnt"], cases["held_out"]) == (len(learnt), len(held_out))
    assert cases["heads"]["place"]["n"] == len(held_out)
    commonest = Counter(case.labels["place"] for case in held_out).most_common(1)[0][1]
    assert cases["heads"]["place"]["majority"] == pytest.approx(commonest / len(held_out))
    assert cases["heads"]["place"]["tf_idf"] == 1.0, "a word of the text is the label"


def test_the_full_profile_tunes_the_encoder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert compare(folder, "cases", profile="full") == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["profile"] == "full"
    assert "tune" in printed.err


def test_of_several_labels_the_reference_answers_the_sets_that_it_knows() -> None:
    answers = {"ab": ["calm"], "cd": ["loud"], "ef": ["calm", "loud"]}
    learnt = [Example(word, f"{word} {word}", {"mood": answer}) for word, answer in answers.items()]
    held_out = [
        Example("1", "ab", {"mood": ["calm"]}),
        Example("2", "ef", {"mood": ["loud", "calm"]}),
        Example("3", "cd", {"mood": ["calm", "loud"]}),
        Example("4", "cd"),
    ]
    assert baselines.tf_idf(learnt, held_out, TOY.head("mood")) == pytest.approx(2 * 4 / (5 + 4))


@pytest.mark.parametrize(
    ("learnt", "expected"),
    [
        pytest.param({"ship ship": "sea", "hill hill": "land"}, 0.75, id="two answers"),
        pytest.param({"ship ship": "sea", "wave": "sea"}, 0.5, id="one answer"),
    ],
)
def test_the_reference_is_right_where_the_words_are_known(learnt: dict[str, str], expected: float) -> None:
    held_out = {"a ship": "sea", "the hill": "land", "one ship": "sea", "ship and ship": "land"}
    sides = [[Example(text, text, {"place": answer}) for text, answer in side.items()] for side in (learnt, held_out)]
    assert baselines.tf_idf(*sides, TOY.head("place")) == expected


def test_a_fixed_fifth_is_held_out_and_its_texts_are_not_learnt_from() -> None:
    rows = [Example(str(number), f"text {number % 300}", {"place": "sea"}, source="x") for number in range(400)]
    learnt, held_out = baselines.part([*rows, Example("new", "no label")])
    assert baselines.part(rows) == (learnt, held_out)
    assert 60 <= len(held_out) <= 100
    assert {row.text for row in learnt}.isdisjoint(row.text for row in held_out)
    texts = {row.text for row in held_out}
    assert learnt == [row for row in rows if row.text not in texts]
    conversation = [replace(row, conversation="one") for row in rows]
    assert [] in baselines.part(conversation), "what belongs together stands on one side"


def test_too_few_cases_are_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "one.jsonl").write_text(examples.write(tiny.cases(1)[0]))
    assert compare(folder, "one") == 2
    assert "expected labelled cases to learn from and a fifth to hold out, found 1 to" in capsys.readouterr().err
