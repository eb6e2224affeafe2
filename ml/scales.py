"""Putting scores on the scale of probabilities: what is learnt of a head for that, and how. numpy only.

Everything here is fitted on rows that the model did not learn from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Bools: TypeAlias = NDArray[np.bool_]

FEWEST_ROWS = 20  # Labelled held-out rows from which a head is calibrated; with fewer, scores stay as they are
FEWEST_POSITIVES = 10  # Held-out rows with a label, and without it, from which its threshold and temperature are learnt
LABEL_SPREAD = 0.2  # Standard deviation expected of labels' log temperatures; costs least if they differ or not
HOTTEST = 20.0  # Bound of temperatures, and its inverse: beyond it a head has learnt nothing, or everything
TINY = 1e-6  # Keeps logarithms finite


@dataclass(frozen=True, slots=True)
class HeadCalibration:
    """What was learnt of one head on held-out rows.

    `temperature` divides its scores; `temperatures` do so in its place for the labels that have one of their own. For
    `choices` and `rubric`, `thresholds` are the probabilities from which a label or a yes is answered. `slope` and
    `intercept` correct, on the log-odds scale, the probability that a whole set, rubric or span is right.

    `rows` are the held-out rows that it was learnt on. Where it is 0 nothing was, and answers have no confidence.

    The keys of `temperatures` and `thresholds` are those of labels, or of a rubric's columns: see `rubrics.columns`.

    `shifts` are added to the scores of a `choice` head after that, toward the commonest labels, the more the less it
    knows. A temperature alone can only draw toward all labels alike.

    `sets` are what the scores of a `choices` head stand for where exactly one of several sets of labels is right;
    without them, each score stands for a label by itself.
    """

    temperature: float = 1.0
    thresholds: Mapping[str, float] = field(default_factory=dict)
    slope: float = 1.0
    intercept: float = 0.0
    temperatures: Mapping[str, float] = field(default_factory=dict)
    sets: Sequence[Sequence[str]] = ()
    shifts: Mapping[str, float] = field(default_factory=dict)
    rows: int = 0

    def as_json(self) -> dict[str, Any]:
        """Return the form that files hold; `HeadCalibration(**found)` reads it back."""
        return asdict(self)

    def probabilities(self, scores: Floats, keys: Sequence[str]) -> Floats:
        """Return the probability of each of several independent labels, (n, n_labels)."""
        return sigmoid(scores / np.array([self.temperatures.get(key, self.temperature) for key in keys]))

    def log_probabilities(self, scores: Floats, keys: Sequence[str]) -> Floats:
        """Return the logarithm of the probability of each of several labels of which one is right, (n, n_labels)."""
        return log_softmax(scores / self.temperature + np.array([self.shifts.get(key, 0.0) for key in keys]))

    def exact(self, log_odds: Floats) -> Floats:
        """Return the corrected probability that whole answers are right, of any shape."""
        return sigmoid(self.slope * log_odds + self.intercept)


def log_softmax(scores: Floats) -> Floats:
    """Return the logarithm of the softmax over the last axis, without overflow."""
    shifted: Floats = scores - scores.max(axis=-1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return shifted


def sigmoid(scores: Floats) -> Floats:
    """Return the logistic function of scores, without overflow."""
    result: Floats = 0.5 * (1.0 + np.tanh(0.5 * scores))
    return result


def log_odds(log_probs: Floats) -> Floats:
    """Return the log-odds of probabilities that are given as logarithms, finite for 0 and 1."""
    result: Floats = log_probs - np.log(np.maximum(-np.expm1(log_probs), TINY))
    return result


def log_likelihood(probs: Floats, truth: Bools) -> Floats:
    """Return the logarithm of the probability that each yes or no is as it is, of any shape, finite for 0 and 1."""
    result: Floats = np.log(np.clip(np.where(truth, probs, 1.0 - probs), TINY, 1.0))
    return result


def fit_temperatures(keys: Sequence[str], scores: Floats, truth: Bools, known: Bools) -> tuple[float, dict[str, float]]:
    """Fit a temperature for all of several independent labels, and one for each that is seen often enough.

    A label's own is drawn toward that of all, since few rows tell little.

    Args:
        keys: the labels.
        scores: log-odds, (n, n_labels).
        truth: (n, n_labels).
        known: (n, n_labels), False where a row says nothing of a label.
    """
    shared = coolest(lambda value: -float(log_likelihood(sigmoid(scores / value), truth)[known].sum()))
    found = {}
    for at, key in enumerate(keys):
        column, wanted = scores[known[:, at], at], truth[known[:, at], at]
        if is_seen_enough(wanted):
            found[key] = coolest(_near(column, wanted, shared))
    return shared, found


def _near(scores: Floats, truth: Bools, shared: float) -> Callable[[float], float]:
    def loss(temperature: float) -> float:
        away = np.log(temperature / shared) / LABEL_SPREAD
        return float(away**2 / 2 - log_likelihood(sigmoid(scores / temperature), truth).sum())

    return loss


def is_seen_enough(truth: Bools) -> bool:
    """Tell whether a label, (n,), is both there and absent in rows enough to learn something of it alone."""
    return bool(FEWEST_POSITIVES <= truth.sum() <= len(truth) - FEWEST_POSITIVES)


def best_threshold(default: float, probs: Floats, truth: Bools, worth: Callable[[Bools, Bools], float]) -> float:
    """Return the threshold whose answers are worth most, the nearest to the default among equals.

    Args:
        default: what it is where the label is seen too rarely.
        probs: (n,).
        truth: (n,).
        worth: takes answers (n,) and the truth (n,); higher is better.
    """
    if not is_seen_enough(truth):
        return default
    steps = [*np.arange(0.1, 0.91, 0.05), default]
    return float(max(steps, key=lambda step: (round(worth(probs >= step, truth), 3), -abs(step - default))))


def coolest(loss: Callable[[float], float]) -> float:
    """Return the temperature with the lowest loss, by Brent's method on its logarithm."""
    from scipy.optimize import minimize_scalar  # noqa: PLC0415 - servers do not fit

    bounds = (-np.log(HOTTEST), np.log(HOTTEST))
    found = minimize_scalar(lambda power: loss(np.exp(power)), bounds=bounds, method="bounded", options={"xatol": 1e-4})
    return float(np.exp(found.x))


def platt(log_odds: Floats, right: Bools) -> tuple[float, float]:
    """Fit slope and intercept by the log-loss, drawn slightly toward 1 and 0 where rows are few.

    Source: Platt (1999), Probabilistic Outputs for Support Vector Machines.
    """
    from scipy.optimize import minimize  # noqa: PLC0415 - servers do not fit

    inputs = np.stack([log_odds, np.ones_like(log_odds)], axis=1)  # (n, 2)
    start = np.array([1.0, 0.0])
    signs = np.where(right, 1.0, -1.0)

    def loss(weights: Floats) -> float:
        return float(np.logaddexp(0.0, -signs * (inputs @ weights)).sum() + ((weights - start) ** 2).sum() / 2)

    def gradient(weights: Floats) -> Floats:
        slopes: Floats = inputs.T @ (sigmoid(inputs @ weights) - right) + weights - start
        return slopes

    least = (0.0, None)  # Never upside down: more certain is never less likely right
    found = minimize(loss, start, jac=gradient, method="L-BFGS-B", bounds=[least, (None, None)])
    return float(found.x[0]), float(found.x[1])
