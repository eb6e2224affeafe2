"""`python -m tests.proof.chaos`: processes die as by kill -9 while the loop turns; is anything lost?

A roll-back under load comes first: predictions are asked for without a pause while an admin rolls back.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from annotate import payloads
from ml import schema as shipped
from tests import stack as stacks
from tests.engines import VAR
from tests.proof import annotators, counts, rollback
from tests.receiving import receiver
from tests.stack import Stack
from webapp.demo import generate
from webapp.faults import POINTS

HELPLINE = shipped.load("helpline")
ADMIN = "chaos"
LABELLED, BATCH = 160, 20  # Cases to begin with, and of each import
SERVERS = ("engines:postgres", "engines:valkey", "webapp:scheduler", "webapp:web", "webapp:errands", "webapp:worker")
SETTLING_SECONDS = 600.0  # What a dead worker had claimed is free after two minutes; Label Studio is tried for longer
DYING_SECONDS = 120.0  # Within which something comes to a point


def main() -> None:
    """Kill, and fail where something is there that must not be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20, help="of the training worker; of each other a fifth of it")
    parser.add_argument("--points", nargs="*", choices=POINTS, default=POINTS, help="at which a process dies once")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    name = f"chaos-{os.getpid()}"
    faults = VAR / f"test-{name}" / "faults"
    with ExitStack() as opened:
        told = opened.enter_context(receiver())
        settings = {"FAULTS_DIR": str(faults), "WEBHOOK_NETWORKS": "127.0.0.0/8", "API_REQUESTS_PER_MINUTE": "1000000"}
        stack = opened.enter_context(stacks.running(name, **settings))
        faults.mkdir()
        chaos = Chaos(stack, faults, random.Random(given.seed))
        chaos.begin(told.address)
        found: dict[str, Any] = {"rollback": rollback.measure(stack, chaos.two_versions(), by=ADMIN)}
        chaos.kill_trainings(given.kills)
        for program in SERVERS:
            for _ in range(-(-given.kills // 5)):
                chaos.kill_server(program)
        for point in given.points:
            chaos.die_at(point)
        found["seconds_to_settle"] = chaos.settle()
        found |= {"killed": dict(chaos.killed), "made": len(chaos.made), "faults": counts.faults(stack, chaos.made)}
    sys.stdout.write(json.dumps(found) + "\n")
    wrong = [name for name, number in found["faults"].items() if number]
    if found["rollback"]["failed"] or found["rollback"]["seconds_to_last_old_answer"] >= rollback.AT_MOST:
        wrong.append("rollback")
    if wrong:
        sys.exit(f"expected none of these: {', '.join(wrong)}")


@dataclass
class Chaos:
    """Somebody who works on a Caseloop, and kills parts of it.

    Attributes:
        faults: the folder that names where processes die.
        made: the annotations that Label Studio has confirmed, by number.
        killed: how often what was killed.
    """

    stack: Stack
    faults: Path
    rng: random.Random
    made: set[int] = field(default_factory=set)
    killed: Counter[str] = field(default_factory=Counter)
    imported: int = 0

    def begin(self, address: str) -> None:
        """Import labelled cases, and cases to work on, and let somebody be told of events."""
        self.stack.manage("add_person", ADMIN, "--role", "admin", "--email", "chaos@caseloop.local")
        self.stack.manage("webhooks", "add", address)
        rows = [json.loads(line) for line in self._demo().read_text().splitlines()]
        self.labelled = [row for row in rows if row.get("labels")][:LABELLED]
        self.texts = [row["text"] for row in rows]
        self._import(self.labelled)

    def two_versions(self) -> list[int]:
        """Train two versions, and put one after the other in use; return their numbers."""
        numbers = []
        for seed in range(2):
            said = self.stack.manage("retrain", "--wait", "--seed", str(seed))
            numbers.append(int(said.split()[-1]))
            self._promote(numbers[-1])
        return numbers

    def work(self) -> None:
        """Import cases, and answer some that are in Label Studio. What fails as parts are down is done another time."""
        with suppress(AssertionError):
            self._import(
                [
                    {"id": f"chaos-{number}", "text": f"{self.rng.choice(self.texts)} {number}"}
                    for number in range(self.imported, self.imported + BATCH)
                ]
            )
            self.imported += BATCH
        self.answer(5)

    def answer(self, most: int) -> None:
        """Answer cases in Label Studio, as somebody there does."""
        addresses = self.stack.addresses
        headers = {"Authorization": f"Token {addresses['LABEL_STUDIO_API_KEY']}"}
        free = self._ask(
            "select task from webapp_labelstudiotask t join webapp_case c on c.id = t.case_id "
            "where withdrawn_at is null and state = 'labelling' and not exists (select 1 from webapp_annotation a "
            "where a.case_id = c.id and a.origin = 'label_studio') order by random() limit %s",
            most,
        )
        with httpx.Client(base_url=addresses["LABEL_STUDIO_URL"], headers=headers, timeout=60) as http:
            for row in free:
                with suppress(httpx.TransportError):
                    body = {"result": payloads.result_of(HELPLINE, annotators.answers(self.rng)), "lead_time": 3.0}
                    made = http.post(f"/api/tasks/{row['task']}/annotations/", json=body)
                    if made.status_code == httpx.codes.CREATED:
                        self.made.add(int(made.json()["id"]))

    def kill_trainings(self, times: int) -> None:
        """Kill the training worker at random moments of runs; one that ended before its moment does not count."""
        killed = 0
        while killed < times:
            self._begin_training()
            time.sleep(self.rng.uniform(0, self._training_seconds()))
            if self._ask("select 1 from webapp_run where state = 'running'"):
                self.kill("webapp:trainer")
                killed += 1
            self.work()

    def kill_server(self, program: str) -> None:
        """Kill a program a moment after work has begun."""
        self.work()
        time.sleep(self.rng.uniform(0, 3))
        self.kill(program)

    def kill(self, program: str) -> None:
        """Kill a program with all that it has started, once it runs again if it has just been killed."""
        remote = self.stack.supervisor

        def number() -> int:
            return int(remote.getProcessInfo(program)["pid"])

        killed = psutil.Process(self.stack.wait_for(f"{program} to run", number))
        for process in [*killed.children(recursive=True), killed]:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.killed[program] += 1
        _say(f"killed {program}")

    def die_at(self, point: str) -> None:
        """Let a process die at a point, and do what leads there until it has."""
        act = self.leads_to(point)
        armed = self.faults / point
        armed.touch()
        deadline = time.monotonic() + DYING_SECONDS
        while armed.exists():
            if time.monotonic() > deadline:
                raise AssertionError(f"nothing came to {point} in {DYING_SECONDS:.0f} s")
            act()
            time.sleep(3)
        self.killed[point] += 1
        _say(f"died at {point}")

    def leads_to(self, point: str) -> Callable[[], object]:
        """Return what brings a process to a point."""
        if point.startswith(("run-", "training-")):
            return self._begin_training
        if point.startswith("promotion-") or point == "tasks-refreshed":
            return self._promote_another
        if point == "tasks-withdrawn":
            return self._erase
        return self.work

    def settle(self) -> float:
        """Wait until nothing waits any more, or it is clear that something always will; return the seconds."""
        begun = time.monotonic()
        while time.monotonic() < begun + SETTLING_SECONDS and self._ask(counts.UNDER_WAY):
            time.sleep(2)
        time.sleep(25)  # Two polls of Label Studio, so that the newest annotation is there too
        return round(time.monotonic() - begun, 1)

    def _begin_training(self) -> None:
        """Ask for a training, unless one is open; one that died lets nobody wait for long."""
        if not self._ask("select 1 from webapp_run where state in ('queued', 'running')"):
            self._try("retrain", "--seed", str(self.rng.randrange(1000)))

        def runs() -> object:
            return self._ask("select 1 from webapp_run where state = 'running'") or not self._ask(
                "select 1 from webapp_run where state = 'queued'"
            )

        self.stack.wait_for("a training to begin", runs)

    def _training_seconds(self) -> float:
        """Return how long the last training took that was not killed."""
        took = "extract(epoch from finished_at - started_at)::float as seconds"
        rows = self._ask(f"select {took} from webapp_run where state = 'succeeded' order by id desc limit 1")  # noqa: S608
        return float(rows[0]["seconds"])

    def _promote_another(self) -> None:
        """Put a version in use that is not."""
        trained = self._ask(
            "select number from webapp_modelversion where kind = 'trained' and id <> "
            "(select version_id from webapp_promotion order by id desc limit 1) order by random() limit 1"
        )
        self._promote(trained[0]["number"])

    def _promote(self, number: int) -> None:
        self._try("promote", "helpline", str(number), "--by", ADMIN, "--reason", "chaos", "--override")

    def _erase(self) -> None:
        """Erase a case that is in Label Studio and that nobody has answered."""
        found = self._ask(
            "select c.id, c.external_id from webapp_labelstudiotask t join webapp_case c on c.id = t.case_id "
            "where withdrawn_at is null and state = 'labelling' and not exists "
            "(select 1 from webapp_annotation a where a.case_id = c.id) limit 1"
        )
        if not found:
            self.work()
            return
        case = found[0]
        self._try("erase_case", str(case["id"]), "--reason", "chaos", "--by", ADMIN, "--confirm", case["external_id"])

    def _try(self, *arguments: str) -> None:
        """Run a command that may die, or be refused since parts are down."""
        with suppress(AssertionError):
            self.stack.manage(*arguments)

    def _ask(self, query: str, *values: object) -> list[dict[str, Any]]:
        """Ask the database, once it answers."""
        import psycopg

        def rows() -> list[list[dict[str, Any]]]:
            with suppress(psycopg.OperationalError):
                return [self.stack.rows(query, *values)]
            return []

        return list(self.stack.wait_for("the database", rows)[0])

    def _import(self, rows: list[dict[str, Any]]) -> None:
        file = self.stack.folders.var / "chaos.jsonl"
        file.write_text("\n".join(map(json.dumps, rows)))
        self.stack.manage("import_cases", str(file))

    def _demo(self) -> Path:
        folder = self.stack.folders.var / "demo-of-chaos"
        return next(path for path in generate.write(folder) if path.name.startswith("helpline"))


def _say(line: str) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {line}\n")


if __name__ == "__main__":
    main()
