"""Calibration of sets, rubrics and spans on simulated scores, for which the truth is drawn as the scores say."""

from __future__ import annotations

import re

import numpy as np
import pytest

from ml import calibration, metrics, scales, schema, spans
from ml.calibration import HeadCalibration
from ml.scales import FEWEST_ROWS, sigmoid
from ml.types import Example

SCHEMA = schema.parse("""
name = "toy"
version = 1
title = "Toy"

[[heads]]
key = "mood"
name = "Mood"
kind = "choices"
labels = [
  { key = "calm", name = "Calm", definition = "calm" },
  { key = "loud", name = "Loud", definition = "loud" },
]

[[heads]]
key = "names"
name = "Names"
kind = "spans"
labels = [{ key = "NAME", name = "Name", definition = "A name" }, { key = "AGE", name = "Age", definition = "An age" }]

[[heads]]
key = "quality"
name = "Quality"
kind = "rubric"

[[heads.groups]]
key = "opening"
name = "Opening"
criteria = [{ key = "phrase", name = "Phrase", definition = "Says it" }]

[[heads.groups]]
key = "hold"
name = "Hold"
criteria = [
  { key = "explains", name = "Explains", definition = "Says why" },
  { key = "thanks", name = "Thanks", definition = "Says thanks" },
]
""")
NAMES = SCHEMA.head("names")


def error(given, truth, key):
    rows = [Example(id="", text="", labels=labels) for labels in truth]
    return metrics.evaluate(SCHEMA, rows, given)[key]["ece"]


def moods(rng, n, temperatures):
    honest = rng.normal(0, 2, (n, 2))
    held = rng.random((n, 2)) < sigmoid(honest)
    truth = [{"mood": [key for key, is_there in zip(("calm", "loud"), row, strict=True) if is_there]} for row in held]
    return {"mood": honest * temperatures}, truth


def test_labels_that_are_too_sure_by_different_measure_get_a_temperature_each() -> None:
    logits, truth = moods(np.random.default_rng(0), 5000, [1.0, 3.0])
    found = calibration.fit(SCHEMA, logits, truth)["mood"]
    assert found.temperatures == {"calm": pytest.approx(1.0, rel=0.1), "loud": pytest.approx(3.0, rel=0.1)}
    assert 1.0 < found.temperature < 3.0


def test_a_label_that_is_rare_has_the_temperature_of_its_head() -> None:
    logits, truth = moods(np.random.default_rng(1), 60, [2.0, 2.0])
    rare = [{"mood": [key for key in labels["mood"] if key == "calm" or row < 12]} for row, labels in enumerate(truth)]
    found = calibration.fit(SCHEMA, logits, rare)["mood"]
    assert list(found.temperatures) == ["calm"]
    (said, *_) = calibration.predictions(SCHEMA, logits, {"mood": found})
    expected = sigmoid(logits["mood"][0] / [found.temperatures["calm"], found.temperature])
    assert list(said["mood"].probabilities.values()) == pytest.approx(expected)


def test_few_rows_draw_a_label_toward_its_head() -> None:
    logits, truth = moods(np.random.default_rng(2), 60, [1.0, 3.0])
    found = calibration.fit(SCHEMA, logits, truth)["mood"]
    wanted = np.array([["loud" in labels["mood"]] for labels in truth])
    alone, _ = scales.fit_temperatures(["loud"], logits["mood"][:, 1:], wanted, np.ones_like(wanted))
    assert found.temperature < found.temperatures["loud"] < alone


def rubrics_of(rng, n, temperature=1.0):
    """Draw rubrics: the same cases are put on hold for both criteria of "hold", so that they are not independent."""
    honest = np.concatenate([rng.normal(1, 1.5, (n, 3)), rng.normal(1, 3, (n, 3))], axis=1)
    honest[:, 5] = honest[:, 4]
    yes = rng.random((n, 3)) < sigmoid(honest[:, :3])
    applies = rng.random((n, 2)) < sigmoid(honest[:, 3:5])
    marks = np.where(applies[:, [0, 1, 1]], yes, None).tolist()
    truth = [
        {"quality": {"opening": {"phrase": phrase}, "hold": {"explains": explains, "thanks": thanks}}}
        for phrase, explains, thanks in marks
    ]
    return {"quality": honest * temperature}, truth


