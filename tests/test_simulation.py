from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ml import examples, progress, simulation
from ml.__main__ import main
from ml.encoder import Encoder
from ml.progress import Progress
from ml.sampling.strategies import STRATEGIES, SamplingError
from ml.simulation import SimulationError
from ml.training import TrainingError
from ml.types import Example
from tests import tiny

SCHEMA = tiny.toy_schema()
SHORT = replace(tiny.QUICK, epochs=2)


def only(row: Example, *keys: str) -> Example:
    return replace(row, labels={key: row.labels[key] for key in keys})


@pytest.fixture
def simulate(tiny_encoder: Encoder, tiny_exports: Path) -> Any:
    def run(strategy: str = "random", budgets: Any = (12, 24), *, keys: Any = ("thing",), **given: Any) -> Any:
        pool, test = ([only(row, *keys) for row in tiny.cases(60, seed=seed)] for seed in (0, 1))
        asked = {"pool": pool, "test": test, "config": SHORT, "exports": tiny_exports} | given
        pool, test = asked.pop("pool"), asked.pop("test")
        return simulation.run(pool, test, SCHEMA, strategy=strategy, budgets=budgets, encoder=tiny_encoder, **asked)

    return run


def test_more_labels_teach_more(simulate: Any) -> None:
    found = simulate(budgets=[200, 12], pool=tiny.cases(200), test=tiny.cases(60, seed=1), config=tiny.QUICK, batch=100)
    few, many = found["curve"]
    assert (few["labelled"], many["labelled"]) == (12, 200)
    assert list(many["heads"]) == ["place", "thing", "mood", "names", "manner"]
    assert many["heads"]["thing"]["accuracy"] > few["heads"]["thing"]["accuracy"]
    assert many["heads"]["names"]["micro_f1"] > few["heads"]["names"]["micro_f1"]
    assert {key: found[key] for key in found if key != "curve"} == {
        "strategy": "random", "seed": 0, "batch": 100, "pool": 200, "test": 60,
    }  # fmt: skip


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_each_strategy_labels_as_many_as_were_asked_for(simulate: Any, strategy: str) -> None:
    curve = simulate(strategy, keys=("place", "mood", "names"), budgets=[10, 24])["curve"]
    assert [point["labelled"] for point in curve] == [10, 24]
    assert all(point["seen"] == {"place": 2, "mood": 2} for point in curve)
    assert all(point["heads"]["place"]["n"] == 60 for point in curve)


def test_the_same_seed_gives_the_same_curve_and_another_seed_another(simulate: Any) -> None:
    first, second = simulate("adaptive"), simulate("adaptive")
    assert first == second
    assert simulate("adaptive", config=replace(SHORT, seed=1))["curve"] != first["curve"]


def test_no_label_is_known_before_its_case_is_asked(tiny_encoder: Encoder, tiny_exports: Path) -> None:
    rows = tiny.cases(30)
    other = [replace(row, labels={"thing": "ship", "place": "sea"}) for row in rows]
    first, second = (
        simulation._Bench.encode(pool, rows[:9], SCHEMA, tiny_encoder, SHORT, tiny_exports, progress.ignore)
        for pool in ([only(row, "thing", "place") for row in rows], other)
    )
    one, two = (bench.known(list(range(2, 30)), [0, 1], None) for bench in (first, second))
    assert (one.likeness == two.likeness).all()
    assert (one.vectors == two.vectors).all()
    assert two.seen.tolist() == [2, 0, 2, 0, 0, 0]
    assert sum(one.seen) == 4


def test_a_pool_is_asked_empty_at_the_largest_budget(simulate: Any) -> None:
    [point] = simulate("margin", [60], batch=50)["curve"]
    assert point["seen"] == {"thing": 4}


def test_a_round_that_is_too_small_to_learn_from_goes_on_without_a_model(simulate: Any) -> None:
    assert len(simulate("margin", [10], batch=3)["curve"]) == 1


