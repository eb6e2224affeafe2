"""Standing in for the deployment that helplines run: calls are queued, and asked for until a worker has answered."""

from __future__ import annotations

from typing import Any

from django.core import signing
from django.http import Http404, HttpRequest
from ninja import Router, Status
from pydantic import Field

from ml.schema import Head, Kind
from ml.types import HeadPrediction, spans_of
from webapp.actions import answering
from webapp.api.dropins import HELPLINE, REFUSALS, STORING, Call, Client, DropinAuth, Text, client_of, schema_of
from webapp.api.four_heads import HEADS, label_of
from webapp.casefiles.columns import LONGEST
from webapp.models import Case, Prediction
from webapp.queries import pending, schemas

NEEDED = {"classifier": ("main_category",), "ner": ("entities",), "qa": ("call_quality",)}
ESTIMATED = "10-30 seconds"
MARKS = {True: "✓", False: "✗", None: "n/a"}
QUEUED: dict[Any, Any] = {202: dict[str, Any], **STORING}
TASK: dict[Any, Any] = {200: dict[str, Any], **REFUSALS}

router = Router(tags=["helpline"])
auth = DropinAuth(HELPLINE)


class CallId(Call):
    """A request that may name the call, and so the case."""

    call_id: str = Field("", max_length=LONGEST["id"])


class Narrative(CallId):
    """A call to classify."""

    narrative: Text


class Entities(CallId):
    """A text whose entities are asked for."""

    text: Text
    flat: bool = True


class Transcript(CallId):
    """A call whose handling is rated."""

    transcript: Text = Field(min_length=10)
    threshold: float | None = Field(None, ge=0, le=1)
    return_raw: bool = False  # Probabilities always stand in the answer


@router.post("/classifier/classify", response=QUEUED, auth=auth)
def classify(request: HttpRequest, body: Narrative) -> Any:
    """Store a case; a worker classifies it."""
    return Status(202, _queued(client_of(request), "classifier", body.narrative, body.call_id))


@router.post("/ner/extract", response=QUEUED, auth=auth)
def extract(request: HttpRequest, body: Entities) -> Any:
    """Store a case; a worker finds its entities."""
    return Status(202, _queued(client_of(request), "ner", body.text, body.call_id, flat=body.flat))


@router.post("/qa/evaluate", response={200: dict[str, Any], **STORING}, auth=auth)
def evaluate(request: HttpRequest, body: Transcript) -> Any:
    """Store a case; a worker rates how the call was handled."""
    return _queued(client_of(request), "qa", body.transcript, body.call_id, threshold=body.threshold)


@router.get("/classifier/task/{path:task}", response=TASK, auth=auth)
def classifier_task(request: HttpRequest, task: str) -> dict[str, Any]:
    """Tell how a call is classified, once it is."""
    return _task(client_of(request), "classifier", task)


@router.get("/ner/task/{path:task}", response=TASK, auth=auth)
def ner_task(request: HttpRequest, task: str) -> dict[str, Any]:
    """Tell the entities, once they are found."""
    return _task(client_of(request), "ner", task)


@router.get("/qa/task/{path:task}", response=TASK, auth=auth)
def qa_task(request: HttpRequest, task: str) -> dict[str, Any]:
    """Tell how the call was handled, once that is rated."""
    return _task(client_of(request), "qa", task)


@router.get("/{slug:kind}/info", response=TASK, auth=auth)
def info(request: HttpRequest, kind: str) -> dict[str, Any]:
    """Tell which version answers."""
    if kind not in NEEDED:
        raise Http404
    version = schemas.champion(schema_of(HELPLINE))
    if version is None:
        return {"status": "not_ready", "message": "no trained version is in use yet", "model_info": {}}
    return {"status": "ready", "message": "workers answer", "model_info": _model(kind, str(version))}


def _queued(client: Client, kind: str, text: str, call_id: str, **options: Any) -> dict[str, Any]:
    case = answering.store(schema_of(HELPLINE), text, source=client.source, by=client.token, external_id=call_id)
    task = signing.dumps({"case": case.pk, **options}, salt=f"caseloop-{kind}")
    return {
        "task_id": task,
        "status": "queued",
        "message": f"Queued. Check status at /{kind}/task/{{task_id}}",
        "estimated_time": ESTIMATED,
        "status_endpoint": f"/{kind}/task/{task}",
    }


