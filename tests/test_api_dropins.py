"""Standing in for services that programs call already."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test import Client

from ml.policy import FlagKind
from tests import shipped
from tests.calling import call, token
from webapp import checks, serving, worker
from webapp.actions import conversations, intake, schemas, sweeping
from webapp.actions.conversations import Message
from webapp.api import dropins, standin
from webapp.models import Case, CaseState, Feedback, Schema, Scope
from webapp.queries import schemas as in_force

TEXTS = ["a Ship was there", "a Road was there"]
ROAD = "road the road and a road road"
HOME = "127.0.0.1"


@pytest.fixture
def on(helpline: Schema, shipped_folders: Path, settings: Any, sent: Any, monkeypatch: Any) -> None:
    """Both models in use, all services on, and calls from this machine let in."""
    monkeypatch.setattr(worker.answering, "_kept", {})
    shipped.switch_on(settings, shipped_folders)


def post(path: str, body: Any, secret: str | None = None, **headers: str) -> Any:
    return call("POST", path, secret, body, root="", **headers)


def get(path: str, secret: str | None = None) -> Any:
    return call("GET", path, secret, root="")


# --- Who is let in ---------------------------------------------------------------------------------------------------

PATHS = [
    (method, prefix + path)
    for prefix, router in standin.api._routers
    for path, view in router.path_operations.items()
    for operation in view.operations
    for method in operation.methods
    if path != "/health" or prefix
]


@pytest.mark.parametrize(("method", "path"), PATHS, ids=lambda part: part.strip("/"))
def test_each_address_is_closed_unless_it_is_on_and_the_caller_is_known(method, path, helpline, settings) -> None:
    path = path.replace("{path:", "").replace("{slug:kind}", "qa").replace("}", "")
    settings.DROPIN_NETWORKS = ["127.0.0.0/8", "10.0.0.0/8"]
    good = token(Scope.DROPINS)
    assert call(method, path, good, {}, root="").status_code == 404, "off"
    settings.DROPINS = ["classify", "tagger", "helpline"]
    assert call(method, path, None, {}, root="", **{"X-Forwarded-For": HOME}).status_code == 401, "nobody knows whence"
    assert call(method, path, token(Scope.READ), {}, root="").status_code == 403
    assert call(method, path, "wrong", {}, root="").status_code == 401, "a bad token is no way in from a good network"
    assert call(method, path, good, {}, root="").status_code in (200, 404, 422)
    assert call(method, path, None, {}, root="").status_code in (200, 404, 422)
    settings.DROPIN_NETWORKS = ["10.0.0.0/8"]
    assert call(method, path, None, {}, root="").status_code == 401


@pytest.mark.parametrize(
    ("is_behind", "remote", "forwarded", "expected"),
    [
        (False, "10.0.0.7", "", True),
        (False, "10.0.0.7", "10.0.0.8", False),
        (True, "127.0.0.1", "10.0.0.7", True),
        (True, "127.0.0.1", "10.0.0.7, 8.8.8.8", False),
        (True, "10.0.0.7", "", False),
        (False, "", "", False),
    ],
)
def test_an_address_is_believed_only_from_who_knows_it(rf, settings, is_behind, remote, forwarded, expected) -> None:
    settings.BEHIND_PROXY, settings.DROPIN_NETWORKS = is_behind, ["10.0.0.0/8"]
    request = rf.get("/", REMOTE_ADDR=remote, headers={"X-Forwarded-For": forwarded} if forwarded else {})
    assert dropins.is_near(request) == expected


def test_a_setting_that_is_none_is_told_at_start(settings) -> None:
    settings.DROPINS, settings.DROPIN_NETWORKS = ["cheese", "tagger"], ["10.0.0.1/8", "10.0.0.0/8"]
    settings.WEBHOOK_NETWORKS = ["home"]
    assert [found.id for found in checks.dropins_are_known(None)] == ["webapp.E004"]
    found = [(one.id, one.msg.partition(":")[0]) for one in checks.networks_are_networks(None)]
    assert found == [("webapp.E005", "DROPIN_NETWORKS"), ("webapp.E005", "WEBHOOK_NETWORKS")]


# --- The four heads --------------------------------------------------------------------------------------------------


def test_a_narrative_is_stored_answered_and_routed(on) -> None:
    said = post("/classify", {"narrative": TEXTS[0], "include_confidence": True}).json()
    assert (set(said), said["success"]) == ({"success", "classification", "processing_time_seconds"}, True)
    told = said["classification"]
    assert {key: head["label"] for key, head in told.items()} == {
        "main_category": "VANE",
        "sub_category": None,
        "intervention": "Counselling, Referral",
        "priority": 1,
    } or told["sub_category"] is not None
    assert 0 <= told["main_category"]["confidence"] <= 1
    case = Case.objects.get()
    assert (case.source, case.stored_text.text) == ("classify", TEXTS[0])
    assert case.state == CaseState.REVIEW, "urgent"
    assert case.current_prediction.heads["main_category"]["answer"] == "VANE"
    plain = post("/classify", {"narrative": TEXTS[1]}).json()["classification"]
    newest = Case.objects.order_by("pk").last().current_prediction.heads
    assert plain["main_category"] == newest["main_category"]["answer"]
    assert plain["priority"] == int(newest["priority"]["answer"])
    post("/classify", {"narrative": TEXTS[1]})
    assert Case.objects.count() == 3, "one for each call"


def test_a_call_id_that_is_known_with_another_text_is_a_conflict(on) -> None:
    for path, field in (
        ("/classifier/classify", "narrative"),
        ("/ner/extract", "text"),
        ("/qa/evaluate", "transcript"),
    ):
        body = {field: TEXTS[0], "call_id": field}
        assert post(path, body).status_code in (200, 202)
        assert post(path, body).status_code in (200, 202), "the same again"
        taken = post(path, body | {field: TEXTS[1]})
        assert (taken.status_code, taken.json()["detail"]) == (409, "the external id is known with another text")


def test_the_document_says_which_texts_are_answered_and_that_a_taken_id_is_not() -> None:
    described = standin.api.get_openapi_schema(path_prefix="/")
    for name, field in (("OneMessage", "message"), ("Entities", "text"), ("Transcript", "transcript")):
        found = described["components"]["schemas"][name]["properties"][field]
        assert (found["maxLength"], re.search(found["pattern"], " \t\0"), bool(re.search(found["pattern"], " a"))) == (
            200_000, None, True,
        )  # fmt: skip
    assert described["components"]["schemas"]["Transcript"]["properties"]["transcript"]["minLength"] == 10
    assert 409 in described["paths"]["/ner/extract"]["post"]["responses"]
    assert all(404 in one["responses"] for path in described["paths"].values() for one in path.values()), (
        "it may be off"
    )
    (_, days) = described["paths"]["/api/v1/agent-feedback/statistics"]["get"]["parameters"]
    assert (days["schema"]["minimum"], days["schema"]["maximum"]) == (1, 3660)


def test_a_cold_process_stores_nothing_and_an_empty_narrative_is_refused(on) -> None:
    assert post("/classify", {"narrative": " \u0000"}).status_code == 400
    serving.forget()
    cold = post("/classify", {"narrative": TEXTS[0]})
    assert (cold.status_code, cold["Retry-After"], Case.objects.count()) == (503, "2", 0)
    health = get("/health").json()
    assert (health["status"], set(health)) == ("healthy", {"status", "model", "model_loaded"})


# --- The tagger ------------------------------------------------------------------------------------------------------


def test_a_message_is_tagged_with_the_most_probable_first(on) -> None:
    said = post("/classify-message", {"message": TEXTS[0]}).json()
    assert said["threshold"] == 0.4
    assert said["all"][0]["tag"] == "Deal-seeker"
    assert len(said["all"]) == 5
    values = [one["confidence"] for one in said["all"]]
    assert values == sorted(values, reverse=True)
    assert said["selected"] == [one for one in said["all"] if one["confidence"] >= 0.4]


def test_a_conversation_is_tagged_by_its_last_three_messages_and_can_be_forgotten(on) -> None:
    def say(text: str, name: str = "c/1") -> Any:
        return post("/classify-conversation", {"conversation_id": name, "message": text}).json()

    long = "a Ship was there and then we saw one and the ship was the one"
    first = say(long)
    assert (first["conversation_id"], first["conversation_tag"]["tag"], first["switched"]) == (
        "c/1",
        "Deal-seeker",
        False,
    )
    assert first["evidence"][0]["message"] == long[:50] + "..."
    assert first["evidence"][0]["top"]["tag"] == "Deal-seeker"
    later = [say(ROAD) for _ in range(4)]
    assert [one["conversation_tag"]["tag"] for one in later][2:] == ["Hot-buyer"] * 2
    assert sum(one["switched"] for one in later) == 1
    assert [one["message"] for one in later[1]["evidence"]] == [ROAD] * 2
    assert say(TEXTS[0], "another")["switched"] is False
    kept = Case.objects.order_by("pk").values_list("conversation__external_id", flat=True)
    assert list(kept) == ["c/1"] * 5 + ["another"]
    gone = call("DELETE", "/conversation/c/1", None, root="")
    assert gone.json() == {"message": "the conversation was cleared"}
    assert say(TEXTS[0])["switched"] is False
    assert call("DELETE", "/conversation/nobody", None, root="").json() == {"message": "there was no such conversation"}


def test_of_messages_that_come_at_once_none_is_lost(db) -> None:
    tags = {"a": 0.9, "b": 0.1}

    def add(number: int) -> list[int]:
        return [one.case for one in conversations.add("s", "crowd", Message(number, tags), threshold=0.4)[2]]

    with ThreadPoolExecutor(8) as pool:
        seen = list(pool.map(add, range(200)))
    assert all(window[-1] == number for number, window in enumerate(seen)), "each sees itself as the newest"
    assert sorted(len(window) for window in seen)[:3] == [1, 2, 3]
    assert conversations.forget("s", "crowd")


# --- The deployment --------------------------------------------------------------------------------------------------


def ask_and_work(path: str, body: Any) -> tuple[Any, Any]:
    queued = post(path, body)
    before = get(queued.json()["status_endpoint"]).json()
    assert (before["status"], before["result"], before["task_id"]) == ("pending", None, queued.json()["task_id"])
    worker.predict_cases(Schema.objects.get(name="helpline").pk)
    return queued, get(queued.json()["status_endpoint"]).json()


def test_a_call_is_queued_and_classified_by_a_worker(on) -> None:
    queued, done = ask_and_work("/classifier/classify", {"narrative": TEXTS[0], "threshold": 0.5})
    assert queued.status_code == 202
    assert set(queued.json()) == {"task_id", "status", "message", "estimated_time", "status_endpoint"}
    assert (queued.json()["status"], done["status"], done["error"]) == ("queued", "success", None)
    result = done["result"]
    assert (result["main_category"], result["priority"], result["chunks_processed"]) == ("VANE", "1", 1)
    assert result["chunk_predictions"][0]["main_category"] == "VANE"
    assert {"confidence_scores", "processing_time", "model_info", "timestamp", "sub_category"} <= set(result)
    assert post("/classifier/classify", {"narrative": "  "}).status_code == 400
    assert get("/classifier/info").json()["model_info"]["version"] == "helpline version 1"
    task = queued.json()["task_id"]
    assert get(f"/ner/task/{task}").status_code == 404, "a task of another kind"
    assert get(f"/classifier/task/{task}", token(Scope.DROPINS, name="another")).status_code == 404
    assert get("/classifier/task/x").status_code == 404
    assert get("/cheese/info").status_code == 404


def test_entities_are_told_flat_or_by_label(on) -> None:
    queued, done = ask_and_work("/ner/extract", {"text": TEXTS[0]})
    assert queued.status_code == 202
    (found,) = [one for one in done["result"]["entities"] if one["text"] == "Ship"]
    assert (found["label"], found["start"], found["end"], set(found)) == (
        "NAME", 2, 6, {"text", "label", "start", "end", "confidence"},
    )  # fmt: skip
    _, grouped = ask_and_work("/ner/extract", {"text": TEXTS[0], "flat": False})
    assert grouped["result"]["entities"]["NAME"] == ["Ship"]


def test_a_call_is_rated_by_group(on) -> None:
    queued, done = ask_and_work("/qa/evaluate", {"transcript": TEXTS[0], "threshold": 0.0})
    assert (queued.status_code, queued.json()["status"]) == (200, "queued")
    groups = done["result"]["evaluations"]
    assert list(groups)[:3] == ["opening", "listening", "proactiveness"]
    (one,) = groups["opening"]
    assert (one["submetric"], 0 <= one["probability"] <= 1) == ("Uses the opening phrase", True)
    marks = [mark for group in groups.values() for mark in group]
    assert len(marks) == 17
    assert {(mark["prediction"], mark["score"]) for mark in marks} <= {(True, "✓"), (False, "n/a")}, "none is below 0"
    assert post("/qa/evaluate", {"transcript": "short"}).status_code == 422


def test_a_guess_from_the_definitions_is_no_result(helpline, settings, sent) -> None:
    settings.DROPINS, settings.DROPIN_NETWORKS = ["helpline"], ["127.0.0.0/8"]
    queued = post("/classifier/classify", {"narrative": TEXTS[0]}).json()
    from ml.types import HeadPrediction
    from webapp.actions import predictions

    guess = {"main_category": HeadPrediction("VANE", None, {"VANE": 1.0})}
    predictions.store(in_force.answering_version(helpline), [Case.objects.get()], [guess])
    done = get(queued["status_endpoint"]).json()
    assert (done["status"], done["result"]) == ("failed", None)
    assert done["error"] == "no trained version is in use yet; people see the case"


# --- Ratings ---------------------------------------------------------------------------------------------------------

RATE = "/api/v1/agent-feedback"


def rate(call_id: str, rating: int, **more: Any) -> Any:
    return post(f"{RATE}/update", {"call_id": call_id, "task": "classification", "feedback": rating, **more})


def test_a_low_rating_flags_the_case_and_a_high_one_does_not(on, helpline) -> None:
    post("/classifier/classify", {"narrative": TEXTS[1], "call_id": "17.4"})
    worker.predict_cases(helpline.pk)
    case = Case.objects.get()
    told = rate("17.4", 4, reason="fine").json()
    said = case.current_prediction.heads["main_category"]["answer"]
    assert (told["call_id"], told["feedback"], told["prediction"]["main_category"]) == ("17.4", 4, said)
    low = case.flags.filter(kind=FlagKind.LOW_RATING, resolved_at=None)
    assert not low.exists()
    assert rate("17.4", 2).status_code == 200
    case.refresh_from_db()
    assert (low.get().facts, case.state) == ({"by": "agent", "task": "classification", "rating": 2}, CaseState.REVIEW)
    assert Feedback.objects.get().rating == 2
    (one,) = get(f"{RATE}/call/17.4").json()
    assert (one["feedback"], one["reason"]) == (2, None)
    assert get(f"{RATE}/call/unknown").status_code == 404
    assert get(f"{RATE}/statistics?days=30").json()["tasks"]["classification"] == {
        "total_predictions": 1, "rated_predictions": 1, "rating_coverage": 1.0,
        "average_rating": 2.0, "min_rating": 2, "max_rating": 2,
    }  # fmt: skip
    assert get(f"{RATE}/health").json()["status"] == "healthy"
    assert rate("17.4", 6).status_code == 422
    assert get(f"{RATE}/statistics?days=0").status_code == 422


def test_a_rating_waits_for_its_case(on, helpline) -> None:
    assert rate("18", 1).json()["prediction"] is None
    post("/classifier/classify", {"narrative": TEXTS[1], "call_id": "18"})
    case = Case.objects.get()
    assert (case.state, case.flags.get().kind) == (CaseState.REVIEW, FlagKind.LOW_RATING)
    worker.predict_cases(helpline.pk)
    case.refresh_from_db()
    assert case.state == CaseState.REVIEW, "no prediction takes it away from people"


def test_a_rating_that_came_at_the_very_moment_of_its_case_is_found_by_the_sweep(on, helpline) -> None:
    intake.receive(helpline, [{"id": "19", "text": "a"}], source="helpline", by=None)
    Feedback.objects.create(source="helpline", external_id="19", task="qa", rating=1)
    sweeping.sweep()
    assert Case.objects.get().flags.get().facts["task"] == "qa"


def test_a_body_that_is_no_json_or_too_large_is_refused_and_no_cookie_is_needed(on) -> None:
    assert post("/classify", "{").status_code == 400
    assert post("/classify", {"narrative": "x" * 200_001}).status_code == 400
    assert Client(enforce_csrf_checks=True).post("/classify", {}, content_type="application/json").status_code == 422


@pytest.mark.django_db(transaction=True)
def test_schemas_of_the_services_are_shipped() -> None:
    schemas.register_shipped()
    assert {dropins.schema_of(name).name for name in dropins.SCHEMAS} == {"helpline", "customer"}
    connection.close()
