"""`python -m tests.load`: start a Caseloop of its own, fill it, let reviewers work, and print what they met as JSON."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys

from tests import stack as stacks
from tests.engines import NOBODY_LISTENS, SECRETS
from tests.stack import Stack
from webapp.demo import generate
from webapp.engines.folders import REPOSITORY

LABELLED = 160  # Cases that a version learns from in seconds


def main() -> None:
    """Measure with each number of cases in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, nargs="+", default=[1_000, 100_000])
    parser.add_argument("--people", type=int, default=20)
    parser.add_argument("--thinking-seconds", type=float, default=120)
    parser.add_argument("--tireless-seconds", type=float, default=30)
    given = parser.parse_args()
    for cases in given.cases:
        sys.stdout.write(json.dumps({"cases": cases, **measure(cases, given)}) + "\n")


def measure(cases: int, given: argparse.Namespace) -> dict[str, object]:
    """Return the figures with so many cases, in a Caseloop that nobody has used before. Label Studio takes no part."""
    nowhere = {"LABEL_STUDIO_URL": NOBODY_LISTENS, "LABEL_STUDIO_API_KEY": SECRETS["LABEL_STUDIO_API_KEY"]}
    secret = {"LABEL_STUDIO_WEBHOOK_SECRET": SECRETS["LABEL_STUDIO_WEBHOOK_SECRET"]}
    with stacks.running(f"load-{os.getpid()}", **nowhere, **secret) as stack:
        _learn(stack)
        people = _run(stack, "tests.load.fill", "--cases", str(cases), "--people", str(given.people))
        timing = [
            f"--{name}={getattr(given, name.replace('-', '_'))}" for name in ("thinking-seconds", "tireless-seconds")
        ]
        found = _run(stack, "tests.load.reviewers", "--host", stack.url, *timing, given=people)
        states = stack.rows("select state, count(*) from webapp_case group by state order by state")
        return {"states": {row["state"]: row["count"] for row in states}, **json.loads(found)}


def _learn(stack: Stack) -> None:
    """Import some calls of the demo, train a version on those with labels, and let it route the others."""
    path = next(path for path in generate.write(stack.folders.var / "demo") if path.name.startswith("helpline"))
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    kept = [row for row in rows if row.get("labels")][:LABELLED] + [row for row in rows if not row.get("labels")]
    path.write_text("\n".join(json.dumps(row) for row in kept))
    stack.manage("add_person", "admin", "--role", "admin", "--email", "admin@load.caseloop.local")
    stack.manage("import_cases", str(path))
    stack.manage("retrain", "--wait")
    stack.manage("promote", "helpline", "1", "--by", "admin", "--reason", "the first", "--override")
    stack.wait_for("predictions", lambda: stack.status()["waiting_for_prediction"] == 0)


def _run(stack: Stack, module: str, *arguments: str, given: str = "") -> str:
    variables = {**stack.variables, **stack.addresses}
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(
        command, cwd=REPOSITORY, env=variables, input=given, stdout=subprocess.PIPE, text=True, check=True
    ).stdout


if __name__ == "__main__":
    main()
