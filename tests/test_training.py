from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from ml import metrics, model, training
from ml.encoder import Encoder
from ml.predictor import Predictor
from ml.training import Progress, Target, TrainConfig, TrainingError
from tests import tiny


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    return tiny.load_encoder(tmp_path_factory.mktemp("tiny"))


def train(encoder: Encoder, count: int = 200, **changes: object) -> training.TrainedModel:
    config = replace(tiny.QUICK, **changes)
    return training.train(tiny.cases(count), tiny.toy_schema(), config, encoder=encoder)


def test_a_tiny_transformer_learns_a_toy_rule_of_all_heads(encoder: Encoder) -> None:
    trained = train(encoder)
    unseen = tiny.cases(100, seed=1)
    predictions = Predictor.of(trained).predict([case.text for case in unseen])
    found = metrics.evaluate(trained.schema, unseen, predictions)
    assert found["place"]["accuracy"] >= 0.9
    assert found["thing"]["accuracy"] >= 0.9
    assert found["mood"]["micro_f1"] >= 0.8
    assert trained.metrics["place"]["accuracy"] > trained.metrics["place"]["majority"]
    assert "names" not in found


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(encoder: Encoder) -> None:
    first, second, other = (train(encoder, 64, seed=seed, epochs=3).network.state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["layers.0.weight"], other["layers.0.weight"])


def test_training_leaves_the_global_generator_as_it_was(encoder: Encoder) -> None:
    before = torch.random.get_rng_state()
    train(encoder, 64, epochs=1)
    assert torch.equal(before, torch.random.get_rng_state())


def test_heads_learn_from_the_examples_that_are_labelled_for_them(encoder: Encoder) -> None:
    rows = [
        replace(case, labels={key: case.labels[key] for key in (("place", "thing") if at % 2 else ("mood",))})
        for at, case in enumerate(tiny.cases(200))
    ]
    trained = training.train(rows, tiny.toy_schema(), tiny.QUICK, encoder=encoder)
    assert trained.counts["train"] == {"place": 100, "thing": 100, "mood": 100}
    assert trained.metrics["thing"]["accuracy"] >= 0.8
    assert trained.metrics["thing"]["n"] == 100


def test_a_head_with_too_few_labels_is_left_out(encoder: Encoder) -> None:
    rows = [
        replace(case, labels={"place": case.labels["place"], **({"mood": ["calm"]} if at < 7 else {})})
        for at, case in enumerate(tiny.cases(60))
    ]
    assert training.learnable(tiny.toy_schema(), rows) == ["place"]


def test_examples_without_labels_are_refused_with_the_counts(encoder: Encoder) -> None:
    rows = [replace(case, labels={}) for case in tiny.cases(20)]
    message = r"no head has 8 labelled examples to learn from \(place: 0, thing: 0, mood: 0\)"
    with pytest.raises(TrainingError, match=message):
        training.train(rows, tiny.toy_schema(), tiny.QUICK, encoder=encoder)


def test_another_profile_is_refused(encoder: Encoder) -> None:
    with pytest.raises(TrainingError, match="profile 'full' is not available in this version; expected 'fast'"):
        train(encoder, 20, profile="full")


def test_validation_rows_are_measured_and_not_learnt_from(encoder: Encoder) -> None:
    wrong = {"sea": "land", "land": "sea"}
    validation = [replace(case, labels={"place": wrong[str(case.labels["place"])]}) for case in tiny.cases(40, seed=3)]
    config = replace(tiny.QUICK, patience=99)
    trained = training.train(tiny.cases(150), tiny.toy_schema(), config, encoder=encoder, validation=validation)
    assert trained.counts["train"]["place"] == 150
    assert trained.counts["held_out"]["place"] == 40
    assert trained.metrics["place"]["n"] == 40
    assert trained.metrics["place"]["accuracy"] < 0.5


def test_rows_are_measured_by_the_copy_that_did_not_learn_from_them() -> None:
    scores = torch.tensor([[[0.0], [1.0], [2.0]], [[10.0], [11.0], [12.0]], [[20.0], [21.0], [22.0]]])  # (K, n, C)
    left_out = torch.tensor([[False, True, False], [True, False, False], [False, False, False]])
    rows, found = training._scores_by_strangers({"place": scores}, left_out)
    assert rows == [0, 1]
    assert found["place"].tolist() == [[10.0], [1.0]]


def test_progress_tells_of_every_batch_and_every_epoch(encoder: Encoder) -> None:
    told: list[Progress] = []
    config = replace(tiny.QUICK, epochs=3, patience=9)
    training.train(tiny.cases(64), tiny.toy_schema(), config, encoder=encoder, progress=told.append)
    assert [one for one in told if one.phase == "encode"][-1].done == 64
    assert [(one.done, one.total) for one in told if one.phase == "train"] == [(1, 3), (2, 3), (3, 3)]
    assert all(one.loss is not None and one.loss > 0 for one in told if one.phase == "train")


