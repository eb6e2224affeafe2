"""The strategies by name, and which is used when nothing else is said.

That one, `adaptive`, asks about typical cases until a model has learnt something, and from then on about cases that are
unsure and unlike each other. What an ignorant model is unsure of says nothing, and on few labels uncertainty does worse
than chance (Hacohen et al. 2022); on many it is what helps. The change comes head by head, since heads learn at their
own pace: a head says what it is unsure of once its held-out answers have come a fifth of the way from those of who
always gives the commonest to perfect ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from ml.errors import InputError
from ml.sampling import diversity, heads, novelty, uncertainty
from ml.sampling.diversity import Ints
from ml.sampling.heads import Beliefs, Weights
from ml.sampling.uncertainty import Measure
from ml.scales import Floats
from ml.schema import Schema


class SamplingError(InputError):
    """Cases cannot be chosen so: there is no such strategy, or it needs what is not there."""


@dataclass(frozen=True, slots=True)
class Model:
    """What the model of the moment says.

    beliefs: of the n cases; see `heads`.
    harm: gives the expected harm of each, shape (n,), when it is called; see `policy.expected_harm`.
    skill: by head, how far its answers of held-out cases are on the way from always giving the commonest, 0, to
        perfect, 1; below 0 where they are worse.
    """

    beliefs: Beliefs
    harm: Callable[[], Floats]
    skill: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Pool:
    """What is known of n cases that may be asked, m that were, and L labels.

    vectors: shape (n, W), of length 1.
    asked: shape (m, W), of length 1.
    likeness: of each case to each label's definition, shape (n, L).
    seen: in how many of the m cases each label was found, shape (L,).
    weights: how much each head counts; see `heads.importance`.
    model: None before the first training.
    """

    schema: Schema
    vectors: Floats
    asked: Floats
    likeness: Floats
    seen: Ints
    weights: Weights
    model: Model | None = None


DEFAULT = "adaptive"
SKILLED = 0.2  # Skill of a head from which it says what it is unsure of
CANDIDATES = 10  # Batches of the most unsure cases, of which clusters are made; 3 and 5 did worse, and 20 no better

Order: TypeAlias = Callable[[Pool, int, np.random.Generator], Iterator[int]]


@dataclass(frozen=True, slots=True)
class Strategy:
    """An order of cases, and in one line what it is.

    `is_cold`: whether it can do without a model; the others begin at random. `learns`: whether it looks at one where
    there is one. `repeats`: whether it may ask nearly the same twice.
    """

    about: str
    order: Order
    is_cold: bool = False
    learns: bool = True
    repeats: bool = False


def choose(name: str, pool: Pool, k: int, rng: np.random.Generator) -> list[int]:
    """Return the positions of the k cases to ask next, best first, or all if there are fewer.

    Raises:
        SamplingError: there is no such strategy, or no label for one that goes by definitions.
    """
    strategy = named(name)
    if not len(pool.vectors):
        return []
    if pool.model is None and not strategy.is_cold:
        strategy = STRATEGIES["random"]
    order = strategy.order(pool, k, rng)
    alike = np.inf if strategy.repeats else novelty.ALIKE
    return novelty.take(order, pool.vectors, k, asked=pool.asked, alike=alike)


def named(name: str) -> Strategy:
    """Return a strategy.

    Raises:
        SamplingError: there is none of that name.
    """
    if name not in STRATEGIES:
        raise SamplingError(f"strategy is {name!r}; expected one of {', '.join(STRATEGIES)}")
    return STRATEGIES[name]


def _random(pool: Pool, _: int, rng: np.random.Generator) -> Iterator[int]:
    return iter(rng.permutation(len(pool.vectors)).tolist())


def _unsure(measure: Measure) -> Order:
    def order(pool: Pool, _: int, rng: np.random.Generator) -> Iterator[int]:
        return _best_first(heads.unsure(pool.schema, _model(pool).beliefs, measure, pool.weights), rng)

    return order


def _harm(pool: Pool, _: int, rng: np.random.Generator) -> Iterator[int]:
    return _best_first(_model(pool).harm(), rng)


def _centres(pool: Pool, k: int, rng: np.random.Generator) -> Iterator[int]:
    return diversity.by_centre(pool.vectors, k, rng)


def _typical(pool: Pool, k: int, rng: np.random.Generator) -> Iterator[int]:
    return diversity.by_typicality(pool.vectors, pool.asked, k, rng)


def _definitions(pool: Pool, _: int, __: np.random.Generator) -> Iterator[int]:
    if not pool.likeness.shape[1]:
        raise SamplingError("no head has labels that a case as a whole could be like; choose another strategy")
    return diversity.by_definition(pool.likeness, pool.seen)


def _gradients(pool: Pool, _: int, rng: np.random.Generator) -> Iterator[int]:
    found = heads.gradients(pool.schema, _model(pool).beliefs, pool.weights)
    return diversity.by_gradient(found, pool.vectors, rng)


def _unsure_and_unlike(pool: Pool, k: int, rng: np.random.Generator) -> Iterator[int]:
    """Cluster the most unsure cases, and take those nearest to the centres; Zhdanov (2019), Citovsky et al. (2021)."""
    best = list(_unsure(uncertainty.margin)(pool, k, rng))
    first, rest = best[: CANDIDATES * k], best[CANDIDATES * k :]
    yield from (first[at] for at in diversity.by_centre(pool.vectors[first], k, rng))
    yield from rest


def _adaptive(pool: Pool, k: int, rng: np.random.Generator) -> Iterator[int]:
    skill = pool.model.skill if pool.model is not None else {}
    weights = {key: weight for key, weight in pool.weights.items() if weight > 0 and skill.get(key, 0.0) >= SKILLED}
    return _unsure_and_unlike(replace(pool, weights=weights), k, rng) if weights else _typical(pool, k, rng)


def _model(pool: Pool) -> Model:
    if pool.model is None:
        raise SamplingError("the strategy needs what a model says of the cases, and there is no model yet")
    return pool.model


def _best_first(scores: Floats, rng: np.random.Generator) -> Iterator[int]:
    """Order by score; ties at random."""
    return iter(np.lexsort((rng.random(len(scores)), -scores)).tolist())


STRATEGIES: Mapping[str, Strategy] = {
    DEFAULT: Strategy("typical until heads have learnt something, then clustered", _adaptive, is_cold=True),
    "random": Strategy("any case, which all others have to beat", _random, is_cold=True, learns=False, repeats=True),
    "least_confidence": Strategy("whose likeliest answer is least likely", _unsure(uncertainty.least_confidence)),
    "margin": Strategy("whose two likeliest answers are nearest to each other", _unsure(uncertainty.margin)),
    "entropy": Strategy("whose probabilities are most level", _unsure(uncertainty.entropy)),
    "kmeans": Strategy("nearest to the centres of clusters", _centres, is_cold=True, learns=False),
    "typical": Strategy("typical of clusters not asked about yet (TypiClust)", _typical, is_cold=True, learns=False),
    "definitions": Strategy(
        "most like the definition of a label that was seen least", _definitions, is_cold=True, learns=False
    ),
    "clustered": Strategy("nearest to the centres of clusters of the least certain by margin", _unsure_and_unlike),
    "badge": Strategy("unsure and unlike each other, by gradients (BADGE)", _gradients),
    "harm": Strategy("where a mistake would cost most", _harm),
}
