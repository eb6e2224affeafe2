"""`choice` heads that hang together through `parent`, read as one tree. numpy only.

Each head gives evidence, a child belongs to its parent, and belief propagation (Pearl 1988, chapter 4) turns both into
probabilities that agree with each other, so that no answer contradicts the one above it.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ml.scales import TINY, Floats, log_softmax
from ml.schema import Head, Kind, Schema


def marginals(schema: Schema, evidence: Mapping[str, Floats]) -> dict[str, Floats]:
    """Return the probabilities of every `choice` head, (n_cases, n_labels); rows sum to 1.

    Evidence goes up the tree first and then down it. Heads that stand alone keep what they had.

    Args:
        schema: says what is under what.
        evidence: head key to log-probabilities, (n_cases, n_labels).
    """
    heads = [head for head in schema.of_kind(Kind.CHOICE) if head.key in evidence]
    up = {head.key: evidence[head.key] for head in heads}
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


def best_together(schema: Schema, marginals: Mapping[str, Floats]) -> dict[str, Floats]:
    """Return for each label how probable the best answer of its whole subtree is, in logarithms: (n_cases, n_labels).

    So the chosen answers of a parent and its children are the most probable ones that are consistent, and not the best
    child of the best parent: max-product where `marginals` is sum-product (Pearl 1988, section 5.1).
    """
    found = {key: np.log(np.maximum(probs, TINY)) for key, probs in marginals.items()}
    for head in reversed([head for head in schema.of_kind(Kind.CHOICE) if head.key in marginals]):
        if head.parent is not None and head.parent in marginals:
            parents = np.array(_parents(schema, head))
            count = marginals[head.parent].shape[1]
            best = np.stack([found[head.key][:, parents == parent].max(axis=1) for parent in range(count)], axis=1)
            found[head.parent] = found[head.parent] + best - np.log(np.maximum(marginals[head.parent], TINY))
    return found


def family(schema: Schema, head: Head) -> list[Head]:
    """Return the heads of a head's tree: all that share its uppermost parent."""

    def root(member: Head) -> str:
        return member.key if member.parent is None else root(schema.head(member.parent))

    return [other for other in schema.of_kind(Kind.CHOICE) if root(other) == root(head)]


def _parents(schema: Schema, head: Head) -> list[int]:
    """Return the position of each label's parent among the labels of the parent head."""
    positions = {key: position for position, key in enumerate(schema.head(str(head.parent)).keys)}
    return [positions[str(label.parent)] for label in head.labels]


def _sum_under(log_probs: Floats, parents: list[int], count: int) -> Floats:
    """Add up probabilities under each parent: (n_cases, n_labels) to (n_cases, count), in logarithms.

    Each parent has a label under it at least.
    """
    order = np.argsort(parents, kind="stable")
    above = np.array(parents)[order]
    begins = np.searchsorted(above, np.arange(count))
    together = log_probs[:, order]
    highest = np.maximum.reduceat(together, begins, axis=1)
    sums = np.add.reduceat(np.exp(together - highest[:, above]), begins, axis=1)
    result: Floats = highest + np.log(sums)
    return result
