"""Nothing is asked twice in other words: cases that say the same teach the same."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from ml.scales import Floats

ALIKE = 0.95  # Cosine of two cases' vectors from which one says what the other does
AT_ONCE = 1024  # Cases that are compared with all others together


def unit(vectors: Floats) -> Floats:
    """Return vectors of length 1: (n, W) to (n, W); one of length 0 stays as it is."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    result: Floats = vectors / np.where(lengths > 0, lengths, 1.0)
    return result


def nearest(vectors: Floats, others: Floats) -> Floats:
    """Return the cosine of each case with the most alike of the others.

    Args:
        vectors: shape (n, W), of length 1.
        others: shape (m, W), of length 1.

    Returns:
        Shape (n,), between -1 and 1; -1 where there are no others.
    """
    if not len(others):
        return np.full(len(vectors), -1.0)
    parts = [(vectors[at : at + AT_ONCE] @ others.T).max(axis=1) for at in range(0, len(vectors), AT_ONCE)]
    return np.concatenate([np.empty(0), *parts])


def take(
    order: Iterable[int], vectors: Floats, k: int, *, asked: Floats | None = None, alike: float = ALIKE
) -> list[int]:
    """Take the first k of an order, and pass over cases that are nearly the same as one taken or asked before.

    Those that were passed over are taken at last, in their order, where nothing else is left: k cases are always found
    if the order has as many.

    Args:
        order: positions of cases, best first, none twice.
        vectors: shape (n, W), of length 1.
        k: how many to take.
        asked: cases asked before, shape (m, W), of length 1.
        alike: cosine, between -1 and 1, from which two cases are nearly the same.
    """
    is_known: NDArray[np.bool_] = np.zeros(len(vectors), dtype=bool)
    if asked is not None:
        is_known = nearest(vectors, asked) >= alike
    taken: list[int] = []
    passed: list[int] = []
    for at in order:
        if len(taken) == k:
            break
        if is_known[at]:
            passed.append(at)
            continue
        taken.append(at)
        is_known |= vectors @ vectors[at] >= alike
    return [*taken, *passed][:k]
