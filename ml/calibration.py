"""From a model's raw scores to probabilities that mean what they say. numpy only: whatever serves a model needs it.

Scores are calibrated on rows that the model did not learn from. `choice` heads that hang together through `parent` are
read as one tree: each head gives evidence, a child belongs to its parent, and belief propagation (Pearl 1988, chapter
4) turns both into probabilities that agree with each other, so that no answer contradicts the one above it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ml.schema import Head, Kind, Schema
from ml.types import HeadPrediction, Labels, Prediction

Floats: TypeAlias = NDArray[np.float64]
Logits: TypeAlias = Mapping[str, Floats]  # Head key to raw scores, shape (n_cases, n_labels)

FEWEST_ROWS = 20  # Labelled held-out rows from which a head is calibrated; with fewer, scores stay as they are
FEWEST_POSITIVES = 10  # Held-out rows with a label, and without it, from which its threshold is learnt
HOTTEST = 20.0  # Bound of temperatures, and its inverse: beyond it a head has learnt nothing, or everything
TINY = 1e-6  # Keeps logarithms finite


@dataclass(frozen=True, slots=True)
class HeadCalibration:
    """What was learnt of one head on held-out rows.

    `temperature` divides its scores. For `choices`, `thresholds` are the probabilities from which labels are answered,
    and the probability that a whole set is right is corrected by `slope` and `intercept` on the log-odds scale.
    """

    temperature: float = 1.0
    thresholds: Mapping[str, float] = field(default_factory=dict)
    slope: float = 1.0
    intercept: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """Return the form that files hold; `HeadCalibration(**found)` reads it back."""
        return asdict(self)


Calibration: TypeAlias = Mapping[str, HeadCalibration]


def fit(schema: Schema, logits: Logits, truth: Sequence[Labels]) -> dict[str, HeadCalibration]:
    """Calibrate every head that has logits, on rows that it did not learn from.

    Args:
        logits: head key to shape (n_cases, n_labels).
        truth: the n_cases labels; a head without a label is passed over.

    Source: Guo et al. (2017), section 4.2, for the temperature; Platt (1999) for whole sets.
    """
    found = {key: HeadCalibration() for key in logits}
    for head in schema.of_kind(Kind.CHOICES):
        if head.key in logits:
            found[head.key] = _fit_choices(head, logits[head.key], [labels.get(head.key) for labels in truth])
    for _ in range(2):  # Heads of a tree share evidence, so each is fitted again beside the others' new temperature
        for head in schema.of_kind(Kind.CHOICE):
            if head.key in logits and sum(head.key in labels for labels in truth) >= FEWEST_ROWS:
                found[head.key] = _fit_choice(schema, head, logits, truth, found)
    return found


def predictions(schema: Schema, logits: Logits, calibration: Calibration) -> list[Prediction]:
    """Turn raw scores into what the model says of each case, heads in schema order."""
    marginals = choice_probabilities(schema, logits, calibration)
    joint = _best_together(schema, marginals)
    columns: dict[str, list[HeadPrediction]] = {}
    for head in schema.heads:
        if head.kind == Kind.CHOICE and head.key in marginals:
            columns[head.key] = _answer_choice(head, marginals[head.key], joint[head.key], columns)
        elif head.kind == Kind.CHOICES and head.key in logits:
            columns[head.key] = _answer_choices(head, logits[head.key], calibration[head.key])
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def choice_probabilities(schema: Schema, logits: Logits, calibration: Calibration) -> dict[str, Floats]:
    """Return the probabilities of every `choice` head, shape (n_cases, n_labels); rows sum to 1.

    Evidence goes up the tree first and then down it. Heads that stand alone come out as a plain softmax.
    """
    heads = [head for head in schema.of_kind(Kind.CHOICE) if head.key in logits]
    up = {head.key: log_softmax(logits[head.key] / calibration[head.key].temperature) for head in heads}
    messages: dict[str, Floats] = {}
    for head in reversed(heads):  # Children stand below their parents, so they are read first
        if head.parent in up:
            messages[head.key] = _sum_under(up[head.key], _parents(schema, head), len(schema.head(head.parent).labels))
            up[head.parent] = up[head.parent] + messages[head.key]
    log_probs: dict[str, Floats] = {}
    for head in heads:
        belief = up[head.key]
        if head.parent in up:
            belief = belief + (log_probs[head.parent] - messages[head.key])[:, _parents(schema, head)]
        log_probs[head.key] = log_softmax(belief)
    return {key: np.exp(belief) for key, belief in log_probs.items()}


def log_softmax(scores: Floats) -> Floats:
    """Return the logarithm of the softmax over the last axis, without overflow."""
    shifted = scores - scores.max(axis=-1, keepdims=True)
    result: Floats = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return result


def sigmoid(scores: Floats) -> Floats:
    """Return the logistic function of scores, without overflow."""
    result: Floats = 0.5 * (1.0 + np.tanh(0.5 * scores))
    return result


def _parents(schema: Schema, head: Head) -> list[int]:
    """Return the position of each label's parent among the labels of the parent head."""
    positions = {key: position for position, key in enumerate(schema.head(str(head.parent)).keys)}
    return [positions[str(label.parent)] for label in head.labels]


