"""Pre-labelling before anyone has labelled anything: how alike a case is to each label's name and definition.

The probabilities order labels and nothing more: nobody checked them against the truth, so there is no confidence, and
the policy sends every case to a person. Sharpness is fixed below for that reason.

A phrase of a case may be near every label of a schema, or near none, because of how it is written. Where cases are at
hand, likeness is therefore taken relative to what is usual for a label among them: on helpline cases this found the
sub-category about half as often again.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ml import calibration, model
from ml.calibration import HeadCalibration
from ml.encoder import Encoder, mean_of
from ml.progress import OnProgress, Progress, ignore
from ml.schema import Kind, Schema
from ml.types import HeadPrediction, Prediction

FEWEST_BACKGROUND = 32  # Cases from which what is usual can be told; 16 were too few
TYPICAL_SPREAD = 0.08  # Of the likeness (a cosine) of one case to different labels, where there is no background
SHARPNESS = 1.5  # Scores of one standard deviation count for this much on the log-odds scale
UNUSUAL = 1.0  # Standard deviations above the usual at which a label of a `choices` head is an even chance


class Definitions:
    """Answers from label definitions alone, for heads of kind `choice` and `choices`."""

    def __init__(self, schema: Schema, encoder: Encoder, *, background: Sequence[str] = ()) -> None:
        """Read the label texts.

        Args:
            schema: its labels' names and definitions are what cases are compared with.
            encoder: what `encoder.load` returned.
            background: texts of any cases, a few hundred at most; fewer than 32 are not used.
        """
        self.schema = schema
        self._encoder = encoder
        keys = [head.key for head in schema.of_kind(Kind.CHOICE, Kind.CHOICES)]
        self._network = model.build(schema, keys, encoder)
        self._has_background = len(background) >= FEWEST_BACKGROUND
        if self._has_background:
            for key, values in self._likeness(background, ignore).items():
                self._network.head(key).standardise(values)

    def predict(self, texts: Sequence[str], *, progress: OnProgress = ignore) -> list[Prediction]:
        """Answer each text, heads in schema order, without confidence. Children agree with their parents."""
        if not texts:
            return []
        scores = {
            key: self._scores(key, values).double().numpy() for key, values in self._likeness(texts, progress).items()
        }
        fixed = {key: HeadCalibration(temperature=1.0 / SHARPNESS) for key in scores}
        return [
            {key: HeadPrediction(given.answer, None, given.probabilities) for key, given in prediction.items()}
            for prediction in calibration.predictions(self.schema, scores, fixed)
        ]

    def _likeness(self, texts: Sequence[str], progress: OnProgress) -> dict[str, Tensor]:
        """Compare texts with the label texts: (n_texts, L, C) for each head."""
        layers = {key: self._network.head(key) for key in self._network.keys}
        found = {key: torch.zeros(len(texts), *layer.centre.shape) for key, layer in layers.items()}
        done = 0
        for batch in self._encoder.batches(texts):
            phrases, is_real = model.phrases_of(batch.tokens, batch.mask)
            whole = mean_of(batch.tokens, batch.mask)
            for key, values in self._network.likeness(whole, phrases, is_real).items():
                found[key][batch.rows] = values
            done += len(batch.rows)
            progress(Progress("definitions", done, len(texts)))
        return found

    def _scores(self, key: str, likeness: Tensor) -> Tensor:
        """Turn likeness, (n, L, C), into scores in standard deviations, (n, C)."""
        layer = self._network.head(key)
        if self._has_background:
            scores = ((likeness - layer.centre) / layer.spread).mean(dim=1)
        else:  # Only the nearest phrases: a whole text is nearest to whatever is written like it
            nearest = likeness[:, model.LIKENESSES // 2 :].mean(dim=1)
            scores = (nearest - nearest.mean(dim=1, keepdim=True)) / TYPICAL_SPREAD
        return scores - UNUSUAL if self.schema.head(key).kind == Kind.CHOICES else scores
