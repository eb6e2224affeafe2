from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ml.sampling import novelty, strategies
from ml.sampling.strategies import DEFAULT, STRATEGIES, Model, Pool, SamplingError
from tests import tiny

SCHEMA = tiny.toy_schema()
N = 60


def pool(**changes: Any) -> Pool:
    """Cases in three groups of 30, 20 and 10; the model is the less sure the later a case stands in its group."""
    rng = np.random.default_rng(0)
    group = np.repeat([0, 1, 2], [30, 20, 10])
    doubt = np.concatenate([np.linspace(0.01, 0.49, count) for count in (30, 20, 10)])
    return replace(
        Pool(
            schema=SCHEMA,
            vectors=novelty.unit(np.eye(40)[group] + rng.normal(scale=0.15, size=(N, 40))),
            asked=np.empty((0, 40)),
            likeness=np.stack([-np.abs(np.arange(N) - at) for at in (10, 40)], axis=1).astype(float),
            seen=np.zeros(2, dtype=int),
            weights={"place": 1.0},
            model=Model({"place": np.stack([1 - doubt, doubt], axis=1)}, lambda: np.arange(N) / N, {"place": 0.9}),
        ),
        **changes,
    )


def chosen(name: str, k: int, given: Pool | None = None, seed: int = 0) -> list[int]:
    return strategies.choose(name, given or pool(), k, np.random.default_rng(seed))


def doubt(rows: list[int]) -> float:
    probs = pool().model.beliefs["place"]  # type: ignore[union-attr]
    return float(np.mean([probs[row][1] for row in rows]))


@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize("model", [pool().model, None], ids=["model", "no model"])
def test_each_strategy_gives_as_many_different_cases_as_are_asked_for(name: str, model: Model | None) -> None:
    given = pool(model=model)
    for k in (1, 7, N, N + 5):
        found = chosen(name, k, given)
        assert len(found) == len(set(found)) == min(k, N)
        assert set(found) <= set(range(N))
        assert found == chosen(name, k, given)
    assert chosen(name, 3, replace(given, vectors=np.empty((0, 40)))) == []


@pytest.mark.parametrize("name", ["least_confidence", "margin", "entropy"])
def test_unsure_cases_are_asked_first(name: str) -> None:
    assert set(chosen(name, 3)) == {29, 49, 59}


@pytest.mark.parametrize("name", ["badge", "clustered", DEFAULT])
def test_cases_that_are_unsure_and_unlike_each_other_are_asked_first(name: str) -> None:
    drawn = [chosen(name, 3, seed=seed) for seed in range(20)]
    assert np.mean([doubt(rows) for rows in drawn]) > 0.25 + 0.03
    assert np.mean([len({0 if at < 30 else 1 if at < 50 else 2 for at in rows}) for rows in drawn]) > 2.2


def test_cases_whose_mistakes_cost_most_are_asked_first() -> None:
    assert chosen("harm", 3) == [59, 58, 57]


def test_clusters_are_of_the_most_unsure_only() -> None:
    found = chosen("clustered", 2)
    assert set(found) <= set(chosen("margin", 20, pool(vectors=np.eye(N))))


def test_definitions_find_a_case_of_each_label_and_what_was_seen_can_wait() -> None:
    assert chosen("definitions", 2) == [10, 40]
    assert chosen("definitions", 2, pool(seen=np.array([0, 5])))[0] == 10
    assert chosen("definitions", 1, pool(seen=np.array([5, 0]))) == [40]
    with pytest.raises(SamplingError, match="no head has labels"):
        chosen("definitions", 1, pool(likeness=np.empty((N, 0)), seen=np.empty(0, dtype=int)))


@pytest.mark.parametrize("name", ["kmeans", "typical"])
def test_each_group_is_asked_about_before_there_is_a_model(name: str) -> None:
    found = chosen(name, 3, pool(model=None))
    assert {0 if at < 30 else 1 if at < 50 else 2 for at in found} == {0, 1, 2}
    assert found[0] < 30, "large groups first"


def test_random_draws_alike_whatever_the_model_says() -> None:
    assert chosen("random", 9) == chosen("random", 9, pool(model=None)) != chosen("random", 9, seed=1)


@pytest.mark.parametrize("name", sorted(set(STRATEGIES) - {"random"}))
def test_nothing_is_asked_twice_in_other_words(name: str) -> None:
    given = pool()
    others = chosen(name, 5, given)
    again = chosen(name, 5, replace(given, asked=given.vectors[others]))
    assert not set(again) & set(others)


def test_random_may_ask_twice_since_it_is_what_others_are_compared_with() -> None:
    given = pool()
    assert chosen("random", 5, replace(given, asked=given.vectors)) == chosen("random", 5)


def test_the_default_asks_about_typical_cases_until_a_head_has_learnt_something() -> None:
    beliefs = pool().model.beliefs  # type: ignore[union-attr]
    for skill, like in ((0.19, "typical"), (0.2, "clustered")):
        given = pool(model=Model(beliefs, lambda: np.zeros(N), {"place": skill}))
        assert chosen(DEFAULT, 4, given) == chosen(like, 4, given)
    assert chosen(DEFAULT, 4, pool(model=None)) == chosen("typical", 4)
    assert chosen("typical", 4) != chosen("clustered", 4)


def test_the_default_asks_only_heads_that_learnt_something_and_count() -> None:
    probs = np.stack([np.linspace(0.51, 0.99, N), 1 - np.linspace(0.51, 0.99, N)], axis=1)
    beliefs = {**pool().model.beliefs, "mood": probs}  # type: ignore[union-attr]
    ignorant = Model(beliefs, lambda: np.zeros(N), {"place": 0.9, "mood": 0.0})
    both = {"place": 1.0, "mood": 9.0}
    assert chosen(DEFAULT, 4, pool(model=ignorant, weights=both)) == chosen("clustered", 4)
    clever = Model(beliefs, lambda: np.zeros(N), {"place": 0.9, "mood": 0.9})
    assert chosen(DEFAULT, 4, pool(model=clever, weights=both)) != chosen("clustered", 4)
    assert chosen(DEFAULT, 4, pool(model=clever, weights={"place": 1.0, "mood": 0.0})) == chosen("clustered", 4)


def test_a_strategy_that_is_none_is_explained() -> None:
    with pytest.raises(SamplingError, match=r"strategy is 'best'; expected one of adaptive, random, .*harm"):
        chosen("best", 1)
