"""One score of a case from the heads of a schema, which differ in kind, in scale and in importance.

What a model believes of cases is, for each head, its calibrated probabilities: (n, C) for `choice`, whose rows sum to
1; (n, C) of each label by itself for `choices`; (n, 2R) for `rubric`, see `rubrics.columns`; and for `spans` one
(n_words, n_tags) for each case.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np

from ml import calibration, rubrics
from ml.calibration import Calibration, Logits
from ml.policy import Policy
from ml.sampling import uncertainty
from ml.sampling.uncertainty import Measure
from ml.scales import Floats, log_softmax
from ml.schema import Head, Kind, Schema

Beliefs: TypeAlias = Mapping[str, Floats | Sequence[Floats]]
Weights: TypeAlias = Mapping[str, float]


def believe(schema: Schema, logits: Logits, learnt: Calibration) -> dict[str, Floats | Sequence[Floats]]:
    """Turn raw scores, as `Predictor.logits` gives them, into probabilities. Every case was scored by every head."""
    found: dict[str, Floats | Sequence[Floats]] = dict(calibration.choice_probabilities(schema, logits, learnt))
    for head in (head for head in schema.heads if head.key in logits and head.kind != Kind.CHOICE):
        scale = learnt[head.key]
        if head.kind == Kind.SPANS:
            scored = [scores for scores in logits[head.key] if scores is not None]
            found[head.key] = [np.exp(log_softmax(scores / scale.temperature)) for scores in scored]
            continue
        scores = np.asarray(logits[head.key], dtype=np.float64)
        if scale.sets:
            held = np.array([[key in keys for key in head.keys] for keys in scale.sets], dtype=np.float64)
            found[head.key] = np.minimum(np.exp(log_softmax(scores / scale.temperature)) @ held, 1.0)
        else:
            found[head.key] = scale.probabilities(scores, rubrics.columns(head) or head.keys)
    return found


def importance(schema: Schema, policy: Policy) -> dict[str, float]:
    """Return how much each head counts: the cost of its mistakes where it routes, else 0; 1 each where none routes."""
    routing = {
        head.key: policy.mistake_cost.get(head.key, 1.0) for head in schema.heads if head.key in policy.thresholds
    }
    return {head.key: routing.get(head.key, 0.0 if routing else 1.0) for head in schema.heads}


def unsure(schema: Schema, beliefs: Beliefs, measure: Measure, weights: Weights) -> Floats:
    """Score cases by how unsure a model is of them, (n,), between 0 and 1; see `combine`."""
    scores = {key: head_score(schema.head(key), found, measure) for key, found in beliefs.items()}
    return combine(scores, weights)


def head_score(head: Head, probs: Floats | Sequence[Floats], measure: Measure) -> Floats:
    """Score cases by how unsure a model is of one head, (n,), in the unit of the measure."""
    if head.kind == Kind.SPANS:
        return uncertainty.over_words(measure, list(probs))
    matrix = np.asarray(probs)
    return measure(matrix) if head.kind == Kind.CHOICE else uncertainty.over_labels(measure, matrix)


def combine(scores: Mapping[str, Floats], weights: Weights) -> Floats:
    """Combine the scores of several heads, whatever their units, into one.

    Each head's scores give way to their ranks, the share of cases that score lower, so that no head counts more because
    its scores are larger. Equal scores share a rank.

    Args:
        scores: by head, shape (n,); higher means ask sooner.
        weights: how much each head counts, at least 0; a head without one counts nothing.

    Returns:
        The weighted mean of the ranks, shape (n,), between 0 and 1.

    Raises:
        ValueError: no head that is scored counts.

    Source: Reichart et al. (2008), Multi-Task Active Learning for Linguistic Annotations, rank combination.
    """
    counted = {key: weights.get(key, 0.0) for key in scores if weights.get(key, 0.0) > 0}
    if not counted:
        raise ValueError(f"none of the heads {', '.join(scores)} counts; expected a weight above 0")
    total: Floats = np.sum([weight * ranks(scores[key]) for key, weight in counted.items()], axis=0)
    return total / sum(counted.values())


def ranks(scores: Floats) -> Floats:
    """Return the share of cases that score lower than each, and half of its equals: (n,), between 0 and 1."""
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    result: Floats = ((np.cumsum(counts) - counts / 2) / max(1, len(scores)))[place]
    return result


def gradients(schema: Schema, beliefs: Beliefs, weights: Weights) -> Floats:
    """Return what the loss would change in the scores if the likeliest answers were true.

    Each head counts by the root of its weight, so that squared lengths count by the weight. A head of spans gives the
    mean over its words.

    Returns:
        The probabilities minus the answers, shape (n, L), between -1 and 1 times the root of the weight.

    Source: Ash et al. (2020), Deep Batch Active Learning by Diverse, Uncertain Gradient Lower Bounds, section 3.
    """
    parts = []
    for key, probs in beliefs.items():
        if weights.get(key, 0.0) > 0:
            parts.append(np.sqrt(weights[key]) * _gradient(schema.head(key), probs))
    return np.concatenate(parts, axis=1)


def _gradient(head: Head, probs: Floats | Sequence[Floats]) -> Floats:
    if head.kind == Kind.SPANS:
        rows: Floats = np.stack([_from_likeliest(one).sum(axis=0) / max(1, len(one)) for one in probs])
        return rows
    matrix = np.asarray(probs)
    return _from_likeliest(matrix) if head.kind == Kind.CHOICE else matrix - (matrix >= 0.5)


def _from_likeliest(probs: Floats) -> Floats:
    found = probs.copy()
    found[np.arange(len(probs)), probs.argmax(axis=1)] -= 1.0
    return found
