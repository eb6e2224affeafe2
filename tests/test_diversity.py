from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
from numpy.typing import NDArray

from ml.sampling import diversity, novelty


def groups(*sizes: int, seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Draw vectors in groups that are far from each other, with the number of the group of each."""
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(len(sizes)), sizes)
    return novelty.unit(np.eye(8)[group] + rng.normal(scale=0.05, size=(len(group), 8))), group


def test_k_means_takes_the_case_nearest_to_the_centre_of_each_cluster_large_ones_first() -> None:
    vectors, group = groups(30, 10, 20)
    order = list(diversity.by_centre(vectors, 3, np.random.default_rng(0)))
    assert group[order[:3]].tolist() == [0, 2, 1]
    assert sorted(order) == list(range(60))
    for number, first in zip((0, 2, 1), order, strict=False):
        own = np.flatnonzero(group == number)
        centre = vectors[own].mean(axis=0)
        assert first == own[np.linalg.norm(vectors[own] - centre, axis=1).argmin()]


def test_clusters_may_be_more_than_there_are_different_texts() -> None:
    vectors = np.repeat(np.eye(2), 5, axis=0)
    order = list(diversity.by_centre(vectors, 4, np.random.default_rng(0)))
    assert {order[0] // 5, order[1] // 5} == {0, 1}
    assert sorted(order) == list(range(10))


def test_typical_cases_come_from_clusters_that_nobody_asked_about() -> None:
    vectors, group = groups(30, 20, 10)
    asked = np.eye(8)[:1]
    order = list(diversity.by_typicality(vectors, asked, 2, np.random.default_rng(0)))
    assert group[order[:3]].tolist() == [1, 2, 0]
    assert sorted(order) == list(range(60))


def test_the_most_typical_case_lies_where_its_cluster_is_densest() -> None:
    rng = np.random.default_rng(0)
    dense = np.array([1.0, 0.0]) + rng.normal(scale=0.001, size=(25, 2))
    loose = np.array([0.8, 0.6]) + rng.normal(scale=0.1, size=(25, 2))
    order = list(diversity.by_typicality(novelty.unit(np.concatenate([loose, dense])), np.empty((0, 2)), 1, rng))
    assert order[0] >= 25
    assert order[-1] < 25


def test_a_label_that_was_not_seen_is_looked_for_first() -> None:
    likeness = np.array([[0.9, 0.1, 0.3], [0.8, 0.2, 0.1], [0.1, 0.7, 0.2], [0.0, 0.6, 0.5]])
    assert list(diversity.by_definition(likeness, np.array([0, 0, 0]))) == [0, 2, 3, 1]
    assert list(islice(diversity.by_definition(likeness, np.array([4, 0, 0])), 2)) == [2, 3]
    assert next(diversity.by_definition(likeness, np.array([0, 4, 4]))) == 0


def test_every_label_has_its_nearest_case_in_as_many_turns_as_there_are_labels() -> None:
    likeness = np.random.default_rng(0).normal(size=(200, 12))
    likeness[np.arange(12) * 3, np.arange(12)] = 9.0
    first = list(islice(diversity.by_definition(likeness, np.zeros(12, dtype=int)), 12))
    assert sorted(first) == [at * 3 for at in range(12)]
    assert sorted(diversity.by_definition(likeness, np.zeros(12, dtype=int))) == list(range(200))


def test_without_labels_no_case_is_like_a_definition() -> None:
    with pytest.raises(ValueError, match="no label"):
        next(diversity.by_definition(np.empty((3, 0)), np.empty(0, dtype=int)))


def test_gradients_prefer_cases_that_are_unsure_and_unlike_each_other() -> None:
    vectors, group = groups(20, 20, 20)
    gradients = np.where(group == 2, 0.001, 0.5)[:, None] * np.array([1.0, -1.0])
    order = list(diversity.by_gradient(gradients, vectors, np.random.default_rng(0)))
    assert set(group[order[:2]]) == {0, 1}
    assert sorted(order) == list(range(60))


def test_factored_gradients_are_drawn_as_the_whole_ones_would_be() -> None:
    rng = np.random.default_rng(5)
    gradients, vectors = rng.normal(size=(30, 3)), rng.normal(size=(30, 4))
    whole = np.einsum("nl,nw->nlw", gradients, vectors).reshape(30, -1)
    taken = [int((whole**2).sum(axis=1).argmax())]
    draws = np.random.default_rng(1)
    while len(taken) < 10:
        weights = ((whole[:, None] - whole[taken]) ** 2).sum(axis=2).min(axis=1)
        weights[taken] = 0.0
        taken.append(int(draws.choice(30, p=weights / weights.sum())))
    assert list(islice(diversity.by_gradient(gradients, vectors, np.random.default_rng(1)), 10)) == taken


def test_cases_without_a_gradient_come_last_and_all_come() -> None:
    gradients = np.zeros((6, 2))
    gradients[3] = [1.0, -1.0]
    order = list(diversity.by_gradient(gradients, np.ones((6, 2)), np.random.default_rng(0)))
    assert order[0] == 3
    assert sorted(order) == list(range(6))


def test_the_same_generator_gives_the_same_order() -> None:
    vectors, _ = groups(20, 20)
    for order in (
        lambda rng: diversity.by_centre(vectors, 5, rng),
        lambda rng: diversity.by_typicality(vectors, vectors[:3], 5, rng),
        lambda rng: diversity.by_gradient(vectors[:, :2], vectors, rng),
    ):
        assert list(order(np.random.default_rng(3))) == list(order(np.random.default_rng(3)))