def test_it_tells_how_many_are_labelled(simulate: Any) -> None:
    told: list[Progress] = []
    simulate(budgets=[24], batch=12, progress=told.append)
    assert [(one.done, one.total) for one in told if one.phase == "simulate"] == [(12, 24), (24, 24)]
    assert {one.phase for one in told} == {"encode", "simulate"}


BARE = [Example(str(at), "x") for at in range(7)]
APART = [only(row, "thing" if at % 2 else "mood") for at, row in enumerate(tiny.cases(40))]


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        pytest.param({"strategy": "best"}, SamplingError, "strategy is 'best'; expected one of", id="strategy"),
        pytest.param({"budgets": [12, 61]}, SimulationError, "is 61; the pool has 60 cases", id="large"),
        pytest.param({"budgets": [7, 12]}, SimulationError, "is 7; a head learns from 8", id="small"),
        pytest.param({"budgets": []}, SimulationError, "smallest budget is 0", id="none"),
        pytest.param({"batch": 0}, SimulationError, "batch is 0; expected 1 or more", id="batch"),
        pytest.param({"pool": [*tiny.cases(20), BARE[3]]}, SimulationError, r"the pool has 1 .*\(3\)", id="pool"),
        pytest.param({"test": BARE}, SimulationError, r"test set has 7 .*\(0, 1, 2, 3, 4, \.\.\.\)", id="test"),
        pytest.param({"pool": APART, "budgets": [8]}, TrainingError, "no head has 8 labelled examples", id="training"),
    ],
)
def test_what_cannot_be_simulated_is_explained(simulate: Any, given: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        simulate(**given)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("simulate")
    tiny.write_encoder(folder / "encoder")
    (folder / "toy.toml").write_text(tiny.SCHEMA)
    for seed, name in enumerate(("pool", "test")):
        lines = [examples.write(only(case, "place", "thing")) for case in tiny.cases(40, seed=seed)]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def command(files: Path, *more: str) -> list[str]:
    options = {"schema": "toy.toml", "pool": "pool.jsonl", "test": "test.jsonl", "encoder": "encoder", "cache": "cache"}
    usual = [part for key, name in options.items() for part in (f"--{key}", str(files / name))]
    return ["simulate", *usual, *more]


def test_the_command_prints_a_curve_and_tells_how_far_it_is(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = command(files, "--strategy", "margin", "--budget", "10,20", "--batch", "10", "--seed", "4")
    assert main(asked) == 0
    told = capsys.readouterr()
    found = json.loads(told.out)
    assert (found["strategy"], found["seed"], found["batch"], found["pool"]) == ("margin", 4, 10, 40)
    assert [point["labelled"] for point in found["curve"]] == [10, 20]
    assert list(found["curve"][0]["heads"]["thing"])[:2] == ["n", "accuracy"]
    assert re.search(r"simulate \[#{30}\] 20/20", told.err)
    assert main(asked) == 0
    assert capsys.readouterr().out == told.out


@pytest.mark.parametrize(
    ("more", "message"),
    [
        pytest.param(["--budget", "10", "--strategy", "best"], "strategy is 'best'; expected one of", id="strategy"),
        pytest.param(["--budget", "10,41"], "largest budget is 41; the pool has 40 cases", id="budget"),
        pytest.param(["--budget", "10", "--pool", "none.jsonl"], "none.jsonl cannot be read", id="pool"),
    ],
)
def test_wrong_arguments_are_explained(
    files: Path, more: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(files, *more)) == 2
    told = capsys.readouterr()
    assert (told.out, told.err.startswith("error: ")) == ("", True)
    assert message in told.err


def test_a_budget_that_is_no_number_is_refused_by_the_parser(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(command(files, "--budget", "10,many"))
    assert "'10,many' is no list of whole numbers; expected N or N,N,..." in capsys.readouterr().err


def test_the_help_lists_every_strategy(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["simulate", "--help"])
    told = capsys.readouterr().out
    assert all(
        re.search(rf"^  {name} +{re.escape(one.about)}$", told, re.MULTILINE) for name, one in STRATEGIES.items()
    )
