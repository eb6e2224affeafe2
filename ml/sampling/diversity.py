"""Orders that cover the cases: by their vectors or label definitions before there is a model, by gradients after.

Each function returns positions of cases, best first, none twice. Vectors are of length 1, so that distance and cosine
order alike.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ml.scales import Floats

Ints = NDArray[np.intp]

MOST_EXACT = 50  # Clusters; with more, k-means goes by batches, as in the program of Hacohen et al. (2022)
NEIGHBOURS = 20  # Of a case, that say how typical it is; as in the paper
FEWEST_TYPICAL = 5  # Cases of a cluster of which one can be typical; as in the paper
MOST_CLUSTERS = 500  # As in the paper: more have too few cases each


def by_centre(vectors: Floats, k: int, rng: np.random.Generator) -> Iterator[int]:
    """Order cases by k-means: the case nearest to each of k centres, large clusters first, then the second nearest.

    Args:
        vectors: shape (n, W).
        k: clusters, at least 1.
        rng: where the centres begin.

    Source: Yuan, Lin and Boyd-Graber (2020), Cold-start Active Learning through Self-supervised Language Modeling,
    section 3; Hu et al. (2010), Off to a Good Start.
    """
    cluster, distance = _clusters(vectors, k, rng)
    yield from _in_turns(cluster, -distance, np.bincount(cluster, minlength=k))


def by_typicality(vectors: Floats, asked: Floats, k: int, rng: np.random.Generator) -> Iterator[int]:
    """Order cases by how typical they are of clusters that nobody has asked about yet.

    Args:
        vectors: of cases that may be asked, shape (n, W).
        asked: of those that were, shape (m, W).
        k: cases of a batch: there are m + k clusters, at most 500.
        rng: where the centres begin.

    Source: Hacohen, Dekel and Weinshall (2022), Active Learning on a Budget, section 3.
    """
    n_clusters = min(len(asked) + k, MOST_CLUSTERS)
    cluster, _ = _clusters(np.concatenate([vectors, asked]), n_clusters, rng)
    own, taken = cluster[: len(vectors)], np.bincount(cluster[len(vectors) :], minlength=n_clusters)
    typical = np.zeros(len(vectors))
    for number in np.unique(own):
        rows = np.flatnonzero(own == number)
        typical[rows] = _typicality(vectors[rows])
    sizes = np.bincount(cluster, minlength=n_clusters)
    worth = np.where(sizes >= FEWEST_TYPICAL, sizes, 0) - taken * (len(cluster) + 1)  # Fewest asked first, then largest
    yield from _in_turns(own, typical, worth)


def by_definition(likeness: Floats, seen: Ints) -> Iterator[int]:
    """Order cases so that every label is found early: in turns, the case that is most like a label's definition.

    The label that was seen least is next; of several, the one whose case is most like it.

    Args:
        likeness: of each case to each label's definition, shape (n, L), any scale that is the same within a column.
        seen: how many cases of each label were labelled already, shape (L,).

    Raises:
        ValueError: there is no label.

    Source: the idea is that of seeding by keywords, Yuan et al. (2020), with definitions in the place of keywords.
    """
    if not likeness.shape[1]:
        raise ValueError("there is no label whose definition a case could be like")
    ranked = np.argsort(-likeness, axis=0, kind="stable")  # (n, L)
    counts, at = seen.astype(float), np.zeros(len(seen), dtype=np.intp)
    is_taken = np.zeros(len(likeness), dtype=bool)
    for _ in range(len(likeness)):
        for label in np.flatnonzero(is_taken[ranked[at, np.arange(len(at))]]):
            while is_taken[ranked[at[label], label]]:
                at[label] += 1
        best = ranked[at, np.arange(len(at))]
        least = np.flatnonzero(counts == counts.min())
        label = least[likeness[best[least], least].argmax()]
        counts[label] += 1
        is_taken[best[label]] = True
        yield int(best[label])


def by_gradient(gradients: Floats, vectors: Floats, rng: np.random.Generator) -> Iterator[int]:
    """Order cases by k-means++ on the gradients that their likeliest answers would have in the last layer.

    A gradient is long where the model is unsure, so that cases are both unsure and unlike each other. The gradient of a
    case is the outer product of its row of `gradients` and its vector, (L, W); only products of these are computed, so
    that memory stays at n (L + W) numbers.

    Args:
        gradients: of the loss by the scores, shape (n, L); see `heads.gradients`.
        vectors: what the last layer reads, shape (n, W).
        rng: draws.

    Source: Ash et al. (2020), Deep Batch Active Learning by Diverse, Uncertain Gradient Lower Bounds.
    """
    lengths = (gradients**2).sum(axis=1) * (vectors**2).sum(axis=1)  # Squared, of the outer products
    left = np.ones(len(vectors), dtype=bool)
    distance = np.full(len(vectors), np.inf)
    for number in range(len(vectors)):
        if number == 0:
            chosen = int(lengths.argmax())  # As the paper's program does
        else:
            weights = np.where(left, distance, 0.0)
            if not weights.sum() > 0:
                weights = left.astype(float)  # All that is left is the same as what was taken
            chosen = int(rng.choice(len(weights), p=weights / weights.sum()))
        left[chosen] = False
        yield chosen
        products = (gradients @ gradients[chosen]) * (vectors @ vectors[chosen])
        distance = np.minimum(distance, np.maximum(lengths + lengths[chosen] - 2 * products, 0.0))


def _clusters(vectors: Floats, k: int, rng: np.random.Generator) -> tuple[Ints, Floats]:
    """Return the cluster of each case and its distance to the centre, both (n,)."""
    from sklearn.cluster import KMeans, MiniBatchKMeans  # noqa: PLC0415 - takes a second
    from sklearn.exceptions import ConvergenceWarning  # noqa: PLC0415 - as above

    kind = KMeans if k <= MOST_EXACT else MiniBatchKMeans
    means = kind(min(k, len(vectors)), n_init=1, random_state=int(rng.integers(2**31)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # Fewer different texts than clusters: some stay empty
        cluster: Ints = means.fit_predict(vectors).astype(np.intp)
    distance: Floats = np.linalg.norm(vectors - means.cluster_centers_[cluster], axis=1)
    return cluster, distance


def _typicality(vectors: Floats) -> Floats:
    """Return the inverse mean distance of each case of a cluster to its nearest neighbours there, (n,)."""
    squares = np.maximum(2.0 - 2.0 * vectors @ vectors.T, 0.0)
    count = min(NEIGHBOURS, len(vectors) - 1)
    nearest = np.sort(squares, axis=1)[:, 1 : count + 1]
    result: Floats = 1.0 / (np.sqrt(nearest).mean(axis=1) + 1e-5) if count else np.zeros(len(vectors))
    return result


def _in_turns(cluster: Ints, scores: Floats, worth: Ints) -> Iterator[int]:
    """Yield the best case of each cluster, clusters of most worth first, then the second best of each, and so on."""
    best_first = np.lexsort((-scores, cluster))
    turns = np.empty(len(cluster), dtype=np.intp)
    starts = np.searchsorted(cluster[best_first], cluster[best_first])
    turns[best_first] = np.arange(len(cluster)) - starts
    yield from np.lexsort((np.arange(len(cluster)), -worth[cluster], turns)).tolist()