def test_a_criterion_applies_from_one_half_and_is_yes_from_its_threshold_on() -> None:
    logits = {"quality": np.array([[2.0, -2.0, 0.3, 1.0, 1.0, 1.0], [2.0, 2.0, 2.0, 0.1, -0.1, -3.0]])}
    learnt = {"quality": HeadCalibration(thresholds={"hold.thanks": 0.6}, rows=50)}
    first, second = calibration.predictions(SCHEMA, logits, learnt)
    assert first["quality"].answer == {"opening": {"phrase": True}, "hold": {"explains": False, "thanks": False}}
    assert second["quality"].answer == {"opening": {"phrase": True}, "hold": {"explains": None, "thanks": None}}
    assert second["quality"].probabilities == {
        "opening.phrase": pytest.approx(sigmoid(2.0)),
        "hold.explains": pytest.approx(sigmoid(2.0)),
        "hold.thanks": pytest.approx(sigmoid(2.0)),
    }


def test_the_confidence_of_a_rubric_is_the_product_over_its_criteria_before_correction() -> None:
    logits = {"quality": np.array([[2.0, -2.0, 0.3, 1.0, 1.5, -0.5]])}
    [said] = calibration.predictions(SCHEMA, logits, {"quality": HeadCalibration(rows=50)})
    yes, no, _, first, second, third = sigmoid(logits["quality"][0])
    expected = first * yes * second * (1 - no) * (1 - third)
    assert said["quality"].confidence == pytest.approx(expected)


def test_the_confidence_of_rubrics_agrees_with_how_often_they_are_right() -> None:
    rng = np.random.default_rng(3)
    learnt = calibration.fit(SCHEMA, *rubrics_of(rng, 1500, 2.5))
    logits, truth = rubrics_of(rng, 4000, 2.5)
    before = calibration.predictions(SCHEMA, logits, {"quality": HeadCalibration(rows=50)})
    after = calibration.predictions(SCHEMA, logits, learnt)
    assert error(before, truth, "quality") > 0.2
    assert error(after, truth, "quality") < 0.03
    assert learnt["quality"].temperatures["opening.phrase"] == pytest.approx(2.5, rel=0.1)
    assert learnt["quality"].temperatures["hold.thanks.applies"] == pytest.approx(2.5, rel=0.1)


def test_a_rubric_that_is_labelled_in_part_teaches_what_it_can() -> None:
    logits, truth = rubrics_of(np.random.default_rng(5), 1000, 2.0)
    partly = [{"quality": {"opening": labels["quality"]["opening"]}} for labels in truth]
    found = calibration.fit(SCHEMA, logits, partly)["quality"]
    assert sorted(found.temperatures) == ["opening.phrase", "opening.phrase.applies"]
    assert found.temperature == pytest.approx(2.0, rel=0.15)


def texts(rng, n, temperature=1.0):
    """Draw texts of 30 words, tags drawn as the scores say, given that they must be valid."""
    logits, words, truth = [], [], []
    for _ in range(n):
        scores = rng.normal([3, 0, 0, 0, 0], 2, (30, 5))
        ranges = np.stack([np.arange(30) * 4, np.arange(30) * 4 + 3], axis=1)
        truth.append({"names": _drawn(rng, scores, ranges)})
        logits.append(scores * temperature)
        words.append(ranges)
    return logits, words, truth


