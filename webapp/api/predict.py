"""What the version in use says of texts that are not stored."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from ninja import Router

from webapp.api.base import ERRORS, Problem, Refused, TokenAuth, caller_of
from webapp.api.cases import schema_named
from webapp.api.schemas import PredictIn, PredictOut
from webapp.models import Scope
from webapp.queries import answers, audits
from webapp.serving import serving

MOST_CHARACTERS = 1_000_000  # Of one request: about a minute of work
MOST_LOOKS = 24  # Words of each head

router = Router(tags=["predict"])


@router.post(
    "/predict", response={200: PredictOut, 404: Problem, 503: Problem, **ERRORS}, auth=TokenAuth(Scope.PREDICT)
)
def predict(request: HttpRequest, body: PredictIn) -> dict[str, Any]:
    """Predict texts with the version in use; nothing of them is kept.

    A process that has not loaded the version yet, or a schema without one, is answered with 503 and the seconds after
    which to ask again. To a person's token nothing is said of a text that people answer blind.
    """
    schema = schema_named(body.schema_name)
    if (length := sum(map(len, body.texts))) > MOST_CHARACTERS:
        raise Refused(413, f"the texts have {length:,} characters; expected at most {MOST_CHARACTERS:,} at once")
    version, model = serving(schema)
    known = model.manifest["heads"]
    if unknown := [key for key in body.heads or [] if key not in known]:
        raise Refused(404, f"{len(unknown)} heads are unknown; {version} answers {', '.join(known)}")
    found = model.read(body.texts, most=MOST_LOOKS if body.explain else 0)
    told = [
        {
            key: answers.head_of(head, probabilities=body.probabilities, words=_words(one.looks.get(key)))
            for key, head in one.prediction.items()
            if body.heads is None or key in body.heads
        }
        for one in found
    ]
    blind = audits.blind(body.texts) if caller_of(request).user is not None else set[str]()
    return {
        "version": str(version),
        "predictions": [{} if text in blind else one for text, one in zip(body.texts, told, strict=True)],
        "familiar": [None if text in blind else one.is_familiar for text, one in zip(body.texts, found, strict=True)],
    }


def _words(looks: list[Any] | None) -> list[tuple[int, int, float]] | None:
    return None if looks is None else [(one.start, one.end, round(one.weight, 4)) for one in looks]