def _sum_under(log_probs: Floats, parents: list[int], count: int) -> Floats:
    """Add up probabilities under each parent: (n_cases, n_labels) to (n_cases, count), in logarithms."""
    children = [np.flatnonzero(np.array(parents) == parent) for parent in range(count)]
    return np.stack([np.logaddexp.reduce(log_probs[:, under], axis=1) for under in children], axis=1)


def _best_together(schema: Schema, marginals: Mapping[str, Floats]) -> dict[str, Floats]:
    """Return for each label how probable the best answer of its whole subtree is, in logarithms: (n_cases, n_labels).

    So the chosen answers of a parent and its children are the most probable ones that are consistent, and not the best
    child of the best parent: max-product where `choice_probabilities` is sum-product (Pearl 1988, section 5.1).
    """
    found = {key: np.log(np.maximum(probs, TINY)) for key, probs in marginals.items()}
    for head in reversed([head for head in schema.of_kind(Kind.CHOICE) if head.key in marginals]):
        if head.parent is not None and head.parent in marginals:
            parents = np.array(_parents(schema, head))
            count = marginals[head.parent].shape[1]
            best = np.stack([found[head.key][:, parents == parent].max(axis=1) for parent in range(count)], axis=1)
            found[head.parent] = found[head.parent] + best - np.log(np.maximum(marginals[head.parent], TINY))
    return found


def _answer_choice(
    head: Head, probs: Floats, joint: Floats, columns: Mapping[str, list[HeadPrediction]]
) -> list[HeadPrediction]:
    allowed = np.ones_like(probs, dtype=bool)
    if head.parent is not None and head.parent in columns:
        parents = np.array([label.parent for label in head.labels])
        allowed = np.array([parents == above.answer for above in columns[head.parent]])
    best = np.where(allowed, joint, -np.inf).argmax(axis=1)
    return [
        HeadPrediction(head.keys[index], float(row[index]), dict(zip(head.keys, row.tolist(), strict=True)))
        for index, row in zip(best, probs, strict=True)
    ]


def _answer_choices(head: Head, logits: Floats, learnt: HeadCalibration) -> list[HeadPrediction]:
    probs = sigmoid(logits / learnt.temperature)
    chosen = probs >= np.array([learnt.thresholds.get(key, head.threshold) for key in head.keys])
    exact = sigmoid(learnt.slope * _log_odds_of_set(probs, chosen) + learnt.intercept)
    return [
        HeadPrediction(
            [key for key, is_chosen in zip(head.keys, row, strict=True) if is_chosen],
            float(confidence),
            dict(zip(head.keys, values.tolist(), strict=True)),
        )
        for row, confidence, values in zip(chosen, exact, probs, strict=True)
    ]


def _log_odds_of_set(probs: Floats, chosen: NDArray[np.bool_]) -> Floats:
    """Return the log-odds that every label of a set is right, were labels independent: (n, n_labels) to (n,)."""
    log_prob = np.log(np.clip(np.where(chosen, probs, 1.0 - probs), TINY, 1.0)).sum(axis=1)
    result: Floats = log_prob - np.log(np.maximum(-np.expm1(log_prob), TINY))
    return result


