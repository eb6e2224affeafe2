"""Standing in for the service of the four heads."""

from __future__ import annotations

import time
from typing import Any

from django.http import HttpRequest
from ninja import Router

from ml.types import HeadPrediction
from webapp.actions import answering
from webapp.api.base import Problem
from webapp.api.dropins import CLASSIFY, REFUSALS, Call, DropinAuth, Text, client_of, schema_of

HEADS = ("main_category", "sub_category", "intervention", "priority")
router = Router(tags=["classify"])


class Narrative(Call):
    """A call to classify."""

    narrative: Text
    include_confidence: bool = False


@router.post("/classify", response={200: dict[str, Any], 503: Problem, **REFUSALS}, auth=DropinAuth(CLASSIFY))
def classify(request: HttpRequest, body: Narrative) -> dict[str, Any]:
    """Store a case and answer its four heads."""
    begun, client = time.monotonic(), client_of(request)
    _, _, said = answering.answer(schema_of(CLASSIFY), body.narrative, source=client.source, by=client.token)
    told = {key: _told(key, said.get(key), with_confidence=body.include_confidence) for key in HEADS}
    seconds = round(time.monotonic() - begun, 4)
    return {"success": True, "classification": told, "processing_time_seconds": seconds}


def label_of(said: HeadPrediction | None) -> str | None:
    """Return an answer as one text: labels of a set are separated by commas."""
    if said is None:
        return None
    return ", ".join(map(str, said.answer)) if isinstance(said.answer, list) else str(said.answer)


def _told(key: str, said: HeadPrediction | None, *, with_confidence: bool) -> Any:
    label: str | int | None = label_of(said)
    if key == "priority" and label is not None:
        label = int(label)
    return {"label": label, "confidence": said and said.confidence} if with_confidence else label
