from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml import calibration, scales, tree
from ml.calibration import HeadCalibration
from ml.scales import FEWEST_ROWS
from ml.types import Labels, Prediction
from tests import tiny

SCHEMA = tiny.toy_schema()
PLAIN = {key: HeadCalibration(rows=50) for key in ("place", "thing", "mood")}


def scores(seed: int, rows: int = 6, scale: float = 3.0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {key: rng.normal(0, scale, (rows, len(SCHEMA.head(key).labels))) for key in ("place", "thing", "mood")}


def test_a_model_that_is_three_times_too_sure_gets_the_temperature_three() -> None:
    rng = np.random.default_rng(0)
    honest = rng.normal(0, 2, (20_000, 2))
    probs = np.exp(scales.log_softmax(honest))
    truth = [{"place": "land" if rng.random() < row[1] else "sea"} for row in probs]
    found = calibration.fit(SCHEMA, {"place": 3 * honest}, truth)
    assert found["place"].temperature == pytest.approx(3.0, rel=0.05)


def test_a_head_with_too_few_held_out_rows_stays_as_it_is_and_its_answers_have_no_confidence() -> None:
    truth = [{"place": "sea", "mood": ["calm"]}] * (FEWEST_ROWS - 1)
    given = {key: values[:1].repeat(FEWEST_ROWS - 1, 0) for key, values in scores(1).items()}
    found = calibration.fit(SCHEMA, given, truth)
    assert found == {key: HeadCalibration() for key in PLAIN}
    said = calibration.predictions(SCHEMA, given, found)[0]
    assert [(one.confidence, one.probabilities is None) for one in said.values()] == [(None, False)] * 3
    more = calibration.fit(SCHEMA, {"place": given["place"].repeat(2, 0)}, truth * 2)
    assert more["place"].rows == 2 * len(truth)


def test_what_is_measured_was_calibrated_on_other_rows() -> None:
    rng = np.random.default_rng(5)
    given = {"mood": rng.normal(0, 2, (60, 2))}  # Tells nothing, so that whatever threshold looks good is chance
    truth: list[Labels] = [{"mood": ["calm"] if calm else []} for calm in rng.random(60) < 0.5]
    strangers = calibration.predictions_of_strangers(SCHEMA, given, truth)
    own = calibration.predictions(SCHEMA, given, calibration.fit(SCHEMA, given, truth))

    def right(rows: list[Prediction]) -> float:
        return float(np.mean([row["mood"].answer == labels["mood"] for row, labels in zip(rows, truth, strict=True)]))

    assert len(strangers) == 60
    assert {row["mood"].confidence for row in strangers} != {row["mood"].confidence for row in own}
    assert np.mean([row["mood"].confidence for row in strangers]) == pytest.approx(right(strangers), abs=0.12)
    changed: list[Labels] = [{"mood": [] if truth[0]["mood"] else ["calm"]}, *truth[1:]]
    again = calibration.predictions_of_strangers(SCHEMA, given, changed)
    assert again[0] == strangers[0], "a row's own label says nothing of it"
    assert again != strangers


def test_the_tree_of_two_heads_is_the_product_of_both_summed_over_the_rest() -> None:
    place = np.log([[0.6, 0.4]])
    thing = np.log([[0.1, 0.2, 0.3, 0.4]])
    joint = np.array([0.6 * 0.1, 0.6 * 0.2, 0.4 * 0.3, 0.4 * 0.4])
    joint /= joint.sum()
    found = calibration.choice_probabilities(SCHEMA, {"place": place, "thing": thing}, PLAIN)
    np.testing.assert_allclose(found["thing"], [joint])
    np.testing.assert_allclose(found["place"], [[joint[:2].sum(), joint[2:].sum()]])


def test_labels_are_summed_under_their_parents_in_whatever_order_and_however_faint() -> None:
    log_probs = np.random.default_rng(0).normal(size=(5, 6)) * 900.0
    parents = [2, 0, 1, 0, 2, 0]
    under = [[at for at in range(6) if parents[at] == parent] for parent in range(3)]
    expected = [[np.logaddexp.reduce(row[places]) for places in under] for row in log_probs]
    np.testing.assert_allclose(tree._sum_under(log_probs, parents, 3), expected)


def test_a_head_that_stands_alone_is_a_softmax_of_its_tempered_scores() -> None:
    found = calibration.choice_probabilities(SCHEMA, {"place": np.array([[2.0, 0.0]])}, {"place": HeadCalibration(2.0)})
    np.testing.assert_allclose(found["place"], [[np.e / (1 + np.e), 1 / (1 + np.e)]])


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10_000), st.sampled_from([0.1, 3.0, 40.0]))
def test_an_answer_never_contradicts_the_one_above_it_and_probabilities_add_up(seed: int, scale: float) -> None:
    for prediction in calibration.predictions(SCHEMA, scores(seed, scale=scale), PLAIN):
        place, thing = prediction["place"], prediction["thing"]
        assert tiny.PLACES[thing.answer] == place.answer
        assert sum(place.probabilities.values()) == pytest.approx(1.0)
        assert sum(thing.probabilities.values()) == pytest.approx(1.0)
        assert place.probabilities["sea"] == pytest.approx(thing.probabilities["ship"] + thing.probabilities["wave"])
        assert place.confidence == place.probabilities[place.answer]


def test_the_order_of_cases_makes_no_difference() -> None:
    given = scores(3)
    backward = {key: values[::-1] for key, values in given.items()}
    assert calibration.predictions(SCHEMA, given, PLAIN)[::-1] == calibration.predictions(SCHEMA, backward, PLAIN)


