"""`python -m tests.proof.cycles --data FILE`: what five cycles on real cases give, chosen by default and at random.

Each plan is done once and kept. The last line printed is the report as one line of JSON.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from tests import engines
from webapp.engines.folders import REPOSITORY

CHOICES = ("default", "random")
PROGRAM = ("ml", "annotate", "webapp", "migrations", "tests/proof")  # What a plan's figures depend on


def main() -> None:
    """Do the plans that were not done yet, and report them all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="labelled cases, as `webapp.casefiles` writes them")
    parser.add_argument("--work", type=Path, default=REPOSITORY / "var" / "cycles")
    parser.add_argument("--profile", default="fast")
    parser.add_argument("--cycles", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--choices", nargs="+", choices=CHOICES, default=CHOICES)
    given = parser.parse_args()
    plans = [
        {"choice": choice, "profile": given.profile, "seed": seed, "cycles": given.cycles}
        for seed in range(given.seeds)
        for choice in given.choices
    ]
    with engines.running(engines.own()):
        found = [done(plan, given.data, given.work) for plan in plans]
    report = {"refused": sum(one["refused"] for one in found), "plans": found}
    (given.work / f"{given.profile}.json").write_text(json.dumps(report, indent=1) + "\n")
    (given.work / f"{given.profile}.md").write_text(table(found))
    sys.stdout.write(table(found) + json.dumps(report) + "\n")


def table(found: Sequence[Mapping[str, Any]]) -> str:
    """Return what plans found as a table: the mean over seeds of each head, of the version in use after a training."""
    heads = list(found[0]["trainings"][0]["in_use"])
    titles = ["chosen by", "labelled", *heads, "refused", "seconds"]
    lines = [titles, ["---"] * len(titles)]
    for choice in dict.fromkeys(one["choice"] for one in found):
        seeds = [one["trainings"] for one in found if one["choice"] == choice]
        for turn in zip(*seeds, strict=True):
            means = [f"{mean(one['in_use'][head] for one in turn):.3f}" for head in heads]
            refused = sum(not one["is_promoted"] for one in turn)
            labelled, seconds = (round(mean(one[key] for one in turn)) for key in ("labelled", "seconds"))
            lines.append([choice, str(labelled), *means, f"{refused} of {len(turn)}", str(seconds)])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def done(plan: Mapping[str, Any], data: Path, work: Path) -> dict[str, Any]:
    """Return what a plan found: from its file, or by doing it now."""
    parts = [data.read_bytes(), json.dumps(plan).encode(), *map(_program, PROGRAM)]
    digest = hashlib.sha256(b"".join(parts)).hexdigest()
    place = work / f"{digest[:16]}.json"
    if not place.exists():
        begun = time.monotonic()
        command = [sys.executable, "-m", "tests.proof.cycle", "--data", str(data), "--plan", json.dumps(plan)]
        done = subprocess.run(command, cwd=REPOSITORY, env=os.environ, stdout=subprocess.PIPE, text=True, check=True)
        found = {**json.loads(done.stdout.splitlines()[-1]), "total_seconds": round(time.monotonic() - begun)}
        work.mkdir(parents=True, exist_ok=True)
        draft = place.with_suffix(".part")
        draft.write_text(json.dumps(found))
        draft.rename(place)  # At once, so that one that is stopped leaves whole plans alone
    found = json.loads(place.read_text())
    sys.stderr.write(f"{plan}: {found['total_seconds']} s\n")
    return dict(found)


def _program(folder: str) -> bytes:
    """Return what a folder's files say, so that a plan that another program did is done again."""
    files = sorted((REPOSITORY / folder).rglob("*.*"))
    return b"".join(file.read_bytes() for file in files if file.suffix in (".py", ".toml"))


if __name__ == "__main__":
    main()
