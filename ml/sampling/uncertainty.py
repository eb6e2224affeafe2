"""How unsure a model is of an answer, from probabilities alone. A higher score means ask sooner.

A measure takes distributions over answers that exclude each other. Labels that do not exclude each other are a
distribution over yes and no each, and the words of a text one over tags each; `over_labels` and `over_words` make one
score of a case from them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, TypeAlias

import numpy as np

from ml.scales import Floats

Measure: TypeAlias = Callable[[Floats], Floats]

OFF_ONE = 1e-4  # Most that a distribution may miss 1 by: what was computed in single precision does


def least_confidence(probs: Floats) -> Floats:
    """Score each case by the probability that its likeliest answer is wrong.

    Args:
        probs: shape (n, C); rows are distributions.

    Returns:
        Shape (n,), between 0 and 1 - 1 / C.

    Raises:
        ValueError: `probs` is not a matrix whose rows are distributions.

    Source: Lewis and Gale (1994), A Sequential Algorithm for Training Text Classifiers.
    """
    _check(probs)
    scores: Floats = 1.0 - probs.max(axis=1)
    return scores


def margin(probs: Floats) -> Floats:
    """Score each case by how near its second answer is to its first, also known as breaking ties.

    Args:
        probs: shape (n, C), C at least 2; rows are distributions.

    Returns:
        Shape (n,): 1 minus the difference of the two largest probabilities, between 0 and 1.

    Raises:
        ValueError: `probs` is not a matrix whose rows are distributions, or has one column.

    Source: Scheffer et al. (2001), Active Hidden Markov Models for Information Extraction; Luo et al. (2005).
    """
    _check(probs)
    if probs.shape[1] < 2:
        raise ValueError("a margin lies between two answers; there is 1")
    highest = np.partition(probs, -2, axis=1)
    scores: Floats = 1.0 - (highest[:, -1] - highest[:, -2])
    return scores


def entropy(probs: Floats) -> Floats:
    """Score each case by the entropy of its distribution.

    Args:
        probs: shape (n, C); rows are distributions.

    Returns:
        Shape (n,), in nats, between 0 and log(C).

    Raises:
        ValueError: `probs` is not a matrix whose rows are distributions.

    Source: Settles (2009), Active Learning Literature Survey, section 3.1.
    """
    _check(probs)
    logs = np.log(probs, where=probs > 0, out=np.zeros_like(probs))
    scores: Floats = np.maximum(-(probs * logs).sum(axis=1), 0.0)
    return scores


MEASURES: Mapping[str, Measure] = {"least_confidence": least_confidence, "margin": margin, "entropy": entropy}


def over_labels(measure: Measure, probs: Floats, *, by: Literal["mean", "max"] = "mean") -> Floats:
    """Score each case by how unsure its labels are, each of which is there or not by itself.

    Args:
        measure: of yes and no.
        probs: probability of each label, shape (n, C), between 0 and 1.
        by: "mean" asks about cases that are unsure all over, "max" about those with one label in doubt.

    Returns:
        Shape (n,), in the unit and the range of the measure for two answers.

    Raises:
        ValueError: `probs` is not a matrix of probabilities, or has no column.

    Source: Brinker (2006), On Active Learning in Multi-label Classification, for "max"; Reyes et al. (2018) for "mean".
    """
    if probs.ndim != 2 or not probs.shape[1]:
        raise ValueError(f"probabilities of labels have the shape {probs.shape}; expected cases by labels")
    both = np.stack([1.0 - probs, probs], axis=2)  # (n, C, 2)
    scores = measure(both.reshape(-1, 2)).reshape(probs.shape)
    found: Floats = scores.max(axis=1) if by == "max" else scores.mean(axis=1)
    return found


def over_words(measure: Measure, probs: Sequence[Floats], *, by: Literal["total", "mean"] = "total") -> Floats:
    """Score each case by how unsure the tags of its words are.

    Args:
        measure: of the tags of one word.
        probs: one for each of n cases, shape (n_words, n_tags); rows are distributions.
        by: "total" asks about long texts sooner, which teach more and cost more to label; "mean" about neither.

    Returns:
        Shape (n,), in the unit of the measure, at least 0; 0 for a text without a word.

    Raises:
        ValueError: a case's probabilities are not a matrix whose rows are distributions.

    Source: Settles and Craven (2008), An Analysis of Active Learning Strategies for Sequence Labeling Tasks, section 3.
    """
    if not any(map(len, probs)):
        return np.zeros(len(probs))
    lengths = np.array([len(one) for one in probs])
    case = np.repeat(np.arange(len(probs)), lengths)
    scores = measure(np.concatenate([one for one in probs if len(one)]))
    total: Floats = np.bincount(case, weights=scores, minlength=len(probs)).astype(np.float64)
    return total / np.maximum(lengths, 1) if by == "mean" else total


def _check(probs: Floats) -> None:
    if probs.ndim != 2 or not probs.shape[1]:
        raise ValueError(f"probabilities have the shape {probs.shape}; expected a matrix, cases by answers")
    sums = probs.sum(axis=1)
    if not (np.isfinite(sums).all() and (probs >= -OFF_ONE).all() and (np.abs(sums - 1.0) <= OFF_ONE).all()):
        raise ValueError("probabilities are no distributions; expected rows that are at least 0 and sum to 1")