def test_heads_of_a_prediction_come_in_schema_order() -> None:
    reverse = dict(reversed(scores(4).items()))
    assert list(calibration.predictions(SCHEMA, reverse, PLAIN)[0]) == ["place", "thing", "mood"]


def test_the_confidence_of_a_set_is_the_product_over_its_labels_before_correction() -> None:
    learnt = {"mood": HeadCalibration(rows=50)}
    [prediction] = calibration.predictions(SCHEMA, {"mood": np.log([[0.8 / 0.2, 0.3 / 0.7]])}, learnt)
    assert prediction["mood"].answer == ["calm"]
    assert prediction["mood"].confidence == pytest.approx(0.8 * 0.7)


def test_a_label_of_a_set_is_answered_from_its_own_threshold_on() -> None:
    learnt = {"mood": HeadCalibration(thresholds={"calm": 0.9, "loud": 0.2}, rows=50)}
    [prediction] = calibration.predictions(SCHEMA, {"mood": np.log([[0.8 / 0.2, 0.3 / 0.7]])}, learnt)
    assert prediction["mood"].answer == ["loud"]
    assert prediction["mood"].confidence == pytest.approx(0.2 * 0.3)


def test_thresholds_are_learnt_where_a_label_and_its_absence_are_seen_often_enough() -> None:
    probs = np.array([[0.3, 0.9]] * 20 + [[0.1, 0.9]] * 20)
    truth = [{"mood": ["calm", "loud"]}] * 20 + [{"mood": ["loud"]}] * 20
    found = calibration.fit(SCHEMA, {"mood": np.log(probs / (1 - probs))}, truth)["mood"]
    [sure, unsure] = calibration.predictions(SCHEMA, {"mood": np.log(probs / (1 - probs))[[0, -1]]}, {"mood": found})
    assert sure["mood"].answer == ["calm", "loud"]
    assert unsure["mood"].answer == ["loud"]
    assert found.thresholds["loud"] == 0.5


def test_the_confidence_of_sets_agrees_with_how_often_they_are_right() -> None:
    rng = np.random.default_rng(2)
    logits = rng.normal(0, 2, (4000, 2))
    both = rng.random(4000) < scales.sigmoid(logits[:, 0])
    truth = [{"mood": ["calm", "loud"] if is_both else []} for is_both in both]  # The labels always come together
    given = {"mood": logits[:, :1].repeat(2, axis=1)}
    predictions = calibration.predictions(SCHEMA, given, calibration.fit(SCHEMA, given, truth))
    right = [row["mood"].answer == labels["mood"] for row, labels in zip(predictions, truth, strict=True)]
    assert np.mean([row["mood"].confidence for row in predictions]) == pytest.approx(np.mean(right), abs=0.02)


def test_a_head_that_knows_nothing_leans_on_what_is_common() -> None:
    rng = np.random.default_rng(3)
    learnt_from = [{"place": "land"}] * 70 + [{"place": "sea"}] * 30
    truth: list[Labels] = [{"place": "land" if rng.random() < 0.7 else "sea"} for _ in range(200)]
    given = {"place": rng.normal(0, 3, (200, 2))}
    found = calibration.fit(SCHEMA, given, truth, learnt_from=learnt_from)
    said = [row["place"] for row in calibration.predictions(SCHEMA, given, found)]
    share = np.mean([labels["place"] == "land" for labels in truth])
    assert np.mean([one.probabilities["land"] for one in said]) == pytest.approx(share, abs=0.04)
    assert np.std([one.probabilities["land"] for one in said]) < 0.1
    assert {one.answer for one in said} == {"land"}
    assert calibration.fit(SCHEMA, given, truth)["place"].shifts == {}


def test_a_head_that_knows_does_not_lean() -> None:
    rng = np.random.default_rng(4)
    logits = rng.normal(0, 3, (2000, 2))
    probs = np.exp(scales.log_softmax(logits))
    truth: list[Labels] = [{"place": "sea" if rng.random() < row[0] else "land"} for row in probs]
    found = calibration.fit(SCHEMA, {"place": logits}, truth, learnt_from=[{"place": "land"}] * 9 + [{"place": "sea"}])
    assert found["place"].shifts == {}
    assert found["place"].temperature == pytest.approx(1.0, abs=0.1)


def test_a_correction_is_found_where_the_scores_are_saturated() -> None:
    odds = np.concatenate([np.full(50, 14.0), np.full(50, -14.0)])
    right = np.concatenate([np.arange(50) < 45, np.arange(50) < 5])
    slope, intercept = scales.platt(odds, right)
    assert scales.sigmoid(slope * np.array([14.0, -14.0]) + intercept) == pytest.approx([0.9, 0.1], abs=0.02)


def test_a_calibration_survives_json() -> None:
    learnt = HeadCalibration(2.0, {"calm": 0.3}, 0.9, -0.1, shifts={"calm": 0.5})
    assert HeadCalibration(**learnt.as_json()) == learnt


def test_the_answer_is_the_most_probable_consistent_pair_not_the_best_child_of_the_best_parent() -> None:
    logits = {"place": np.log([[0.5, 0.5]]), "thing": np.log([[0.29, 0.23, 0.36, 0.12]])}
    (said,) = calibration.predictions(SCHEMA, logits, PLAIN)
    assert said["place"].probabilities == pytest.approx({"sea": 0.52, "land": 0.48})
    assert (said["place"].answer, said["thing"].answer) == ("land", "hill")
    assert (said["place"].confidence, said["thing"].confidence) == pytest.approx((0.48, 0.36))
