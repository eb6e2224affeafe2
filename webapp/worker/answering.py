"""The model of a version, loaded once: a trained one, or the label definitions before there is one."""

# ruff: noqa: PLC0415

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Protocol

from django.conf import settings

from ml.progress import OnProgress, ignore
from ml.serving import Predictor
from ml.types import Prediction
from webapp.models import CaseText, ModelVersion
from webapp.serving import checked_folder

logger = logging.getLogger(__name__)

BACKGROUND = 64  # Cases that tell the definitions what any text is like
NEUTRAL = "Hello."  # A model that cannot answer this can answer nothing


class Model(Protocol):
    """What answers: a trained model, or the label definitions."""

    def predict(self, texts: Sequence[str], *, progress: OnProgress = ignore) -> list[Prediction]:
        """Predict each text."""


_kept: dict[int, tuple[int, Model]] = {}  # Schema -> the version that answers, and its model; loading takes seconds


def model_of(version: ModelVersion) -> Model:
    """Return the model of a version that has answered once, loaded at most once while it is the one in use."""
    known = _kept.get(version.schema_id)
    if known is None or known[0] != version.pk:
        loaded = _load(version)
        loaded.predict([NEUTRAL])
        known = _kept[version.schema_id] = (version.pk, loaded)
    return known[1]


def _load(version: ModelVersion) -> Model:
    if version.is_trained:
        return Predictor(checked_folder(version))
    from ml import definitions, encoder

    usual = CaseText.objects.filter(case__schema=version.schema_id).order_by("case_id")[:BACKGROUND]
    return definitions.Definitions(
        version.schema_version.parsed,
        encoder.load(settings.ENCODER),
        background=list(usual.values_list("text", flat=True)),
    )
