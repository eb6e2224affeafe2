"""`python -m tests.proof.soak`: annotators at work while parts fail; at the end, is each annotation stored once?"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from tests import stack as stacks
from tests.proof import counts, outages, speed
from tests.proof.annotators import Annotator, ApiAnnotator, BrowserAnnotator
from tests.stack import Stack
from webapp.demo import generate

MUST_BE_NONE = (
    "lost",
    "not_stored",
    "stored_twice",
    "stale",
    "not_deleted",
    "tasks_twice",
    "outbox",
    "not_predicted",
    "broken",
)
# When, in shares of the whole time. Label Studio stays away for a minute of fifteen
AWAY = 1 / 15
AWAY_FROM = (0.12, 0.45, 0.78)
WORKERS_KILLED = (0.05, 0.15, 0.38, 0.6, 0.88)  # The second while Label Studio is away
BROKER_KILLED = (0.3, 0.68)
IMPORTED = (0.0, 0.13, 0.36, 0.58)
SETTLING_SECONDS = 400  # Longer than what waited for Label Studio is left to wait


def main() -> None:
    """Measure the parts that are asked for, and fail where something is there that must not be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--only", choices=["soak", "speed"])
    given = parser.parse_args()
    found: dict[str, Any] = {}
    if given.only != "soak":
        with stacks.running(f"speed-{os.getpid()}") as stack:
            found["speed"] = speed.measure(stack, write_cases(given.cases, stack.folders.var, parts=1)[0])
    if given.only != "speed":
        with stacks.running(f"soak-{os.getpid()}") as stack:
            found["soak"] = soak(stack, minutes=given.minutes, cases=given.cases)
    sys.stdout.write(json.dumps(found) + "\n")
    wrong = [name for name in MUST_BE_NONE if found.get("soak", {}).get(name)]
    slow = found.get("speed", {}).get("blocked_webhook", {}).get("worst", 0) > speed.BLOCKED_AT_MOST
    if wrong or slow:
        sys.exit(f"expected none of these: {', '.join(wrong)}" if wrong else "an annotation took too long to come back")


def write_cases(wanted: int, folder: Path, *, parts: int) -> list[Path]:
    """Write demo calls without labels to so many files; each call is a case of its own."""
    with tempfile.TemporaryDirectory() as made:
        demo = next(path for path in generate.write(Path(made)) if path.name.startswith("helpline"))
        rows = [json.loads(line) for line in demo.read_text().splitlines()]
    cases = [{"id": f"soak-{number}", "text": rows[number % len(rows)]["text"]} for number in range(wanted)]
    files = []
    for part in range(parts):
        files.append(folder / f"soak-{part}.jsonl")
        files[-1].write_text("\n".join(json.dumps(case) for case in cases[part::parts]))
    return files


def soak(stack: Stack, *, minutes: float, cases: int) -> dict[str, Any]:
    """Let five annotators work for so long while parts fail, and return what was made and what is stored."""
    files = iter(write_cases(cases, stack.folders.var, parts=len(IMPORTED)))
    policy = stack.folders.var / "policy.json"
    policy.write_text('{"audit_share": 0}')  # In browsers people submit what is filled in
    stack.manage("register_schemas")
    stack.manage("set_policy", "helpline", str(policy), "--reason", "nothing is answered blind")
    stack.manage("import_cases", str(next(files)))
    stack.wait_for("tasks in Label Studio", lambda: stack.label_studio_rows("select count(*) from task")[0][0] >= 5)
    over = threading.Event()
    kinds = [ApiAnnotator] * 3 + [BrowserAnnotator] * 2
    people = [_person(stack, kind, number, over) for number, kind in enumerate(kinds, start=1)]
    for person in people:
        person.start()
    told = _go_wrong(stack, minutes * 60, files, people)
    over.set()
    for person in people:
        person.join(120)
    settled = _settle(stack)
    met: Counter[str] = sum((person.met for person in people), Counter())
    broken = {person.name: person.broken or "does not stop" for person in people if person.broken or person.is_alive()}
    return {
        "minutes": minutes,
        "faults": told,
        "met": dict(met),
        "answers_by_person": {person.name: person.met["answers"] for person in people},
        "settled_after_seconds": settled,
        "broken": broken,
        **compare(stack, people),
    }