def _drawn(rng, scores, ranges):
    """Draw words one by one, each by its share of the weight of all that may follow."""
    probs = np.exp(scores)
    follow = np.array([[not tag or tag % 2 or before in (tag - 1, tag) for tag in range(5)] for before in range(5)])
    ahead = np.ones((len(probs) + 1, 5))
    for word in reversed(range(len(probs))):
        ahead[word] = follow @ (probs[word] * ahead[word + 1])
        ahead[word] /= ahead[word].sum()
    found, before = [], 0
    for word in range(len(probs)):
        weights = follow[before] * probs[word] * ahead[word + 1]
        before = int(rng.choice(5, p=weights / weights.sum()))
        if before % 2:
            found.append({"start": int(ranges[word, 0]), "end": 0, "label": NAMES.keys[before // 2]})
        if before:
            found[-1]["end"] = int(ranges[word, 1])
    return found


def test_spans_of_an_honest_model_are_as_often_right_as_it_says() -> None:
    logits, words, truth = texts(np.random.default_rng(6), 400)
    given = calibration.predictions(SCHEMA, {"names": logits}, {"names": HeadCalibration()}, words=words)
    assert error(given, truth, "names") < 0.03


def test_spans_of_a_model_that_is_too_sure_are_as_often_right_as_it_says_once_calibrated() -> None:
    rng = np.random.default_rng(7)
    logits, words, truth = texts(rng, 200, 4.0)
    learnt = calibration.fit(SCHEMA, {"names": logits}, truth, words=words)
    assert learnt["names"].temperature == pytest.approx(4.0, rel=0.2)
    logits, words, truth = texts(rng, 400, 4.0)
    before = calibration.predictions(SCHEMA, {"names": logits}, {"names": HeadCalibration()}, words=words)
    after = calibration.predictions(SCHEMA, {"names": logits}, learnt, words=words)
    assert error(before, truth, "names") > 0.15
    assert error(after, truth, "names") < 0.03
    assert [(row["names"].confidence, row["names"].probabilities) for row in after[:1]] == [(None, None)]


def test_a_case_without_scores_of_spans_has_no_such_answer_and_the_others_keep_theirs() -> None:
    logits, words, truth = texts(np.random.default_rng(8), 3)
    given = {"names": [logits[0], None, logits[2]], "mood": np.zeros((3, 2))}
    plain = {"names": HeadCalibration(), "mood": HeadCalibration()}
    first, second, third = calibration.predictions(SCHEMA, given, plain, words=words)
    assert (list(first), list(second)) == (["mood", "names"], ["mood"])
    assert third["names"].answer == spans.decode(logits[2], words[2], NAMES, HeadCalibration())
    few = [{"names": row} for row in ([None] * 3, logits)]
    assert [calibration.fit(SCHEMA, row, truth, words=words) for row in few] == [{"names": HeadCalibration()}] * 2


def test_few_rows_teach_nothing_of_any_kind() -> None:
    rng = np.random.default_rng(9)
    n = FEWEST_ROWS - 1
    (rubric, rated), (names, words, spanned) = rubrics_of(rng, n), texts(rng, n)
    truth = [{**one, **other} for one, other in zip(rated, spanned, strict=True)]
    found = calibration.fit(SCHEMA, {**rubric, "names": names}, truth, words=words)
    assert found == {"quality": HeadCalibration(), "names": HeadCalibration()}


def test_scores_of_words_without_the_words_are_refused() -> None:
    with pytest.raises(ValueError, match=re.escape("names has scores of words; expected the words too")):
        calibration.predictions(SCHEMA, {"names": [np.zeros((1, 5))]}, {"names": HeadCalibration()})


def test_spans_whose_words_are_wrong_together_are_as_often_right_as_it_says() -> None:
    rng = np.random.default_rng(10)
    words = [np.stack([np.arange(8) * 4, np.arange(8) * 4 + 3], axis=1)] * 600
    logits = [2.0 * np.eye(5)[[0, 0, 1, 2, 2, 2, 0, 0]] + rng.normal(0, 0.1, (8, 5)) for _ in words]
    name = {"start": 8, "end": 23, "label": "NAME"}
    truth = [{"names": [name] if rng.random() < 0.3 else []} for _ in words]
    learnt = calibration.fit(SCHEMA, {"names": logits[:300]}, truth[:300], words=words[:300])
    given = calibration.predictions(SCHEMA, {"names": logits[300:]}, learnt, words=words[300:])
    assert {len(row["names"].answer) for row in given} == {1}
    assert np.mean([row["names"].answer[0]["confidence"] for row in given]) == pytest.approx(0.3, abs=0.06)


def test_of_sets_that_exclude_each_other_the_likeliest_is_answered_even_below_one_half() -> None:
    logits = {"mood": np.log([[0.4, 0.35, 0.25]])}
    learnt = {"mood": HeadCalibration(sets=[["calm"], ["loud"], ["calm", "loud"]], rows=50)}
    [said] = calibration.predictions(SCHEMA, logits, learnt)
    assert said["mood"].answer == ["calm"]
    assert said["mood"].confidence == pytest.approx(0.4)
    assert said["mood"].probabilities == pytest.approx({"calm": 0.65, "loud": 0.6})


def test_sets_that_exclude_each_other_are_fitted_to_how_often_they_are_right() -> None:
    rng = np.random.default_rng(0)
    sets = [["calm"], ["loud"]]
    scores = np.where(rng.random((2000, 1)) < 0.5, [[2.0, -2.0]], [[-2.0, 2.0]])
    said = scores.argmax(axis=1)
    truth = [
        {"mood": sets[at if draw < 0.7 else 1 - at] if draw < 0.9 else []}
        for at, draw in zip(said, rng.random(2000), strict=True)
    ]
    learnt = calibration.fit(SCHEMA, {"mood": scores}, truth, sets={"mood": sets})
    assert learnt["mood"].sets == sets
    right = np.mean([sets[at] == labels["mood"] for at, labels in zip(said, truth, strict=True)])
    for prediction in calibration.predictions(SCHEMA, {"mood": scores}, learnt)[:5]:
        assert prediction["mood"].confidence == pytest.approx(right, abs=0.01)
    assert calibration.fit(SCHEMA, {"mood": scores[:5]}, truth[:5], sets={"mood": sets})["mood"] == HeadCalibration(
        sets=sets
    )
