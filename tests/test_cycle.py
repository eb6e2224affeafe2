"""The cycle that `make cycles` turns, with few cases and a tiny encoder."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ml.policy import Side
from tests import tiny
from tests.proof import cycle, cycles
from tests.proof.cycle import Plan
from webapp.models import Annotation, Case, Origin, Promotion, Run, Schema, SnapshotRow


@pytest.mark.parametrize("choice", cycle.CHOICES)
def test_cases_are_chosen_answered_learnt_from_and_measured_on_the_same_test_set(
    toy: Schema, tmp_path: Path, choice: str
) -> None:
    rows = tiny.cases(100)
    found = cycle.run(toy, rows, Plan(choice=choice, cycles=1, test=30, begin=40, each=20), tmp_path)

    assert [one["labelled"] for one in found["trainings"]] == [40, 60]
    assert found["pool"] == 70
    drawn = {rows[at].text for at in np.random.default_rng(cycle.DRAW).permutation(100)[:30]}
    tested = Case.objects.filter(side=Side.TEST).select_related("stored_text")
    assert {case.stored_text.text for case in tested} == drawn
    newest = Run.objects.latest("pk").snapshot
    assert SnapshotRow.objects.filter(snapshot=newest, side=Side.TEST).count() == 30

    answers = {row.text: row.labels for row in rows}
    came_back = Annotation.objects.filter(origin=Origin.LABEL_STUDIO).select_related("case__stored_text")
    assert came_back.count() == 20
    for annotation in came_back:
        assert not annotation.problems
        assert annotation.answers["thing"] == answers[annotation.case.stored_text.text]["thing"]
    in_use = Promotion.objects.latest("pk").version.evaluations.latest("pk").heads["thing"]["accuracy"]
    assert found["trainings"][-1]["in_use"]["thing"] == pytest.approx(in_use, abs=0.0001)
    assert found["refused"] + Promotion.objects.count() == 2
    assert not list(tmp_path.glob("*.jsonl")), "what was imported is gone from the folder"


def test_by_default_the_cases_come_in_the_order_of_every_queue(toy: Schema, import_rows) -> None:
    import_rows(toy, *({"id": str(n), "text": f"a ship {n}"} for n in range(6)))
    for n, rank in enumerate((3, 1, 5, 0, 4, 2)):
        Case.objects.filter(external_id=str(n)).update(rank=rank)
    chosen = cycle.choose(toy, Plan(each=3), np.random.default_rng(0))
    assert [case.external_id for case in chosen] == ["2", "4", "0"]


def test_a_plan_that_is_done_is_not_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tmp_path / "cases.jsonl"
    data.write_text("{}")
    plan = {"choice": "random", "seed": 1}
    done = []

    def run(command: list[str], **options: object) -> object:
        done.append(command[-1])
        return type("Done", (), {"stdout": json.dumps({"refused": 0}) + "\n"})

    monkeypatch.setattr(cycles.subprocess, "run", run)
    assert [cycles.done(plan, data, tmp_path)["refused"] for _ in range(2)] == [0, 0]
    assert done == [json.dumps(plan)]
    data.write_text("{} ")
    cycles.done(plan, data, tmp_path)
    assert len(done) == 2, "other data are other cases"


def test_the_table_gives_the_mean_over_seeds_of_what_is_in_use() -> None:
    def found(choice: str, accuracy: float, *, is_promoted: bool) -> dict[str, object]:
        training = {"labelled": 50, "seconds": 1, "is_promoted": is_promoted, "in_use": {"thing": accuracy}}
        return {"choice": choice, "trainings": [training]}

    lines = cycles.table([found("default", 0.5, is_promoted=True), found("default", 0.7, is_promoted=False)])
    assert lines.splitlines()[2] == "| default | 50 | 0.600 | 1 of 2 | 1 |"