def _fit_choice(
    schema: Schema, head: Head, logits: Logits, truth: Sequence[Labels], found: Calibration
) -> HeadCalibration:
    """Choose the temperature that makes the labels of the whole tree likeliest."""
    family = {other.key: other for other in _family(schema, head) if other.key in logits}
    rows = {key: [row for row, labels in enumerate(truth) if key in labels] for key in family}
    columns = {key: [family[key].keys.index(str(truth[row][key])) for row in rows[key]] for key in family}
    scores = {key: logits[key] for key in family}

    def loss(temperature: float) -> float:
        trial = {**found, head.key: replace(found[head.key], temperature=temperature)}
        probs = choice_probabilities(schema, scores, trial)
        return -sum(float(np.log(probs[key][rows[key], columns[key]] + TINY**2).sum()) for key in family)

    return replace(found[head.key], temperature=_coolest(loss))


def _family(schema: Schema, head: Head) -> list[Head]:
    """Return the heads of a head's tree: all that share its uppermost parent."""

    def root(member: Head) -> str:
        return member.key if member.parent is None else root(schema.head(member.parent))

    return [other for other in schema.of_kind(Kind.CHOICE) if root(other) == root(head)]


def _fit_choices(head: Head, logits: Floats, truth: Sequence[object]) -> HeadCalibration:
    rows = [row for row, answer in enumerate(truth) if isinstance(answer, list)]
    if len(rows) < FEWEST_ROWS:
        return HeadCalibration()
    wanted = np.array([[key in answer for key in head.keys] for answer in truth if isinstance(answer, list)])
    scores = logits[rows]
    temperature = _coolest(lambda value: -float(np.log(_likelihood(sigmoid(scores / value), wanted)).sum()))
    probs = sigmoid(scores / temperature)
    thresholds = {key: _threshold(head, probs[:, at], wanted[:, at]) for at, key in enumerate(head.keys)}
    chosen = probs >= np.array(list(thresholds.values()))
    slope, intercept = _platt(_log_odds_of_set(probs, chosen), (chosen == wanted).all(axis=1))
    return HeadCalibration(temperature, thresholds, slope, intercept)


def _likelihood(probs: Floats, truth: NDArray[np.bool_]) -> Floats:
    result: Floats = np.clip(np.where(truth, probs, 1.0 - probs), TINY, 1.0)
    return result


def _threshold(head: Head, probs: Floats, truth: NDArray[np.bool_]) -> float:
    """Return the threshold of the best F1, the nearest to the schema's among equals."""
    if not FEWEST_POSITIVES <= truth.sum() <= len(truth) - FEWEST_POSITIVES:
        return head.threshold
    steps = [*np.arange(0.1, 0.91, 0.05), head.threshold]

    def worth(step: float) -> tuple[float, float]:
        answered = probs >= step
        f1 = 2 * (answered & truth).sum() / (answered.sum() + truth.sum())
        return round(float(f1), 3), -abs(step - head.threshold)

    return float(max(steps, key=worth))


def _coolest(loss: Callable[[float], float]) -> float:
    """Return the temperature with the lowest loss, by golden-section search on its logarithm."""
    low, high, golden = -np.log(HOTTEST), np.log(HOTTEST), (np.sqrt(5.0) - 1.0) / 2.0
    for _ in range(30):  # Leaves an interval of 3e-6
        left, right = high - golden * (high - low), low + golden * (high - low)
        low, high = (low, right) if loss(np.exp(left)) <= loss(np.exp(right)) else (left, high)
    return float(np.exp((low + high) / 2))


def _platt(log_odds: Floats, right: NDArray[np.bool_]) -> tuple[float, float]:
    """Fit slope and intercept by Newton steps on the log-loss, drawn slightly toward 1 and 0 where rows are few."""
    inputs = np.stack([log_odds, np.ones_like(log_odds)], axis=1)  # (n, 2)
    start = np.array([1.0, 0.0])
    weights = start.copy()
    for _ in range(50):
        probs = sigmoid(inputs @ weights)
        gradient = inputs.T @ (probs - right) + (weights - start)
        curvature = (inputs * (probs * (1 - probs))[:, None]).T @ inputs + np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        weights -= step
        if np.abs(step).max() < 1e-8:
            break
    return max(float(weights[0]), 0.0), float(weights[1])  # Never upside down: more certain is never less likely right
