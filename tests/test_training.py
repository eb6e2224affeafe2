from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from ml import export, frozen, metrics, training
from ml.encoder import Encoder
from ml.progress import Progress
from ml.training import TrainedModel, TrainingError
from tests import tiny

SCHEMA = tiny.toy_schema()
EVERY = ["place", "thing", "mood", "names", "manner"]
# Heads that have hardly learnt, so that tuning has something to better
FULL = replace(
    tiny.QUICK,
    profile="full",
    epochs=2,
    contrast_examples=0,
    tune_layers=1,
    tune_epochs=8,
    tune_rate=2e-3,
    tune_head_rate=0.02,
)


@pytest.fixture(scope="module")
def train(tiny_encoder: Encoder, tiny_exports: Path) -> Callable[..., TrainedModel]:
    def run(rows: Any = 64, config: Any = tiny.QUICK, *, encoder: Any = tiny_encoder, **given: Any) -> TrainedModel:
        rows = tiny.cases(rows) if isinstance(rows, int) else rows
        return training.train(rows, SCHEMA, config, encoder=encoder, exports=tiny_exports, **given)

    return run


@pytest.fixture(scope="module")
def tuned(train: Callable[..., TrainedModel]) -> TrainedModel:
    return train(200, FULL)


def only(row: Any, *keys: str) -> Any:
    return replace(row, labels={key: row.labels[key] for key in keys})


def same_weights(one: TrainedModel, other: TrainedModel) -> bool:
    both = zip(frozen.copy_of(one.network).values(), frozen.copy_of(other.network).values(), strict=True)
    return all(torch.equal(first, second) for first, second in both) and one.encoder.digest == other.encoder.digest


def test_a_tiny_transformer_learns_a_toy_rule_of_all_heads(tiny_model: TrainedModel) -> None:
    unseen = tiny.cases(100, seed=1)
    found = metrics.evaluate(SCHEMA, unseen, export.predict(tiny_model, [case.text for case in unseen]))
    assert found["place"]["accuracy"] >= 0.95
    assert found["thing"]["accuracy"] >= 0.95
    assert found["mood"]["micro_f1"] >= 0.9
    assert found["names"]["micro_f1"] >= 0.9
    assert found["manner"]["accuracy"] >= 0.9 > found["manner"]["majority"] + 0.2
    measured = tiny_model.metrics
    assert list(measured) == EVERY
    assert all(one.get("accuracy", one.get("micro_f1")) > one["majority"] + 0.2 for one in measured.values())


def test_counts_say_what_was_learnt_from_and_what_was_held_out(tiny_model: TrainedModel) -> None:
    assert tiny_model.counts["train"] == dict.fromkeys(EVERY, 200)
    assert tiny_model.counts["held_out"] == dict.fromkeys(EVERY, 200)
    assert tiny_model.metrics["names"]["n"] == 50, "heads of spans have one copy, which leaves out one fold of four"
    assert set(tiny_model.faults["names"].values()) == {0}


@pytest.mark.parametrize("config", [replace(tiny.QUICK, epochs=2), replace(FULL, tune_epochs=2)], ids=["fast", "full"])
def test_the_same_seed_gives_the_same_weights_and_another_seed_others(train: Any, config: Any) -> None:
    first, second, other = (train(48, replace(config, seed=seed)) for seed in (1, 1, 2))
    assert same_weights(first, second)
    assert not torch.equal(first.network.head("place").weight, other.network.head("place").weight)


def test_training_leaves_the_global_generator_as_it_was(train: Any) -> None:

    before = torch.random.get_rng_state()
    train(32, replace(tiny.QUICK, epochs=1))
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize("keys", [["names"], ["manner"], ["mood", "names"], ["place", "manner"], ["thing"]], ids=str)
@pytest.mark.parametrize("profile", ["fast", "full"])
def test_any_heads_can_be_learnt_alone(train: Any, keys: list[str], profile: str, tmp_path: Path) -> None:
    rows = [only(row, *keys) for row in tiny.cases(160)]
    config = replace(tiny.QUICK, profile=profile, patience=99, tune_layers=1, tune_epochs=1)
    trained = train(rows, config)
    export.save(trained, tmp_path / "model")
    [found] = export.Predictor(tmp_path / "model").predict([rows[0].text])
    assert list(found) == list(trained.metrics) == keys
    assert all(one.get("accuracy", one.get("micro_f1")) > one["majority"] for one in trained.metrics.values())