def _person(stack: Stack, kind: type[Annotator], number: int, over: threading.Event) -> Annotator:
    name = f"annotator-{number}"
    said = stack.manage("add_person", name, "--role", "annotator", "--email", f"{name}@soak.caseloop.local")
    return kind(stack, name, said.split()[1], over)


def _go_wrong(stack: Stack, seconds: float, files: Any, people: list[Annotator]) -> dict[str, int]:
    """Let things fail, and cases come in, each at its time."""
    stop, start = (partial(act, stack, outages.LABEL_STUDIO) for act in (outages.stop, outages.start))
    plan: list[tuple[float, str, Callable[[], object]]] = []
    for share in AWAY_FROM:
        plan += [(share, "label_studio_stopped", stop), (share + AWAY, "label_studio_started", start)]
    plan += [(share, "workers_killed", partial(outages.kill_workers, stack)) for share in WORKERS_KILLED]
    plan += [(share, "broker_killed", partial(outages.kill_broker, stack)) for share in BROKER_KILLED]
    plan += [(share, "imports", lambda: stack.manage("import_cases", str(next(files)))) for share in IMPORTED[1:]]
    done: Counter[str] = Counter()
    begun = time.monotonic()
    for share, name, act in sorted(plan, key=lambda one: one[0]):
        time.sleep(max(0.0, begun + share * seconds - time.monotonic()))
        _say(f"{time.monotonic() - begun:.0f} s: made {[len(person.made) for person in people]}; {name}")
        act()
        done[name] += 1
    time.sleep(max(0.0, begun + seconds - time.monotonic()))
    return dict(done)


def _settle(stack: Stack) -> float:
    """Wait until nothing waits for a prediction or to be sent, and all has been fetched; return the seconds."""
    begun, now = time.monotonic(), datetime.now(UTC)
    polled = "select 1 from webapp_labelstudioproject where polled_at > %s + interval '12 seconds'"
    waits = "select 1 from webapp_outbox where sent_at is null union all select 1 from webapp_case where state = 'new'"
    while time.monotonic() < begun + SETTLING_SECONDS and (stack.rows(waits) or not stack.rows(polled, now)):
        time.sleep(1)
    return round(time.monotonic() - begun, 1)


def compare(stack: Stack, people: list[Annotator]) -> dict[str, Any]:
    """Compare what annotators made, what Label Studio holds and what our database holds."""
    made = {mark: is_gone for person in people for mark, is_gone in person.made.items()}
    there = {
        number: (mark, _moment(updated))
        for number, mark, updated in stack.label_studio_rows("select id, unique_id, updated_at from task_completion")
    }
    known = {str(mark).replace("-", "") for mark, _ in there.values()} | {str(number) for number in there}
    standing = stack.rows(counts.STANDING)
    held = Counter(row["external_id"] for row in standing)
    newest = {row["external_id"]: row for row in standing}
    alive = {number for number, row in newest.items() if not row["is_deletion"]}
    tasks = Counter(json.loads(data)["case_id"] for (data,) in stack.label_studio_rows("select data from task"))
    (waiting,) = stack.rows("select count(*) as n from webapp_outbox where sent_at is null")
    states = stack.rows("select state, count(*) as n from webapp_case group by state order by state")
    return {
        "made": len(made),
        "there": len(there),
        "stored": len(alive),
        "rows": stack.rows("select count(*) as n from webapp_annotation where origin = 'label_studio'")[0]["n"],
        "lost": sum(mark.replace("-", "") not in known for mark, is_gone in made.items() if not is_gone),
        "not_stored": len(there.keys() - alive),
        "stored_twice": sum(times > 1 for times in held.values()),
        "stale": sum(newest[number]["external_updated_at"] != there[number][1] for number in there.keys() & alive),
        "not_deleted": len(alive - there.keys()),
        "cases": sum(row["n"] for row in states),
        "states": {row["state"]: row["n"] for row in states},
        "tasks": tasks.total(),
        "tasks_twice": sum(times > 1 for times in tasks.values()),
        "outbox": waiting["n"],
        "not_predicted": sum(row["n"] for row in states if row["state"] == "new"),
    }


def _moment(written: str) -> datetime:
    return datetime.fromisoformat(written).replace(tzinfo=UTC)


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


if __name__ == "__main__":
    main()