def test_an_exception_in_progress_ends_the_training(encoder: Encoder) -> None:
    class Cancelled(Exception):
        pass

    def cancel(progress: Progress) -> None:
        if progress.phase == "train":
            raise Cancelled

    with pytest.raises(Cancelled):
        training.train(tiny.cases(64), tiny.toy_schema(), tiny.QUICK, encoder=encoder, progress=cancel)


def test_training_stops_when_held_out_rows_get_no_better(encoder: Encoder) -> None:
    told: list[Progress] = []
    config = replace(tiny.QUICK, epochs=40, patience=2, learning_rate=1.0, penalty=0.0)
    trained = training.train(tiny.cases(64), tiny.toy_schema(), config, encoder=encoder, progress=told.append)
    losses = [one.loss for one in told if one.phase == "train"]
    assert len(losses) < 40
    assert losses.index(min(losses)) + 1 == trained.epochs == len(losses) - 2


def test_rows_of_rare_labels_count_more_up_to_a_limit() -> None:
    head = tiny.toy_schema().head("place")
    target = Target(head, torch.tensor([0] * 9 + [1]), torch.ones(10, dtype=torch.bool))
    learns = torch.ones(1, 10, dtype=torch.bool)
    level = target.weights(learns, TrainConfig(balance=0.0))
    balanced = target.weights(learns, TrainConfig(balance=1.0))
    limited = target.weights(learns, TrainConfig(balance=1.0, heaviest=2.0))
    assert level.tolist() == [[1.0] * 10]
    assert balanced[0, -1].item() == pytest.approx(5.0)
    assert balanced[0, 0].item() == pytest.approx(10 / 18)
    assert limited[0, -1].item() == 2.0


def test_unlabelled_rows_make_no_label_common() -> None:
    head = tiny.toy_schema().head("place")
    target = Target(head, torch.tensor([0, 1, 0, 0]), torch.tensor([True, True, False, False]))
    rarity = target.rarity(torch.ones(1, 4, dtype=torch.bool), TrainConfig(balance=1.0))
    assert rarity.tolist() == [[1.0, 1.0]]


def test_a_row_that_is_held_out_or_unlabelled_counts_nothing() -> None:
    head = tiny.toy_schema().head("place")
    target = Target(head, torch.tensor([0, 1, 0, 1]), torch.tensor([True, True, False, True]))
    weights = target.weights(torch.tensor([[True, False, True, True]]), TrainConfig())
    assert (weights > 0).tolist() == [[True, False, False, True]]


def test_weighting_rare_labels_does_not_make_them_expected_too_often(encoder: Encoder) -> None:
    rare = [case for case in tiny.cases(400) if case.labels["place"] == "sea"][:20]
    common = [case for case in tiny.cases(400) if case.labels["place"] == "land"][:100]
    rows = [replace(case, text="the", labels={"place": case.labels["place"]}) for case in [*rare, *common]]
    trained = training.train(rows, tiny.toy_schema(), replace(tiny.QUICK, balance=1.0, epochs=40), encoder=encoder)
    [prediction] = Predictor.of(trained).predict(["the"])
    assert prediction["place"].confidence == pytest.approx(100 / 120, abs=0.05)


def test_every_row_is_left_out_by_exactly_one_copy_and_by_none_of_the_last() -> None:
    left_out = training._held_out(50, 50, TrainConfig(folds=4))
    assert left_out.shape == (5, 50)
    assert left_out[:4].sum(dim=0).tolist() == [1] * 50
    assert not left_out[-1].any()


def test_how_far_a_batch_is_padded_does_not_change_its_phrases() -> None:
    generator = torch.Generator().manual_seed(0)
    for length in (1, 3, 8, 9, 12, 13, 30):
        tokens = torch.randn(1, length, 4, generator=generator)
        alone, is_real = model.phrases_of(tokens, torch.ones(1, length, dtype=torch.bool))
        padded = torch.cat([tokens, torch.randn(1, 17, 4, generator=generator)], dim=1)
        mask = torch.arange(length + 17)[None] < length
        beside, is_real_beside = model.phrases_of(padded, mask)
        torch.testing.assert_close(alone[is_real], beside[is_real_beside])


def test_phrases_are_means_of_eight_word_pieces_that_overlap_by_half() -> None:
    tokens = torch.arange(12.0)[None, :, None]
    phrases, is_real = model.phrases_of(tokens, torch.ones(1, 12, dtype=torch.bool))
    assert phrases[is_real].flatten().tolist() == [3.5, 7.5]


def test_attention_begins_as_the_mean_of_the_phrases() -> None:
    network = model.CaseModel([tiny.toy_schema().head("place")], 4)
    layer = network.layer("place")
    torch.nn.init.ones_(layer.weight)
    phrases = torch.tensor([[[1.0, 0, 0, 0], [3.0, 0, 0, 0], [99.0, 9, 9, 9]]])
    is_real = torch.tensor([[True, True, False]])
    scores = network(phrases, is_real, {"place": torch.zeros(1, model.LIKENESSES, 2)})
    assert scores["place"].tolist() == [[[2.0, 2.0]]]
