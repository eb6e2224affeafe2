"""Studies of public data: parts that are done once, and the page that tells what they found."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from ml import studies
from ml.__main__ import main
from ml.encoder import Encoder
from ml.schema import Kind
from ml.studies import quality, report, selection
from ml.studies.lab import BANKING_TEST, BANKING_TRAIN, NLUPP, Lab, Study, StudyError, sample
from tests import tiny


@pytest.fixture
def lab(tmp_path: Path, tiny_encoder: Encoder) -> Lab:
    """A lab with little data of the same form, about things and moods, and a tiny encoder."""
    rows = tiny.cases(120)
    (tmp_path / "data").mkdir()
    for name, part in ((BANKING_TRAIN, rows[:80]), (BANKING_TEST, rows[80:])):
        lines = [json.dumps({"text": row.text, "label": row.labels["thing"]}) for row in part]
        (tmp_path / "data" / name).write_text("\n".join(lines))
    several = [{"text": row.text, "labels": row.labels["mood"], "fold": at % 20} for at, row in enumerate(rows)]
    (tmp_path / "data" / NLUPP).write_text("\n".join(map(json.dumps, several)))
    found = Lab(tmp_path / "data", tmp_path / "work")
    found.__dict__["encoder"] = tiny_encoder
    return found


def counted(tmp_path: Path) -> tuple[Study, list[str]]:
    """A study of one part that tells each time it is done."""
    done: list[str] = []

    def part(_: Lab) -> dict[str, Any]:
        done.append("part")
        return {"accuracy": 0.5}

    return Study(
        "A study", [NLUPP], {"one": part}, lambda found: [{"figure": "x", "found": found["one"]["accuracy"]}]
    ), done


def test_a_part_that_is_done_is_not_done_again_until_its_data_changes(lab: Lab, tmp_path: Path) -> None:
    study, done = counted(tmp_path)
    assert [lab.do(study, "one"), lab.do(study, "one")] == [{"accuracy": 0.5}] * 2
    assert len(done) == 1
    (tmp_path / "data" / NLUPP).write_text("{}")
    lab.do(study, "one")
    assert len(done) == 2


def test_data_that_is_missing_is_named(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "data" / NLUPP).unlink()
    with pytest.raises(StudyError, match=r"nlupp_banking.jsonl cannot be read \(No such file.*A study needs it"):
        lab.do(counted(tmp_path)[0], "one")


def test_intents_become_a_schema_with_a_name_and_a_definition_each(lab: Lab) -> None:
    schema, rows = lab.banking(BANKING_TEST)
    head = schema.head("intent")
    assert (head.kind, list(head.keys)) == (Kind.CHOICE, ["hill", "road", "ship", "wave"])
    assert (head.labels[0].name, head.labels[0].definition) == ("Hill", "The customer asks about this: hill.")
    assert (len(rows), len({row.id for row in rows})) == (40, 40)
    several, rows, tenths = lab.nlupp()
    assert several.head("intent").kind == Kind.CHOICES
    assert Counter(tenths) == dict.fromkeys(range(10), 12)


def test_a_sample_has_so_many_of_each_label_and_the_same_for_a_seed(lab: Lab) -> None:
    rows = lab.banking(BANKING_TRAIN)[1]
    found = sample(rows, "intent", 5, seed=1)
    assert set(Counter(row.labels["intent"] for row in found).values()) == {5}
    assert found == sample(rows, "intent", 5, seed=1) != sample(rows, "intent", 5, seed=2)
    assert len(sample(rows, "intent", 999, seed=1)) == len(rows)


def test_few_labels_are_measured_on_cases_that_nobody_learnt_from(lab: Lab) -> None:
    found = quality._few(10, 0, lab)
    assert (found["learnt"], found["told_apart"]) == (40, "intent")
    assert found["accuracy"] > 0.25
    assert 0 < found["linear"] <= 1


def test_several_intents_are_learnt_from_one_tenth(lab: Lab) -> None:
    found = quality._tenth(3, lab)
    assert found["learnt"] == 12
    assert {"micro_f1", "linear"} < set(found)


def test_choosing_begins_with_what_is_labelled_and_is_measured_at_each_budget(lab: Lab, monkeypatch: Any) -> None:
    monkeypatch.setitem(selection.POOLS, "even", (selection._even, (44, 60)))
    monkeypatch.setattr(selection, "BATCH", 8)
    pool, begun = selection._even(lab, 0)
    assert Counter(pool[at].labels["intent"] for at in begun) == dict.fromkeys(["hill", "road", "ship", "wave"], 10)
    found = selection._curve("even", "random", 0, lab)
    assert [point["labelled"] for point in found["curve"]] == [44, 60]


def test_a_long_tail_has_common_and_rare_intents(lab: Lab, monkeypatch: Any) -> None:
    monkeypatch.setattr(selection, "LONG_TAIL", (12, 2))
    pool, begun = selection._tailed(lab, 0)
    assert (sorted(Counter(row.labels["intent"] for row in pool).values()), begun) == ([2, 4, 7, 12], [])


def test_spoilt_labels_are_looked_for_among_the_most_doubted(lab: Lab) -> None:
    found = selection._spoilt(lab)
    assert set(found) == {"precision", "recall", "doubted"}
    assert found["doubted"] <= 8
    assert found["recall"] * 8 == pytest.approx(found["precision"] * found["doubted"])


def curves(better: float) -> dict[str, Any]:
    """Curves of every part of the study, on which the default is better by so much."""
    return {
        selection.name(pool, strategy, seed): {
            "curve": [
                {"labelled": budget, "accuracy": level + seed / 100, "macro_f1": level}
                for budget in budgets
                for level in [0.5 + (better if strategy != "random" else 0.0)]
            ]
        }
        for pool, (_, budgets) in selection.POOLS.items()
        for strategy in ("adaptive", "random")
        for seed in range(selection.SEEDS)
    }


@pytest.mark.parametrize(("better", "is_met"), [(0.1, True), (-0.1, False)])
def test_the_page_says_what_was_found_aimed_at_and_missed(tmp_path: Path, better: float, is_met: bool) -> None:
    place = tmp_path / "docs" / "learning.md"
    report.write(studies.ALL, {"selection": curves(better)}, place)
    page = place.read_text()
    assert "## Choosing cases beside asking at random" in page
    assert ("| accuracy, 847 labels, even pool | 0.620 | 0.520 |" in page) == is_met
    assert (" missed |" in page) != is_met
    assert "![Accuracy by number of labels](learning.svg)" in page
    assert place.with_suffix(".svg").read_text().count("<svg") == 1
    assert json.loads(place.with_suffix(".json").read_text())["rows"]["selection"][0]["beside"]["random"] == 0.52


def test_a_study_that_is_none_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["learning", "--data", str(tmp_path), "--work", str(tmp_path), "--out", str(tmp_path / "x.md"), "nothing"]
    assert main(given) == 2
    assert "there is no study nothing; expected some of helpline, entities, banking" in capsys.readouterr().err
