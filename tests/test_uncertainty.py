from __future__ import annotations

import numpy as np
import pytest

from ml.sampling.uncertainty import MEASURES, entropy, least_confidence, margin, over_labels, over_words

SURE, TORN, LEVEL = [0.98, 0.01, 0.01], [0.48, 0.47, 0.05], [1 / 3, 1 / 3, 1 / 3]


def test_each_measure_has_the_value_of_its_formula() -> None:
    probs = np.array([[1.0, 0.0, 0.0], [0.5, 0.3, 0.2], LEVEL])
    assert least_confidence(probs) == pytest.approx([0.0, 0.5, 2 / 3])
    assert margin(probs) == pytest.approx([0.0, 0.8, 1.0])
    assert entropy(probs) == pytest.approx(
        [0.0, -(0.5 * np.log(0.5) + 0.3 * np.log(0.3) + 0.2 * np.log(0.2)), np.log(3)]
    )


@pytest.mark.parametrize("name", MEASURES)
def test_a_sure_case_scores_lowest_and_every_score_is_within_its_range(name: str) -> None:
    probs = np.random.default_rng(0).dirichlet([0.3] * 5, size=500)
    scores = MEASURES[name](probs)
    most = {"least_confidence": 0.8, "margin": 1.0, "entropy": np.log(5)}[name]
    assert scores.shape == (500,)
    assert (scores >= 0).all()
    assert (scores <= most).all()
    sure, torn, level = MEASURES[name](np.array([SURE, TORN, LEVEL]))
    assert sure < torn < level


@pytest.mark.parametrize("name", MEASURES)
def test_the_order_of_the_labels_makes_no_difference(name: str) -> None:
    rng = np.random.default_rng(1)
    probs = rng.dirichlet([1.0] * 6, size=50)
    assert MEASURES[name](probs[:, rng.permutation(6)]) == pytest.approx(MEASURES[name](probs))


@pytest.mark.parametrize("name", MEASURES)
@pytest.mark.parametrize("wrong", [[0.5, 0.5], [[0.5, 0.6]], [[1.5, -0.5]], [[np.nan, 1.0]], np.zeros((2, 0))], ids=str)
def test_what_is_no_distribution_is_refused(name: str, wrong: list[object]) -> None:
    with pytest.raises(ValueError, match="expected"):
        MEASURES[name](np.array(wrong, dtype=float))


def test_a_margin_needs_two_answers() -> None:
    with pytest.raises(ValueError, match="between two answers; there is 1"):
        margin(np.ones((3, 1)))


def test_labels_are_averaged_or_the_most_unsure_counts() -> None:
    probs = np.array([[0.5, 1.0, 0.0], [0.8, 0.8, 0.2]])
    assert over_labels(margin, probs) == pytest.approx([1 / 3, 0.4])
    assert over_labels(margin, probs, by="max") == pytest.approx([1.0, 0.4])
    assert over_labels(entropy, np.array([[0.5, 0.5]])) == pytest.approx([np.log(2)])


def test_labels_need_a_matrix() -> None:
    with pytest.raises(ValueError, match="cases by labels"):
        over_labels(entropy, np.zeros((2, 0)))


def test_words_add_up_or_are_averaged_and_no_word_is_no_doubt() -> None:
    probs = [np.array([[0.5, 0.5], [1.0, 0.0]]), np.zeros((0, 2)), np.array([[0.5, 0.5]] * 3)]
    assert over_words(least_confidence, probs) == pytest.approx([0.5, 0.0, 1.5])
    assert over_words(least_confidence, probs, by="mean") == pytest.approx([0.25, 0.0, 0.5])
    assert over_words(least_confidence, [np.zeros((0, 2))]).tolist() == [0.0]