def test_heads_learn_from_the_examples_that_are_labelled_for_them(train: Any) -> None:
    parts = [("place", "thing"), ("mood", "names"), ("manner",)]
    trained = train([only(case, *parts[at % 3]) for at, case in enumerate(tiny.cases(240))])
    assert trained.counts["train"] == dict.fromkeys(EVERY, 80)
    assert trained.metrics["thing"]["accuracy"] >= 0.8
    assert trained.metrics["thing"]["n"] == 80
    assert trained.metrics["names"]["micro_f1"] >= 0.6


def test_a_head_with_too_few_labels_is_left_out() -> None:
    rows = [only(case, "place", *(["mood", "names"] if at < 7 else [])) for at, case in enumerate(tiny.cases(60))]
    assert training.learnable(SCHEMA, rows) == ["place"]


def test_examples_without_labels_are_refused_with_the_counts(train: Any) -> None:
    message = r"no head has 8 labelled examples to learn from \(place: 0, thing: 0, mood: 0, names: 0, manner: 0\)"
    with pytest.raises(TrainingError, match=message):
        train([only(case) for case in tiny.cases(20)])


def test_spans_that_were_made_for_other_texts_are_counted_and_not_learnt(train: Any) -> None:
    wrong = [{"start": 1, "end": 2, "label": "NAME"}]
    trained = train([replace(only(case, "place"), labels=case.labels | {"names": wrong}) for case in tiny.cases(40)])
    assert trained.faults["names"]["misaligned"] >= 30
    assert trained.metrics["place"]["accuracy"] > 0.8


def test_eight_examples_are_enough_for_an_answer_whatever_is_held_out(train: Any) -> None:

    # `_answer_choice` of a child head fails where there are no rows
    for profile in ("fast", "full"):
        for share in (0.0, 1.0):
            config = replace(FULL, profile=profile, validation_share=share, tune_epochs=2)
            trained = train(8, config)
            [found] = export.predict(trained, ["ship"])
            assert list(found) == EVERY


def test_validation_rows_are_measured_and_not_learnt_from(train: Any) -> None:
    wrong = {"sea": "land", "land": "sea"}
    validation = [replace(case, labels={"place": wrong[str(case.labels["place"])]}) for case in tiny.cases(40, seed=3)]
    rows = [only(case, "place") for case in tiny.cases(150)]
    trained = train(rows, replace(tiny.QUICK, patience=99), validation=validation)
    assert (trained.counts["train"], trained.counts["held_out"]) == ({"place": 150}, {"place": 40})
    assert (trained.metrics["place"]["n"], [row.id for row in trained.held_out]) == (40, [row.id for row in validation])
    assert trained.metrics["place"]["accuracy"] < 0.6


def test_training_stops_when_held_out_rows_get_no_better(train: Any) -> None:
    told: list[Progress] = []
    config = replace(tiny.QUICK, epochs=40, patience=2, learning_rate=1.0, penalty=0.0)
    trained = train(64, config, progress=told.append)
    epochs = [one for one in told if one.phase == "train"]
    best = max(epochs, key=lambda one: (round(sum(one.metrics.values()) / len(EVERY), 3), -one.loss))
    assert trained.epochs == best.done == len(epochs) - 2 < 38


