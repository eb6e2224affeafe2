"""Predicting with a model folder, through torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from ml import calibration, registry
from ml.registry import LoadedModel
from ml.schema import Schema
from ml.training import OnProgress, Progress, TrainedModel
from ml.types import Prediction


class Predictor:
    """A loaded model. Loading takes a second or two, so keep one."""

    def __init__(self, folder: str | Path) -> None:
        """Load a model folder; the errors are those of `registry.load`."""
        self._model: LoadedModel | TrainedModel = registry.load(folder)

    @classmethod
    def of(cls, trained: TrainedModel) -> Predictor:
        """Predict with a model that was just trained, before it is saved."""
        predictor = cls.__new__(cls)
        predictor._model = trained
        return predictor

    @property
    def schema(self) -> Schema:
        """The schema that the model was trained for."""
        return self._model.schema

    def predict(self, texts: Sequence[str], *, progress: OnProgress | None = None) -> list[Prediction]:
        """Predict the trained heads of each text, in schema order.

        Args:
            texts: words of cases, in any order; they are encoded in batches of similar length.
            progress: called after each batch; what it raises ends the prediction.
        """
        model = self._model
        keys = model.network.keys
        logits = {key: torch.zeros(len(texts), len(model.schema.head(key).labels)) for key in keys}
        done = 0
        for batch in model.encoder.batches(texts):
            with torch.inference_mode():
                scores = model.network.score(batch.tokens, batch.mask)
            for key in keys:
                logits[key][batch.rows] = scores[key][0]
            done += len(batch.rows)
            if progress is not None:
                progress(Progress("predict", done, len(texts)))
        if not len(texts):
            return []
        arrays = {key: values.double().numpy() for key, values in logits.items()}
        return calibration.predictions(model.schema, arrays, model.calibration)
