"""Predictions asked for without a pause while an admin rolls back: what fails, and how long does the old one answer?"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.stack import Stack

AT_MOST = 10.0  # Seconds until the last old answer
CALLERS = 2  # As many as there are web processes
PATIENCE_SECONDS = 600.0  # The worker first predicts again what is of more harm
BEFORE_SECONDS, AFTER_SECONDS = 3.0, 15.0
TEXT = "A neighbour leaves her baby alone at night, and it is hungry."


@dataclass
class Asking:
    """What callers were told, and when."""

    answers: list[tuple[float, str]] = field(default_factory=list)  # Seconds as of `time.monotonic`, and the version
    failures: list[str] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)


def measure(stack: Stack, numbers: Sequence[int], *, by: str) -> dict[str, Any]:
    """Roll back from the second of two versions to the first, under load from web processes and the worker.

    Returns:
        `asked` and `failed`, of the predictions over the API; `seconds_to_last_old_answer` of the web processes, and
        `worker_seconds`, until the worker has answered a new case; the first from when the ledger has the row.
    """
    token = stack.manage("create_token", "rollback", "--scopes", "predict,cases:write").split()[-1]
    headers = {"Authorization": f"Bearer {token}"}
    asking = Asking()
    stack.wait_for("the API to answer", lambda: _is_loaded(stack.url, headers, numbers[1]))
    callers = [threading.Thread(target=_ask, args=(stack.url, headers, asking), daemon=True) for _ in range(CALLERS)]
    for caller in callers:
        caller.start()
    time.sleep(BEFORE_SECONDS)
    stack.manage("roll_back", "helpline", "--by", by, "--reason", "measured")
    # The command ends seconds after its row is there
    moment = stack.rows(
        "select extract(epoch from now() - promoted_at) as ago from webapp_promotion order by id desc limit 1"
    )
    rolled_back = time.monotonic() - float(moment[0]["ago"])
    with httpx.Client(base_url=stack.url, headers=headers, timeout=60) as http:
        sent = time.monotonic()
        made = http.post(
            "/api/v1/cases", json={"schema": "helpline", "cases": [{"external_id": "rollback", "text": TEXT}]}
        )
        assert [one["status"] for one in made.json()["results"]] == ["created"]
        while not (said := _said(stack)):
            assert time.monotonic() < sent + PATIENCE_SECONDS, "expected an answer of the worker"
            time.sleep(0.5)
        worker_seconds, by_worker = time.monotonic() - sent, said[0]["number"]
    time.sleep(max(0.0, rolled_back + AFTER_SECONDS - time.monotonic()))
    asking.over.set()
    for caller in callers:
        caller.join()
    old = [at for at, version in asking.answers if _number(version) == numbers[1]]
    assert by_worker == numbers[0], f"expected version {numbers[0]} from the worker, found {by_worker}"
    assert {_number(version) for _, version in asking.answers} == set(numbers)
    return {
        "asked": len(asking.answers) + len(asking.failures),
        "failed": len(asking.failures),
        "failures": dict(Counter(asking.failures)),
        "seconds_to_last_old_answer": round(max(0.0, max(old) - rolled_back), 2),
        "worker_seconds": round(worker_seconds, 2),
    }


def _ask(url: str, headers: dict[str, str], asking: Asking) -> None:
    with httpx.Client(base_url=url, headers=headers, timeout=60) as http:
        while not asking.over.is_set():
            try:
                answer = http.post("/api/v1/predict", json={"schema": "helpline", "texts": [TEXT]})
                answer.raise_for_status()
            except httpx.HTTPStatusError as exc:
                asking.failures.append(f"status {exc.response.status_code}")
            except httpx.HTTPError as exc:
                asking.failures.append(type(exc).__name__)
            else:
                asking.answers.append((time.monotonic(), answer.json()["version"]))


def _is_loaded(url: str, headers: dict[str, str], number: int) -> bool:
    """Whether every web process answers by a version; which of them is asked is drawn by lot for each connection."""
    for _ in range(20):
        asked = {"schema": "helpline", "texts": [TEXT]}
        answer = httpx.post(f"{url}/api/v1/predict", json=asked, headers=headers, timeout=60)
        if answer.status_code != httpx.codes.OK or _number(answer.json()["version"]) != number:
            return False
    return True


def _said(stack: Stack) -> list[dict[str, Any]]:
    return stack.rows(
        "select v.number from webapp_case c join webapp_prediction p on p.id = c.current_prediction_id "
        "join webapp_modelversion v on v.id = p.version_id where c.external_id = 'rollback'"
    )


def _number(version: str) -> int:
    return int(version.rsplit(maxsplit=1)[-1])
