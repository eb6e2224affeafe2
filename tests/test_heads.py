from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ml import schema as schemas
from ml.calibration import HeadCalibration
from ml.policy import Policy
from ml.sampling import heads
from ml.sampling.uncertainty import MEASURES, entropy, margin
from tests import tiny

SCHEMA = tiny.toy_schema()
SURE, TORN = np.array([0.9, 0.1]), np.array([0.55, 0.45])
# Two cases, of which a model is more sure of the first, head by head
BELIEFS = {
    "place": np.stack([SURE, TORN]),
    "mood": np.array([[0.01, 0.97], [0.4, 0.6]]),
    "names": [np.array([[0.98, 0.01, 0.01]] * 3), np.array([[0.4, 0.4, 0.2]] * 3)],
    "manner": np.array([[0.99, 0.01, 0.99, 0.01], [0.6, 0.5, 0.7, 0.5]]),
}


@pytest.mark.parametrize("key", BELIEFS)
@pytest.mark.parametrize("name", MEASURES)
def test_whatever_the_kind_a_case_of_which_the_model_is_less_sure_is_asked_sooner(key: str, name: str) -> None:
    sure, torn = heads.head_score(SCHEMA.head(key), BELIEFS[key], MEASURES[name])
    assert sure < torn
    sure, torn = heads.unsure(SCHEMA, {key: BELIEFS[key]}, MEASURES[name], {key: 2.0})
    assert (sure, torn) == (0.25, 0.75)


def test_raw_scores_become_calibrated_probabilities() -> None:
    logits = {
        "place": np.array([[2.0, 0.0]]),
        "mood": np.array([[0.0, 4.0]]),
        "names": [np.array([[2.0, 0.0, 0.0]])],
        "manner": np.array([[0.0, 2.0, -2.0, 0.0]]),
    }
    found = heads.believe(SCHEMA, logits, dict.fromkeys(logits, HeadCalibration(temperature=2.0)))
    odds = np.e / (1 + np.e)
    assert found["place"][0] == pytest.approx([odds, 1 - odds])
    assert found["mood"][0] == pytest.approx([0.5, 1 / (1 + np.exp(-2.0))])
    assert found["names"][0][0] == pytest.approx(np.array([np.e, 1, 1]) / (np.e + 2))
    assert found["manner"][0] == pytest.approx([0.5, odds, 1 - odds, 0.5])


def test_sets_that_exclude_each_other_give_each_label_the_probability_of_those_that_hold_it() -> None:
    learnt = HeadCalibration(sets=(("calm",), ("calm", "loud"), ()))
    found = heads.believe(SCHEMA, {"mood": np.log([[0.5, 0.3, 0.2]])}, {"mood": learnt})
    assert found["mood"][0] == pytest.approx([0.8, 0.3])


def test_heads_are_combined_by_rank_so_that_no_unit_counts_more() -> None:
    small, large = np.array([0.1, 0.3, 0.2]), np.array([900.0, 100.0, 500.0])
    assert heads.combine({"a": small, "b": large}, {"a": 1.0, "b": 1.0}) == pytest.approx([0.5, 0.5, 0.5])
    assert heads.combine({"a": small, "b": large}, {"a": 3.0, "b": 1.0}).argmax() == 1
    assert heads.combine({"a": small, "b": large}, {"a": 1.0, "b": 3.0}).argmax() == 0
    assert heads.combine({"a": small, "b": large}, {"b": 1.0}) == pytest.approx(heads.ranks(large))


def test_a_combination_is_the_same_whatever_rising_scale_a_head_has() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.random((2, 50))
    weights = {"a": 1.0, "b": 0.4}
    assert heads.combine({"a": np.exp(9 * first), "b": second - 3}, weights) == pytest.approx(
        heads.combine({"a": first, "b": second}, weights)
    )


def test_equal_scores_share_a_rank_and_ranks_are_the_share_below() -> None:
    assert heads.ranks(np.array([5.0, 1.0, 5.0, 9.0])) == pytest.approx([0.5, 0.125, 0.5, 0.875])
    assert heads.ranks(np.array([])).tolist() == []


def test_heads_of_which_none_counts_cannot_be_combined() -> None:
    with pytest.raises(ValueError, match="none of the heads a counts"):
        heads.combine({"a": np.ones(2)}, {"a": 0.0, "b": 1.0})


def test_a_head_counts_by_the_cost_of_its_mistakes_where_it_routes() -> None:
    helpline = schemas.load("helpline")
    policy = replace(Policy.default(helpline), mistake_cost={"main_category": 5.0})
    found = heads.importance(helpline, policy)
    assert (found["main_category"], found["sub_category"], found["intervention"]) == (5.0, 1.0, 0.0)
    assert set(heads.importance(helpline, replace(policy, thresholds={})).values()) == {1.0}


def test_gradients_are_what_the_likeliest_answers_would_change() -> None:
    found = heads.gradients(SCHEMA, BELIEFS, {"place": 4.0, "mood": 1.0, "names": 1.0})
    place, mood, names = found[:, :2], found[:, 2:4], found[:, 4:]
    assert place == pytest.approx(2 * np.array([[-0.1, 0.1], [-0.45, 0.45]]))
    assert mood == pytest.approx(np.array([[0.01, -0.03], [0.4, -0.4]]))
    assert names == pytest.approx(np.array([[-0.02, 0.01, 0.01], [-0.6, 0.4, 0.2]]))


def test_a_text_without_a_word_has_no_gradient() -> None:
    beliefs = {"names": [np.zeros((0, 3)), np.array([[0.5, 0.3, 0.2]])]}
    assert heads.gradients(SCHEMA, beliefs, {"names": 1.0})[0].tolist() == [0.0, 0.0, 0.0]
    assert heads.head_score(SCHEMA.head("names"), beliefs["names"], entropy)[0] == 0.0


def test_a_child_head_counts_beside_its_parent() -> None:
    beliefs = {"place": BELIEFS["place"], "thing": np.array([[0.25] * 4, [0.97, 0.01, 0.01, 0.01]])}
    assert heads.unsure(SCHEMA, beliefs, margin, {"place": 1.0, "thing": 1.0}) == pytest.approx([0.5, 0.5])
