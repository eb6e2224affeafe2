"""Storing a case and answering it at once, in the web process, as workers do later for the others."""

from __future__ import annotations

from ml import types
from ml.sketches import sketch
from webapp.actions import intake, predictions, sketches
from webapp.errors import NotStorable, Taken
from webapp.models import Case, CaseText, ModelVersion, Schema, Token
from webapp.serving import serving

MOST_LOOKS = 24  # Words that each head looked at, kept with what it answered


def answer(
    schema: Schema, text: str, *, source: str, by: Token | None, external_id: str = "", conversation: str = ""
) -> tuple[Case, ModelVersion, types.Prediction]:
    """Create a case, predict it by the version in use and route it.

    Raises:
        NotServed: no version can answer yet; nothing is stored then.
        NotStorable: the text cannot be a case.
    """
    version, model = serving(schema)
    case = store(
        schema, text, source=source, by=by, external_id=external_id, conversation=conversation, is_predicted=True
    )
    (reading,) = model.read([text_of(case)], most=MOST_LOOKS)
    predictions.store(version, [case], [reading.prediction], looks=[reading.looks], familiar=[reading.is_familiar])
    sketches.store({case.pk: sketch(reading.vector)}, encoder=model.encoder_hash)
    return case, version, reading.prediction


def store(
    schema: Schema,
    text: str,
    *,
    source: str,
    by: Token | None,
    external_id: str = "",
    conversation: str = "",
    is_predicted: bool = False,
) -> Case:
    """Create a case, or return the one with that external id and text.

    Raises:
        NotStorable: the text cannot be a case.
        Taken: the external id is known with another text.
    """
    item = {"id": external_id, "text": text, "conversation": conversation}
    (received,) = intake.receive(schema, [item], source=source, by=by, is_predicted=is_predicted)
    if received.case is None:
        raise (Taken if received.is_taken else NotStorable)("; ".join(received.problems))
    return received.case


def text_of(case: Case) -> str:
    """Return the text of a case as it is stored."""
    return CaseText.objects.get(case=case).text
