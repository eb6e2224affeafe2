"""Whether more labels are worth their work: how much they would still buy, and whether models still change their minds.

Both are evidence for a person who decides, from what earlier cycles left behind. numpy and scikit-learn only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ml import agreement, metrics
from ml.types import Answer

FEWEST_SIZES = 4  # A curve of three parameters goes through any three points
RATES = np.geomspace(0.05, 2.0, 100)  # Measured ones were 0.07 to 0.35 (Hestness et al. 2017); theory has 0.5 and 1
DRAWS = 1000  # Curves from which an interval is told
WINDOW = 3
STABLE_KAPPA = 0.99

Floats: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Curve:
    """A learning curve, error(n) = floor + scale * n ** -rate: each is 0 or more, and floor at most 1."""

    floor: float
    scale: float
    rate: float

    def error(self, n: float) -> float:
        """Return the error that n labels leave."""
        return float(self.floor + self.scale * n**-self.rate)


@dataclass(frozen=True, slots=True)
class Forecast:
    """What `more` labels would buy, beside the `labels` that there are.

    `gain` is how much higher the main measure of a head would be, with its 95% `interval`; 0.01 is a point. `score` is
    what the curve says of today, and `ceiling` of labels without end.
    """

    curve: Curve
    labels: int
    more: int
    score: float
    gain: float
    interval: tuple[float, float]

    @property
    def ceiling(self) -> float:
        """The score that the curve comes near to."""
        return 1.0 - self.curve.floor

    def __str__(self) -> str:
        low, high = (100 * end for end in self.interval)
        return f"{self.more} more labels buy about {100 * self.gain:.1f} points ({low:.1f} to {high:.1f})"


@dataclass(frozen=True, slots=True)
class Stability:
    """How far successive models agree on the stop set.

    `kappas` are between each model and the one before it, oldest first, None where it is undefined; `mean` is that of
    the last few, None before there are as many or where one is undefined; `n` counts the cases of the stop set.
    """

    n: int
    kappas: tuple[float | None, ...]
    mean: float | None
    is_stable: bool


def forecast(
    labels: Sequence[int], scores: Sequence[float], more: int, *, tested: int, rng: np.random.Generator
) -> Forecast | None:
    """Extrapolate the learning curve of one head.

    Args:
        labels: how many each model learnt from.
        scores: its main measure, between 0 and 1, each on the same cases.
        more: labels beside the most so far.
        tested: on how many cases the scores were measured, which says how far chance moves them.
        rng: draws for the interval.

    Returns:
        None with fewer than four different numbers of labels.

    The interval is that of curves fitted to scores which chance moved as far as it moves these: as far as they are from
    the curve, or as the number of cases lets expect, whichever is more. It holds if the curve goes on as it began;
    learning curves mostly do, and not always (Viering and Loog 2021, The Shape of Learning Curves: a Review).
    """
    sizes, errors = np.asarray(labels, dtype=np.float64), 1.0 - np.asarray(scores, dtype=np.float64)
    if len(np.unique(sizes)) < FEWEST_SIZES:
        return None
    curve = fit(sizes, errors)
    now, then = sizes.max(), sizes.max() + more
    said = np.array([curve.error(size) for size in sizes])
    scatter = np.sqrt(np.square(errors - said).sum() / (len(sizes) - FEWEST_SIZES + 1))
    noise = np.maximum(scatter, np.sqrt(np.clip(said * (1.0 - said), 0.0, None) / tested))
    drawn = _fit_all(sizes, said + noise * rng.standard_normal((DRAWS, len(sizes))))
    gains = drawn[:, 1] * (now ** -drawn[:, 2] - then ** -drawn[:, 2])
    gain = curve.error(now) - curve.error(then)
    low, high = np.quantile(gains, [0.025, 0.975])
    interval = (min(float(low), gain), max(float(high), gain))
    return Forecast(curve, int(now), more, 1.0 - curve.error(now), gain, interval)


def fit(labels: ArrayLike, errors: ArrayLike) -> Curve:
    """Fit a power law with a floor by least squares within bounds; later points count more, as they tell more.

    Args:
        labels: shape (n,), each 1 or more.
        errors: shape (n,), one less the score of each.

    Source: Figueroa et al. (2012), Predicting Sample Size Required for Classification Performance, for the weights;
    Hestness et al. (2017), Deep Learning Scaling is Predictable, Empirically, for the law.
    """
    found = _fit_all(np.asarray(labels, dtype=np.float64), np.asarray(errors, dtype=np.float64)[None])
    return Curve(*map(float, found[0]))


def stability(answers: Sequence[Sequence[Answer]], *, window: int = WINDOW, least: float = STABLE_KAPPA) -> Stability:
    """Tell whether labelling may stop because what models answer has become stable.

    Args:
        answers: of successive models, oldest first, to the same cases: the stop set, which needs no labels. It never
            changes, nothing of it is learnt from, and it is large (2,000 in the paper); an answer counts as a whole.
        window: how many of the last agreements are averaged.
        least: the mean kappa from which answers are stable.

    Raises:
        ValueError: models answered unlike numbers of cases.

    Source: Bloodgood and Vijay-Shanker (2009), A Method for Stopping Active Learning Based on Stabilizing Predictions:
    stop when the kappas of the last three pairs of successive models are 0.99 or more on average.
    """
    held = [[metrics.items(answer) for answer in said] for said in answers]
    kappas = tuple(agreement.kappa(before, after).value for before, after in pairwise(held))
    last = [kappa for kappa in kappas[-window:] if kappa is not None]
    mean = float(np.mean(last)) if len(last) == window else None
    return Stability(len(held[0]) if held else 0, kappas, mean, mean is not None and mean >= least)


def _fit_all(sizes: Floats, errors: Floats) -> Floats:
    """Fit many curves over the same numbers of labels: errors (m, n) to floor, scale and rate, (m, 3).

    For a given rate the law is a straight line, whose best floor and scale are known; so every rate is tried.
    """
    weights = np.searchsorted(np.sort(sizes), sizes) + 1.0
    weights /= weights.sum()
    smallest = sizes.min()
    powers = (sizes / smallest) ** -RATES[:, None]  # (r, n), from 1 down
    mean_power, mean_square, mean_error = powers @ weights, powers**2 @ weights, errors @ weights
    mean_product = (errors * weights) @ powers.T  # (m, r)
    slope = (mean_product - mean_error[:, None] * mean_power) / (mean_square - mean_power**2)
    slope = np.clip(slope, 0.0, None)
    floor = mean_error[:, None] - slope * mean_power
    slope = np.where(floor < 0.0, np.clip(mean_product / mean_square, 0.0, None), slope)
    floor = np.clip(floor, 0.0, 1.0)
    # The squares of what is left, multiplied out, less those of the errors themselves, which are the same for all rates
    left = floor**2 + slope**2 * mean_square + 2 * floor * slope * mean_power
    left -= 2 * floor * mean_error[:, None] + 2 * slope * mean_product
    best = left.argmin(axis=1)
    rows = np.arange(len(errors))
    found: Floats = np.stack([floor[rows, best], slope[rows, best] * smallest ** RATES[best], RATES[best]], axis=1)
    return found
