"""Whether a text is like those that a model learnt from. Where it is not, no confidence of the model is worth anything.

A softmax is sure of an emoji, or of a text in another language, as it is of a case: nothing that it learnt tells it
otherwise. So a model keeps the centres of the texts that it learnt from, as its encoder sees them, and a text that is
farther from all of them than every text that was held out goes to a person. By distance to what was learnt: Sun et al.
2022, Out-of-distribution detection with deep nearest neighbors; centres stand for the texts themselves here, because
vectors of cases tell of their words. By the worst of the held-out: Laxhammar and Falkman 2010, Conformal prediction for
distribution-independent anomaly detection. Of cases like those, one in n + 1 is taken for unlike, with n held out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float32]

CENTRES = 8  # At most
TEXTS_A_CENTRE = 8  # At least: the centre of a single text would be its vector
FEWEST_HELD_OUT = 20  # Fewer would take more than one case in twenty for unlike
MOST_TEXTS = 128  # Of either kind: an encoder that was tuned has to read them once more


@dataclass(frozen=True, slots=True)
class Familiarity:
    """Centres of what was learnt, unit vectors (K, W), and the least cosine to the nearest one that is familiar."""

    centres: Floats
    least: float

    def of(self, vectors: Floats) -> Floats:
        """Return the cosine of each vector, (n, W), with the nearest centre, (n,)."""
        return np.asarray((_units(vectors) @ self.centres.T).max(axis=1))

    def knows(self, vector: Floats) -> bool:
        """Tell whether a text is like those that were learnt from, by its vector, (W,)."""
        return bool(self.of(vector[None])[0] >= self.least)


def fit(learnt: Floats, held_out: Floats, *, seed: int) -> Familiarity | None:
    """Find centres of vectors that were learnt from, (n, W), and how far from them held-out ones are, (m, W).

    Returns:
        None where there are too few of either to tell.
    """
    if len(held_out) < FEWEST_HELD_OUT or len(learnt) < TEXTS_A_CENTRE:
        return None
    from sklearn.cluster import KMeans  # noqa: PLC0415 - takes a second, and serving does without

    count = min(CENTRES, len(learnt) // TEXTS_A_CENTRE)
    found = KMeans(count, n_init=4, random_state=seed).fit(_units(learnt))
    is_large = np.bincount(found.labels_, minlength=count) >= TEXTS_A_CENTRE  # One of them holds an eighth at least
    known = Familiarity(_units(found.cluster_centers_[is_large]), least=-1.0)
    return replace(known, least=float(known.of(held_out).min()))


def chosen(learnt: Sequence[Any], held_out: Sequence[Any], *, seed: int) -> tuple[list[Any], list[Any]]:
    """Draw the rows that `fit` is given the vectors of; one that is in both is drawn as one of them."""
    draw = np.random.default_rng(seed)
    outside = [held_out[at] for at in draw.permutation(len(held_out))[:MOST_TEXTS]]
    ids = {id(row) for row in outside}
    inside = [row for row in learnt if id(row) not in ids]
    return [inside[at] for at in draw.permutation(len(inside))[:MOST_TEXTS]], outside


def save(found: Familiarity, path: Path) -> None:
    """Write the centres; the manifest of the folder says the rest."""
    np.save(path, found.centres, allow_pickle=False)


def load(path: Path, least: float) -> Familiarity:
    """Read back what `save` wrote."""
    return Familiarity(np.load(path, allow_pickle=False), least)


def _units(vectors: Floats) -> Floats:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-9), dtype=np.float32)