def test_progress_tells_of_every_batch_and_every_epoch(train: Any) -> None:
    told: list[Progress] = []
    train(64, replace(FULL, epochs=3, patience=9, tune_epochs=2), progress=told.append)
    assert next(one for one in told if one.phase == "encode").total == 64
    assert [(one.done, one.total) for one in told if one.phase == "train"] == [(1, 3), (2, 3), (3, 3)]
    assert [one.done for one in told if one.phase == "lower layers"][-1] == 64
    steps = [one for one in told if one.phase == "tune"]
    assert steps[-1].done == steps[-1].total
    assert all(one.loss > 0 and set(one.metrics) == set(EVERY) for one in told if one.phase in ("train", "tune"))


@pytest.mark.parametrize("phase", ["encode", "train", "lower layers", "tune"])
def test_an_exception_in_progress_ends_the_training_and_leaves_nothing_behind(
    train: Any, tiny_encoder: Encoder, phase: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Cancelled(Exception):
        pass

    def cancel(progress: Progress) -> None:
        if progress.phase == phase:
            raise Cancelled

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before, state = frozen.copy_of(tiny_encoder.network), torch.random.get_rng_state()
    with pytest.raises(Cancelled):
        train(48, FULL, progress=cancel)
    assert list(tmp_path.iterdir()) == []
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(before[name], weights) for name, weights in tiny_encoder.network.state_dict().items())
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in tiny_encoder.network.modules())


def test_weighting_rare_labels_does_not_make_them_expected_too_often(train: Any) -> None:
    rare = [case for case in tiny.cases(400) if case.labels["place"] == "sea"][:20]
    common = [case for case in tiny.cases(400) if case.labels["place"] == "land"][:100]
    rows = [replace(only(case, "place"), text="the") for case in [*rare, *common]]
    trained = train(rows, replace(tiny.QUICK, balance=1.0, epochs=40))
    [prediction] = export.predict(trained, ["the"])
    assert prediction["place"].confidence == pytest.approx(100 / 120, abs=0.05)


def test_the_full_profile_changes_the_upper_layers_alone_and_leaves_the_encoder_as_it_was(
    tuned: TrainedModel, tiny_encoder: Encoder
) -> None:
    before, after = tiny_encoder.network.state_dict(), tuned.encoder.network.state_dict()
    changed = {name for name, weights in after.items() if not torch.equal(weights, before[name])}
    assert changed
    assert all(name.startswith("encoder.layer.1.") for name in changed | tuned.encoder.tuned)
    assert not tiny_encoder.tuned
    assert (tuned.encoder.base_digest, tuned.served.base_digest) == (tiny_encoder.digest, tiny_encoder.digest)
    assert tuned.encoder.digest != tiny_encoder.digest
    assert tuned.metrics["thing"]["accuracy"] >= 0.9


def test_a_tuned_model_answers_unseen_texts_through_its_own_encoder(tuned: TrainedModel) -> None:
    unseen = tiny.cases(60, seed=4)
    found = metrics.evaluate(SCHEMA, unseen, export.predict(tuned, [case.text for case in unseen]))
    assert found["thing"]["accuracy"] >= 0.9
    assert found["names"]["micro_f1"] >= 0.7


def test_training_goes_on_from_a_tuned_encoder(
    train: Any, tuned: TrainedModel, tiny_encoder: Encoder, tmp_path: Path
) -> None:
    export.save(tuned, tmp_path / "first")
    encoder = export.restore(tmp_path / "first")

    assert (encoder.digest, encoder.tuned) == (tuned.encoder.digest, tuned.encoder.tuned)
    again = train(80, FULL, encoder=encoder)
    assert again.encoder.base_digest == tiny_encoder.digest
    assert again.encoder.tuned == encoder.tuned
    export.save(again, tmp_path / "second")
    assert export.restore(tmp_path / "second").digest == again.encoder.digest


def test_an_encoder_without_a_list_of_layers_learns_in_the_fast_profile_alone(
    train: Any, other_encoder: Callable[[str], Encoder]
) -> None:
    found = train(120, encoder=other_encoder("albert"))
    assert found.metrics["place"]["accuracy"] > found.metrics["place"]["majority"]
    with pytest.raises(training.InputError, match="has no list of 3 layers; only the fast profile can use it"):
        train(16, FULL, encoder=other_encoder("albert"))
