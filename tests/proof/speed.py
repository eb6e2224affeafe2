"""How fast cases reach Label Studio and annotations come back, and how late where no webhook tells of them."""

from __future__ import annotations

import random
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from annotate import payloads
from tests.engines import NOBODY_LISTENS
from tests.proof import outages
from tests.proof.annotators import HELPLINE, answers
from tests.stack import Stack
from webapp.engines.folders import REPOSITORY

HANDS = 8  # Who hand in annotations at once: as many as Label Studio has threads
BLOCKED = 20  # Annotations that no webhook tells of
BLOCKED_AT_MOST = 30  # Seconds until such a one is in our database


def measure(stack: Stack, file: Path) -> dict[str, Any]:
    """Bring the cases of a file in and an annotation of each back, with nobody else at work."""
    outages.stop(stack, outages.ERRANDS)
    stack.manage("import_cases", str(file))
    _wait(stack, "select 1 from webapp_case where state = 'new'", "predictions")
    sent_in = _turns(stack, "deliver")
    tasks = stack.rows(
        "select t.task, p.project from webapp_labelstudiotask t join webapp_labelstudioproject p on p.id = t.project_id"
    )
    with _label_studio(stack) as http:
        regions = http.get(f"/api/tasks/{tasks[0]['task']}/").json()["predictions"][0]["result"]
        later, tasks = tasks[:BLOCKED], tasks[BLOCKED:]
        begun = time.monotonic()
        with ThreadPoolExecutor(HANDS) as hands:
            list(hands.map(partial(_hand_in, http), [task["task"] for task in tasks]))
        handed_in = time.monotonic() - begun
        came_back = _turns(stack, "poll")
        stored = stack.rows("select count(*) as n from webapp_annotation")[0]["n"]
        outages.start(stack, outages.ERRANDS)
        return {
            "cases": len(tasks) + BLOCKED,
            "regions_of_one_prediction": len(regions),
            "in_per_second": round((len(tasks) + BLOCKED) / sent_in, 1),
            "annotations": stored,
            "handed_in_per_second": round(len(tasks) / handed_in, 1),
            "back_per_second": round(stored / came_back, 1),
            "blocked_webhook": _blocked(stack, http, later),
        }


def _blocked(stack: Stack, http: httpx.Client, tasks: list[dict[str, Any]]) -> dict[str, float]:
    """Return the seconds until annotations are stored while webhooks reach nobody."""
    for hook in http.get("/api/webhooks/", params={"project": tasks[0]["project"]}).json():
        http.patch(f"/api/webhooks/{hook['id']}/", json={"url": NOBODY_LISTENS}).raise_for_status()
    rng = random.Random(0)
    made: dict[int, datetime] = {}
    for task in tasks:
        time.sleep(rng.uniform(0, 5))
        number = _hand_in(http, task["task"])
        made[number] = datetime.now(UTC)
    known = "select external_id, created_at from webapp_annotation where external_id = any(%s)"
    found = stack.wait_for("annotations", lambda: _all(stack.rows(known, list(made)), len(made)))
    seconds = [(row["created_at"] - made[row["external_id"]]).total_seconds() for row in found]
    return {"n": len(seconds), "median": round(statistics.median(seconds), 1), "worst": round(max(seconds), 1)}


def _all(rows: list[dict[str, Any]], wanted: int) -> list[dict[str, Any]]:
    return rows if len(rows) == wanted else []


def _hand_in(http: httpx.Client, task: int) -> int:
    result = payloads.result_of(HELPLINE, answers(random.Random(task)))
    answer = http.post(f"/api/tasks/{task}/annotations/", json={"result": result}).raise_for_status()
    return int(answer.json()["id"])


def _label_studio(stack: Stack) -> httpx.Client:
    key = stack.addresses["LABEL_STUDIO_API_KEY"]
    headers = {"Authorization": f"Token {key}"}
    return httpx.Client(base_url=stack.addresses["LABEL_STUDIO_URL"], headers=headers, timeout=60)


def _turns(stack: Stack, side: str) -> float:
    command = [sys.executable, "-m", "tests.proof.turns", side]
    variables = {**stack.variables, **stack.addresses}
    return float(
        subprocess.run(command, cwd=REPOSITORY, env=variables, stdout=subprocess.PIPE, text=True, check=True).stdout
    )


def _wait(stack: Stack, left: str, what: str) -> None:
    stack.wait_for(what, lambda: not stack.rows(left))
