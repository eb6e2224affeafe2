"""Whatever is sent to the API, it answers as its documents say."""

from __future__ import annotations

import os
import sys
from typing import Any

import pytest
from django.core.servers.basehttp import WSGIRequestHandler
from django.db import connections

from tests import fuzzing, shipped
from tests.calling import call, token
from webapp import worker
from webapp.actions import schemas
from webapp.api import standin, v1
from webapp.models import Case, Schema

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "50"))  # Of what is declared as right; 400 more try edges
MANY = 5_000
DECLARED = {200, 202, 400, 401, 404, 405, 409, 413, 422}
TEXTS = ["a Ship was there", "a Road was there"]
QUEUED = {"/classifier/classify": "narrative", "/ner/extract": "text", "/qa/evaluate": "transcript"}
pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def secret(shipped_folders: Any, settings: Any, sent: Any, monkeypatch: Any) -> str:
    """A token that opens everything, with models of both schemas in use."""
    monkeypatch.setattr(worker.answering, "_kept", {})
    monkeypatch.setattr(WSGIRequestHandler, "disable_nagle_algorithm", True)  # Or each answer takes 40 ms
    monkeypatch.setitem(connections.settings["default"], "CONN_MAX_AGE", 0)  # Threads of the server outlive the test
    settings.API_REQUESTS_PER_MINUTE = 10**9
    schemas.register_shipped()
    shipped.switch_on(settings, shipped_folders)
    settings.DROPIN_NETWORKS = []  # From there no token is needed, and one that is wrong would be no fault
    return token(name="fuzz")


@pytest.fixture
def known(secret: str) -> fuzzing.Known:
    """What exists: cases of the token, some predicted and some not, and all that can be named of them."""
    cases = [{"external_id": f"e-{n}", "text": text, "conversation": "c"} for n, text in enumerate(TEXTS)]
    call("POST", "/cases", secret, {"schema": "helpline", "cases": cases})
    worker.predict_cases(Schema.objects.get(name="helpline").pk)
    tasks = {
        f"{path.rsplit('/', 1)[0]}/task/{{task}} task": [
            call("POST", path, secret, {field: text, "call_id": f"{field}-{n}"}, root="").json()["task_id"]
            for n, text in enumerate(TEXTS)
        ]
        for path, field in QUEUED.items()
    }
    said = {"conversation_id": "talk", "message": TEXTS[0]}
    call("POST", "/classify-conversation", secret, said, root="")
    rating = {"call_id": "narrative-0", "task": "qa", "feedback": 1}
    call("POST", "/api/v1/agent-feedback/update", secret, rating, root="")
    made = Case.objects.order_by("pk")
    ids, named = list(made.values_list("pk", flat=True)), list(made.values_list("external_id", flat=True))
    return tasks | {
        "schema": ["helpline", "customer"],
        "pk": ids,
        "id": ids,
        "external_id": named,
        "external_ids": [named],
        "call_id": ["narrative-0"],
        "conversation": ["c", "talk"],
        "conversation_id": ["talk"],
        "/conversation/{name} name": ["talk"],
        "kind": ["classifier", "ner", "qa"],
        "heads": [None, []],
        "labels": [{"priority": "1"}, {"main_category": "VANE", "intervention": ["Referral"]}],
        "cases": [cases, [{"text": TEXTS[0]}], [{"text": ""}, *cases]],
        "words": ["ship"],
    }


@pytest.mark.parametrize(("api", "prefix"), [(v1.api, "/api/v1/"), (standin.api, "/")], ids=["our own", "the services"])
def test_everything_is_answered_as_declared(api: Any, prefix: str, secret: str, known: Any, live_server: Any) -> None:
    # The services took "5" for 5, and so do we where we stand in for them
    found = fuzzing.fuzz(
        api, live_server.url, secret, known, examples=EXAMPLES, prefix=prefix, lenient=api is standin.api
    )
    sys.stderr.write(f"{found.examples:,} calls, {found.share_accepted:.0%} of them answered 2xx\n")
    sys.stderr.writelines(f"{place}\n{fault}\n" for place, fault in found.faults.items())  # A long run tells at once
    assert not found.faults
    assert set(found.statuses) <= DECLARED
    assert found.examples >= EXAMPLES
    assert found.share_accepted > (0.5 if EXAMPLES >= MANY else 0.2)  # A short run is mostly of what is refused
