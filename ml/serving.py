"""Predicting with a model folder: ONNX Runtime, tokenizers and numpy; neither torch nor transformers.

texts ─► word pieces ─► encoder.onnx, window by window ─► vectors of the texts ─► heads.onnx ─► calibration ─► answers
                                                                   └─► familiarity: like what was learnt from?

Each core takes a few texts all that way by itself. A text that comes alone has all cores.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from ml import calibration, familiarity, normalising, pieces, registry, sessions, spans
from ml.calibration import HeadCalibration
from ml.pieces import Pieces, Splitter
from ml.progress import OnProgress, Progress, ignore
from ml.registry import CENTRES, ENCODER, HEADS, TOKENIZER
from ml.schema import Kind, Schema
from ml.sessions import Encode, WindowEncoder
from ml.types import Prediction

Floats: TypeAlias = NDArray[np.float32]
Found = TypeVar("Found")

TEXTS_AT_ONCE = 16  # That one core takes: fewer cost more around the network, more leave a core idle at the end


@dataclass(frozen=True, slots=True)
class Look:
    """How much a head looked at one word: `weight` is between 0 and 1, and the words of a text add up to at most 1."""

    start: int
    end: int
    weight: float


Looks: TypeAlias = dict[str, list[Look]]  # By head, words in the order of the text


@dataclass(frozen=True, slots=True)
class Reading:
    """All that a model tells of one text; texts that are alike have vectors, (W,), at a small angle.

    Where it is not familiar, it is unlike all that the model learnt from, and no confidence in its answers holds.
    """

    prediction: Prediction
    looks: Looks
    vector: Floats
    is_familiar: bool = True


class Predictor:
    """A loaded model. Loading takes about half a second, so keep one; several threads may use it."""

    def __init__(self, folder: str | Path, *, threads: int = 0) -> None:
        """Load a model folder.

        Args:
            threads: that one prediction computes with; 0 means as many as the machine has cores.

        Raises:
            ModelFolderError: a file is missing or was changed, or the format is another.
        """
        place = Path(folder)
        self.manifest: Mapping[str, Any] = registry.checked_manifest(place)
        self.schema: Schema = registry.schema_of(self.manifest)
        # Folders that do not tell of how many rows were written before heads could stay without calibration
        known = self.manifest["calibration"]
        self._calibration = {key: HeadCalibration(**{"rows": 1, **found}) for key, found in known.items()}
        self.size_bytes = sum((place / name).stat().st_size for name in self.manifest["files"])
        reading = self.manifest["encoder"]
        self._splitter = Splitter.load(place / TOKENIZER, reading["max_tokens"])
        self.encoder_hash: str = reading["sha256"]
        self._pad: int = reading["pad"]
        self._pooling: str = reading["pooling"]
        self._normalise = normalising.BY_NAME[reading["normalising"]]
        least = self.manifest.get("least_familiar")
        self._familiarity = None if least is None else familiarity.load(place / CENTRES, least)
        self._threads = threads or os.cpu_count() or 1
        self._encoder = WindowEncoder(place / ENCODER, threads=self._threads)
        # A twentieth of the work, and threads that wait for it cost more
        self._heads = sessions.load(place / HEADS, threads=1)
        self._outputs = [output.name for output in self._heads.get_outputs()]
        self._inputs = {given.name for given in self._heads.get_inputs()}

    def predict(self, texts: Sequence[str], *, progress: OnProgress = ignore) -> list[Prediction]:
        """Predict the trained heads of each text, in schema order.

        Args:
            texts: words of cases.
            progress: called after every few texts; what it raises ends the prediction.
        """
        return [found for part in self._parts(self._answer, texts, progress) for found in part]

    def read(self, texts: Sequence[str], *, most: int | None = None) -> list[Reading]:
        """Predict, and tell for each head that answers a case as a whole which words it looked at.

        What a head looked at is its attention, which tells where the answer was read from, and not why it was given
        (Wiegreffe and Pinter 2019). A checkpoint that reads one vector for the whole text looks at none.

        Args:
            texts: words of cases.
            most: how many words of a head are told of, those that it looked at most; None means all, and 0 none.
        """
        return [found for part in self._parts(partial(self._look, most=most), texts, ignore) for found in part]

    def logits(self, texts: Sequence[str], *, progress: OnProgress = ignore) -> dict[str, Any]:
        """Return the raw scores of one or more texts, as `calibration.fit` takes them."""
        return self._logits([scores for part, _ in self._parts(self._score, texts, progress) for scores in part])

    def thresholds(self, key: str) -> dict[str, float]:
        """Return the probability from which each label of a `choices` head is answered."""
        head, learnt = self.schema.head(key), self._calibration[key].thresholds
        return {label: learnt.get(label, head.threshold) for label in head.keys}

    def _parts(self, work: Callable[..., Found], texts: Sequence[str], progress: OnProgress) -> Iterator[Found]:
        """Do some work on a few texts at a time, as many parts at once as there are threads."""
        size = max(1, min(TEXTS_AT_ONCE, -(-len(texts) // self._threads)))
        parts = [texts[start : start + size] for start in range(0, len(texts), size)]
        if len(parts) == 1:
            found: Iterator[Found] = map(partial(work, encode=self._encoder.encode), parts)
        else:
            found = self._pool.map(partial(work, encode=self._encoder.encode_alone), parts)
        done = 0
        for part, one in zip(parts, found, strict=True):
            done += len(part)
            progress(Progress("predict", done, len(texts)))
            yield one

    def _answer(self, texts: Sequence[str], encode: Encode) -> list[Prediction]:
        return self._predictions(*self._score(texts, encode))

    def _look(self, texts: Sequence[str], encode: Encode, most: int | None) -> list[Reading]:
        scored, cut = self._score(texts, encode)
        return [
            Reading(
                prediction,
                {key: _looks(one, weights, most) for key, weights in scores.attention.items()} if most != 0 else {},
                scores.vector,
                is_familiar=self._familiarity is None or self._familiarity.knows(scores.vector),
            )
            for prediction, scores, one in zip(self._predictions(scored, cut), scored, cut, strict=True)
        ]

    def _predictions(self, scored: Sequence[Scored], cut: Sequence[Pieces]) -> list[Prediction]:
        words = [one.words for one in cut]
        return calibration.predictions(self.schema, self._logits(scored), self._calibration, words=words)

    def _score(self, texts: Sequence[str], encode: Encode) -> tuple[list[Scored], list[Pieces]]:
        """Run the network on texts, one after the other, and tell how each was cut."""
        normal = [self._normalise(text) for text in texts]
        cut = self._splitter.split(normal)
        return [self._score_one(text, one, encode) for text, one in zip(normal, cut, strict=True)], cut

    def _score_one(self, text: str, cut: Pieces, encode: Encode) -> Scored:
        windows = self._splitter.windows([cut], pad=self._pad, pooling=self._pooling)
        hidden = encode(windows.ids, windows.mask)
        tokens = hidden.reshape(-1, hidden.shape[2])[windows.places]
        given: dict[str, Any] = {"tokens": tokens, "mask": windows.is_real}
        if "firsts" in self._inputs:
            firsts, shapes = spans.word_inputs([text], [(cut.words, cut.firsts)])
            given |= {"firsts": firsts, "shapes": shapes}
        used = {name: value for name, value in given.items() if name in self._inputs}
        outputs = dict(zip(self._outputs, self._heads.run(None, used), strict=True))
        scores: dict[str, Floats] = {}
        attention: dict[str, Floats] = {}
        for head in self.schema.heads:
            if (found := outputs.get(f"scores.{head.key}")) is not None:
                scores[head.key] = found[0, : len(cut.words)] if head.kind == Kind.SPANS else found[0]
            if (weights := outputs.get(f"attention.{head.key}")) is not None:
                attention[head.key] = weights[0]
        return Scored(scores, attention, tokens[0][windows.is_real[0]].mean(axis=0))

    def _logits(self, scored: Sequence[Scored]) -> dict[str, Any]:
        logits: dict[str, Any] = {}
        for key in self.manifest["heads"]:
            values = [scores.scores[key].astype(np.float64) for scores in scored]
            logits[key] = values if self.schema.head(key).kind == Kind.SPANS else np.stack(values)
        return logits

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self._threads, thread_name_prefix="predict")


@dataclass(frozen=True, slots=True)
class Scored:
    """Raw scores of one text: (C,) or (N, 1 + 2 C) for each head, and the attention over its phrases, (V,).

    `vector` is the mean of what the encoder gave for its word pieces, (W,).
    """

    scores: dict[str, Floats]
    attention: dict[str, Floats]
    vector: Floats


def _looks(cut: Pieces, attention: Floats, most: int | None) -> list[Look]:
    """Spread the attention on phrases, (V,), over the words that they are made of; keep those of `most` words."""
    weights = pieces.spread(attention, len(cut.ids))
    by_word = np.zeros(len(cut.words))
    is_own = cut.spoken >= 0
    np.add.at(by_word, cut.spoken[is_own], weights[is_own])
    kept = np.sort(np.argsort(-by_word, kind="stable")[:most])
    places = [(cut.words[word], float(by_word[word])) for word in kept]
    return [Look(int(start), int(end), weight) for (start, end), weight in places]
