from __future__ import annotations

import numpy as np
import pytest

from ml.sampling import novelty

EAST, NORTH, UP = np.eye(3)
NEAR_EAST = np.array([0.99, np.sqrt(1 - 0.99**2), 0.0])


def test_what_is_nearly_the_same_is_passed_over_within_a_batch() -> None:
    vectors = np.stack([EAST, NEAR_EAST, NORTH, UP])
    assert novelty.take([1, 0, 2, 3], vectors, 3) == [1, 2, 3]
    assert novelty.take([1, 0, 2, 3], vectors, 3, alike=0.995) == [1, 0, 2]


def test_what_is_nearly_the_same_as_a_case_asked_before_is_passed_over() -> None:
    vectors = np.stack([EAST, NORTH])
    assert novelty.take([0, 1], vectors, 1, asked=NEAR_EAST[None]) == [1]
    assert novelty.take([0, 1], vectors, 1, asked=np.empty((0, 3))) == [0]


def test_what_was_passed_over_comes_last_where_nothing_else_is_left() -> None:
    vectors = np.stack([EAST, EAST, NEAR_EAST, NORTH])
    assert novelty.take(range(4), vectors, 4) == [0, 3, 1, 2]
    assert novelty.take(range(4), vectors, 9) == [0, 3, 1, 2]


def test_no_two_cases_of_a_batch_are_nearly_the_same_while_there_are_others() -> None:
    rng = np.random.default_rng(0)
    once = novelty.unit(rng.normal(size=(40, 16)))
    vectors = novelty.unit(np.concatenate([once, once + rng.normal(scale=0.01, size=once.shape)]))
    taken = novelty.take(rng.permutation(80).tolist(), vectors, 40)
    alike = vectors[taken] @ vectors[taken].T - np.eye(40)
    assert len(taken) == 40
    assert alike.max() < novelty.ALIKE


def test_an_order_is_not_followed_further_than_needed() -> None:
    seen = []
    assert novelty.take((seen.append(at) or at for at in range(3)), np.eye(3), 1) == [0]
    assert seen == [0, 1]


def test_vectors_get_the_length_1_and_nothing_stays_nothing() -> None:
    assert novelty.unit(np.array([[3.0, 4.0], [0.0, 0.0]])).tolist() == [[0.6, 0.8], [0.0, 0.0]]


def test_the_nearest_is_the_largest_cosine() -> None:
    found = novelty.nearest(np.stack([EAST, NORTH]), np.stack([NEAR_EAST, UP]))
    assert found == pytest.approx([0.99, np.sqrt(1 - 0.99**2)])
    assert novelty.nearest(np.stack([EAST]), np.empty((0, 3))).tolist() == [-1.0]