def _task(client: Client, kind: str, task: str) -> dict[str, Any]:
    """Return how far a task is.

    Raises:
        Http404: there is none, or it is another client's; the answer does not tell which.
    """
    try:
        options = signing.loads(task, salt=f"caseloop-{kind}")
    except signing.BadSignature as exc:
        raise Http404 from exc
    cases = Case.objects.select_related("current_prediction__version__schema_version", "stored_text")
    case = cases.filter(pk=options["case"], source=client.source, stored_text__isnull=False).first()
    if case is None:
        raise Http404
    answer = {"task_id": task, "status": "success", "result": None, "error": None, "progress": None}
    said = case.current_prediction
    if said is None and case.predicting_attempts < pending.MOST_ATTEMPTS:
        return answer | {"status": "pending", "progress": {"message": "Task is queued"}}
    if reason := _why_unanswered(kind, said):
        return answer | {"status": "failed", "error": f"{reason}; people see the case"}
    assert said is not None  # noqa: S101 - one that is missing has a reason
    heads = {key: HeadPrediction.from_json(found) for key, found in said.heads.items()}
    shared = {
        "processing_time": round((said.created_at - case.received_at).total_seconds(), 3),
        "model_info": _model(kind, str(said.version)),
        "timestamp": said.created_at.isoformat(),
    }
    return answer | {"result": RESULTS[kind](case, heads, options) | shared}


def _why_unanswered(kind: str, said: Prediction | None) -> str:
    """Say why there is nothing to tell of a case; the empty text if there is. Guesses from definitions are not told."""
    if said is None:
        return "no version could answer"
    if not said.version.is_trained:
        return "no trained version is in use yet"
    missing = [key for key in NEEDED[kind] if key not in said.heads]
    return f"{said.version} does not answer {', '.join(missing)}" if missing else ""


def _classified(case: Case, heads: dict[str, HeadPrediction], options: dict[str, Any]) -> dict[str, Any]:
    labels: dict[str, Any] = {key: label_of(heads.get(key)) for key in HEADS}
    scores = {key: heads[key].confidence if key in heads else None for key in HEADS}
    chunk = labels | {"chunk_index": 0, "position_ratio": 0.0, "confidence_scores": scores}  # Texts are read as a whole
    return labels | {"confidence_scores": scores, "chunks_processed": 1, "chunk_predictions": [chunk]}


def _entities(case: Case, heads: dict[str, HeadPrediction], options: dict[str, Any]) -> dict[str, Any]:
    text = case.stored_text.text
    found = [
        {
            "text": text[span["start"] : span["end"]],
            "label": span["label"],
            "start": span["start"],
            "end": span["end"],
            "confidence": span.get("confidence"),
        }
        for span in spans_of(heads["entities"].answer)
    ]
    if options.get("flat", True):
        return {"entities": found}
    labels = sorted({str(one["label"]) for one in found})
    return {"entities": {label: [one["text"] for one in found if one["label"] == label] for label in labels}}


def _rated(case: Case, heads: dict[str, HeadPrediction], options: dict[str, Any]) -> dict[str, Any]:
    (rubric,) = schemas.newest_version(case.schema).parsed.of_kind(Kind.RUBRIC)
    return {"evaluations": _evaluations(rubric, heads[rubric.key], options.get("threshold"))}


def _evaluations(rubric: Head, said: HeadPrediction, threshold: float | None) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    marks: Any = said.answer
    for group in rubric.groups:
        found[group.key] = []
        for one in group.criteria:
            probability = (said.probabilities or {}).get(f"{group.key}.{one.key}")
            mark = marks.get(group.key, {}).get(one.key)
            if mark is not None and threshold is not None and probability is not None:
                mark = probability >= threshold
            found[group.key].append(
                {"submetric": one.name, "prediction": bool(mark), "score": MARKS[mark], "probability": probability}
            )
    return found


def _model(kind: str, version: str) -> dict[str, Any]:
    return {"model_type": kind, "version": f"helpline {version}", "loaded": True}


RESULTS = {"classifier": _classified, "ner": _entities, "qa": _rated}
