"""Predicting with a model folder: ONNX Runtime, tokenizers and numpy; neither torch nor transformers.

texts ─► word pieces ─► encoder.onnx, window by window ─► vectors of the texts ─► heads.onnx ─► calibration ─► answers
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ml import calibration, normalising, pieces, registry, sessions, spans
from ml.calibration import HeadCalibration
from ml.pieces import Pieces, Splitter
from ml.progress import OnProgress, Progress, ignore
from ml.registry import ENCODER, HEADS, TOKENIZER
from ml.schema import Kind, Schema
from ml.sessions import WindowEncoder
from ml.types import Prediction

Floats: TypeAlias = NDArray[np.float32]

BATCH_TOKENS = 8192  # Padded word pieces of the texts that are read together: vectors of 12 MB
TEXTS_AT_ONCE = 512  # Whose scores are kept before they are turned into answers


@dataclass(frozen=True, slots=True)
class Look:
    """How much a head looked at one word: `weight` is between 0 and 1, and the words of a text add up to at most 1."""

    start: int
    end: int
    weight: float


Looks: TypeAlias = dict[str, list[Look]]  # By head, words in the order of the text


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
        self._calibration = {key: HeadCalibration(**found) for key, found in self.manifest["calibration"].items()}
        reading = self.manifest["encoder"]
        self._splitter = Splitter.load(place / TOKENIZER, reading["max_tokens"])
        self._pad: int = reading["pad"]
        self._pooling: str = reading["pooling"]
        self._normalise = normalising.BY_NAME[reading["normalising"]]
        self._encoder = WindowEncoder(place / ENCODER, threads=threads)
        self._heads = sessions.load(
            place / HEADS, threads=1
        )  # A twentieth of the work, and threads that wait for it cost more
        self._outputs = [output.name for output in self._heads.get_outputs()]
        self._inputs = {given.name for given in self._heads.get_inputs()}

    def predict(self, texts: Sequence[str], *, progress: OnProgress = ignore) -> list[Prediction]:
        """Predict the trained heads of each text, in schema order.

        Args:
            texts: words of cases, in any order; they are read in batches of similar length.
            progress: called after each batch; what it raises ends the prediction.
        """
        return [prediction for prediction, _ in self._answer(texts, progress, with_looks=False)]

    def explain(self, texts: Sequence[str]) -> list[tuple[Prediction, Looks]]:
        """Predict, and tell for each head that answers a case as a whole which words it looked at.

        What a head looked at is its attention, which tells where the answer was read from, and not why it was given
        (Wiegreffe and Pinter 2019). A checkpoint that reads one vector for the whole text looks at none.
        """
        return list(self._answer(texts, ignore, with_looks=True))

    def logits(self, texts: Sequence[str], *, progress: OnProgress = ignore) -> dict[str, Any]:
        """Return the raw scores of one or more texts, as `calibration.fit` takes them."""
        return self._logits([scores for part, _ in self._scored(texts, progress) for scores in part])

    def _answer(
        self, texts: Sequence[str], progress: OnProgress, *, with_looks: bool
    ) -> Iterator[tuple[Prediction, Looks]]:
        for scored, cut in self._scored(texts, progress):
            words = [one.words for one in cut]
            found = calibration.predictions(self.schema, self._logits(scored), self._calibration, words=words)
            for prediction, scores, one in zip(found, scored, cut, strict=True):
                yield (
                    prediction,
                    ({key: _looks(one, weights) for key, weights in scores.attention.items()} if with_looks else {}),
                )

    def _scored(self, texts: Sequence[str], progress: OnProgress) -> Iterator[tuple[list[Scored], list[Pieces]]]:
        """Score texts part by part, each with how it was cut."""
        for start in range(0, len(texts), TEXTS_AT_ONCE):
            part = [self._normalise(text) for text in texts[start : start + TEXTS_AT_ONCE]]
            cut = self._splitter.split(part)
            scored = [Scored({}, {})] * len(part)
            done = start
            for rows in pieces.batches(cut, BATCH_TOKENS):
                for row, scores in zip(
                    rows, self._score([part[row] for row in rows], [cut[row] for row in rows]), strict=True
                ):
                    scored[row] = scores
                done += len(rows)
                progress(Progress("predict", done, len(texts)))
            yield scored, cut

    def _score(self, texts: list[str], cut: list[Pieces]) -> list[Scored]:
        """Run the network on a batch."""
        windows = self._splitter.windows(cut, pad=self._pad, pooling=self._pooling)
        hidden = self._encoder.encode(windows.ids, windows.mask)
        tokens = hidden.reshape(-1, hidden.shape[2])[windows.places]
        given: dict[str, Any] = {"tokens": tokens, "mask": windows.is_real}
        if "firsts" in self._inputs:
            firsts, shapes = spans.word_inputs(texts, [(one.words, one.firsts) for one in cut])
            given |= {"firsts": firsts, "shapes": shapes}
        used = {name: value for name, value in given.items() if name in self._inputs}
        outputs = dict(zip(self._outputs, self._heads.run(None, used), strict=True))
        return [
            Scored(
                {
                    head.key: outputs[f"scores.{head.key}"][at, : len(one.words) if head.kind == Kind.SPANS else None]
                    for head in self.schema.heads
                    if f"scores.{head.key}" in outputs
                },
                {
                    head.key: outputs[f"attention.{head.key}"][at]
                    for head in self.schema.heads
                    if f"attention.{head.key}" in outputs
                },
            )
            for at, one in enumerate(cut)
        ]

    def _logits(self, scored: Sequence[Scored]) -> dict[str, Any]:
        logits: dict[str, Any] = {}
        for key in self.manifest["heads"]:
            values = [scores.scores[key].astype(np.float64) for scores in scored]
            logits[key] = values if self.schema.head(key).kind == Kind.SPANS else np.stack(values)
        return logits


@dataclass(frozen=True, slots=True)
class Scored:
    """Raw scores of one text: (C,) or (N, 1 + 2 C) for each head, and the attention over its phrases, (V,)."""

    scores: dict[str, Floats]
    attention: dict[str, Floats]


def _looks(cut: Pieces, attention: Floats) -> list[Look]:
    """Spread the attention on phrases, (V,), over the words that they are made of."""
    weights = pieces.spread(attention, len(cut.ids))
    by_word = np.zeros(len(cut.words))
    is_own = cut.spoken >= 0
    np.add.at(by_word, cut.spoken[is_own], weights[is_own])
    return [Look(int(start), int(end), float(weight)) for (start, end), weight in zip(cut.words, by_word, strict=True)]
