"""Predicting what waits: cases, questions of other projects, and sketches of labelled cases."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace

from ml.serving import Predictor, Reading
from ml.sketches import sketch
from ml.types import Prediction
from webapp import faults, tasks
from webapp.actions import predictions, sketches
from webapp.models import Case, ModelVersion, Question, Schema
from webapp.queries import pending, schemas
from webapp.worker.answering import NEUTRAL, Model, model_of

logger = logging.getLogger(__name__)

BATCH = 64  # Cases between two commits
BATCH_CHARACTERS = 200_000  # In all, unless one case alone has more; memory and time grow with them
MOST_LOOKS = 24  # Words that each head looked at, kept with what it answered
MOST_BATCHES = 4  # Of one turn; then other short work has its turn before it goes on


def predict_cases(schema_id: int) -> None:
    """Predict what waits, batch by batch, each by the version that is in use when the batch begins.

    A version is loaded, and has answered once, before cases are claimed: one that is broken, or kills its worker, must
    not use up their attempts.
    """
    row = Schema.objects.get(pk=schema_id)
    for _ in range(MOST_BATCHES):
        if not pending.free_cases(row).exists():
            break
        version = schemas.answering_version(row)
        model = model_of(version)
        cases = predictions.claim(row, BATCH, most_characters=BATCH_CHARACTERS)
        if not cases:
            break
        faults.point("cases-claimed")
        _predict(version, model, cases)
        faults.point("predictions-stored")
    else:
        tasks.predict_cases.delay(schema_id)
        return
    if _sketch_labelled(row):
        tasks.predict_cases.delay(schema_id)


def _predict(version: ModelVersion, model: Model, cases: Sequence[Case]) -> None:
    """Predict and store a batch; where that fails, case by case, so that one keeps no other from its answer."""
    try:
        found = _answer(model, cases)
    except Exception as exc:
        failure = exc
    else:
        _store(version, model, cases, found)
        return
    failed = list(cases) if len(cases) == 1 else _predict_each(version, model, cases)
    if failed and _answers(model):
        predictions.fail(failed)
    else:  # The model is broken, or there is no memory; the cases are not to blame
        predictions.give_back(failed)
    if len(failed) == len(cases):
        raise failure


def _predict_each(version: ModelVersion, model: Model, cases: Sequence[Case]) -> list[Case]:
    """Predict and store cases one by one; return those that failed."""
    failed = []
    for number, case in enumerate(cases):
        predictions.keep(cases[number:])
        try:
            found = _answer(model, [case])
        except Exception as exc:  # Only the kind is told: the message of a foreign error may quote a text
            logger.warning("case could not be predicted", extra={"case": case.pk, "error": type(exc).__name__})
            failed.append(case)
        else:
            _store(version, model, [case], found)
    return failed


def _answers(model: Model) -> bool:
    try:
        model.predict([NEUTRAL])
    except Exception:
        return False
    return True


def _answer(model: Model, cases: Sequence[Case]) -> list[Prediction] | list[Reading]:
    """Predict cases; a model that can also tells which words it looked at, and the vectors of the texts."""
    texts = [case.stored_text.text for case in cases]
    return model.read(texts, most=MOST_LOOKS) if isinstance(model, Predictor) else model.predict(texts)


def _store(
    version: ModelVersion, model: Model, cases: Sequence[Case], found: Sequence[Prediction] | Sequence[Reading]
) -> None:
    said = [one.prediction if isinstance(one, Reading) else one for one in found]
    looks = [one.looks if isinstance(one, Reading) else {} for one in found]
    familiar = [one.is_familiar if isinstance(one, Reading) else True for one in found]
    try:
        predictions.store(version, cases, said, looks=looks, familiar=familiar)
        if isinstance(model, Predictor):
            _store_sketches(model, cases, found)
    except Exception:
        predictions.give_back(cases)
        raise


def answer(question_id: int) -> None:
    """Say of the texts of a question what the version in use says; nothing if nobody waits for it any more."""
    question = Question.objects.select_related("schema").filter(pk=question_id, predictions__isnull=True).first()
    if question is None:
        return
    waiting = Question.objects.filter(pk=question_id)
    try:
        version = schemas.answering_version(question.schema)
        model, texts = model_of(version), question.texts
        found = [said for at in range(0, len(texts), BATCH) for said in _said(model, texts[at : at + BATCH])]
    except Exception as exc:  # Only the kind is told: the message of a foreign error may quote a text
        waiting.update(failure=f"{type(exc).__name__} while predicting; the log of the worker says where.")
        raise
    heads = [{key: head.as_json() for key, head in said.items()} for said in found]
    waiting.update(predictions=heads, version=version)


def _said(model: Model, texts: Sequence[str]) -> list[Prediction]:
    """Predict texts; what is unlike all that was learnt from has answers without a confidence."""
    if not isinstance(model, Predictor):
        return model.predict(texts)
    return [
        one.prediction
        if one.is_familiar
        else {key: replace(head, confidence=None) for key, head in one.prediction.items()}
        for one in model.read(texts, most=0)
    ]


def _store_sketches(model: Predictor, cases: Sequence[Case], found: Iterable[Prediction | Reading]) -> None:
    read = zip(cases, found, strict=True)
    bits = {case.pk: sketch(one.vector) for case, one in read if isinstance(one, Reading)}
    sketches.store(bits, encoder=model.encoder_hash)


def _sketch_labelled(schema: Schema) -> bool:
    """Sketch some labelled cases that another encoder read last, or none; tell whether there were any.

    Decided cases are not predicted again, and yet are what others are compared with.
    """
    version = schemas.answering_version(schema)
    model = model_of(version) if version.is_trained else None
    if not isinstance(model, Predictor):
        return False
    wanting = list(sketches.wanting(schema, encoder=model.encoder_hash)[:BATCH])
    cases = predictions.at_most(wanting, BATCH_CHARACTERS)
    try:
        found = _answer(model, cases)
    except Exception:  # One keeps no other from its sketch
        for case in cases:
            _sketch(model, case)
    else:
        _store_sketches(model, cases, found)
    return bool(cases)


def _sketch(model: Predictor, case: Case) -> None:
    """Sketch a case, or keep that this encoder cannot, so that it is not tried for ever."""
    try:
        found = _answer(model, [case])
    except Exception as exc:  # Only the kind is told: the message of a foreign error may quote a text
        if not _answers(model):
            raise  # The model is broken, or there is no memory; the case is not to blame
        logger.warning("case could not be sketched", extra={"case": case.pk, "error": type(exc).__name__})
        sketches.store({case.pk: None}, encoder=model.encoder_hash)
    else:
        _store_sketches(model, [case], found)
