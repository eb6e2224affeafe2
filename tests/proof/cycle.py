"""Some cycles of the loop on labelled cases, by the app's own actions, with a person who always knows the answer.

`python -m tests.proof.cycle`, in the environment of a PostgreSQL and a Valkey, prints what it found as JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import django
import numpy as np
from django.conf import settings
from django.db import connection

django.setup()

from annotate import client, config, payloads  # noqa: E402 - Django comes first
from ml import examples, metrics  # noqa: E402
from ml import schema as schemas_of_files  # noqa: E402
from ml.policy import Side, side_of  # noqa: E402
from ml.types import Example  # noqa: E402
from webapp import worker  # noqa: E402
from webapp.actions import imports, label_studio, people, promotions, runs, schemas  # noqa: E402
from webapp.errors import NotPromotable  # noqa: E402
from webapp.models import Case, LabelStudioProject, ModelVersion, Profile, RunState, Schema  # noqa: E402
from webapp.queries import gate, pending  # noqa: E402
from webapp.queries import schemas as in_force  # noqa: E402
from webapp.roles import Role  # noqa: E402

CHOICES = ("default", "random")
SOURCE = "proof"
DRAW = 0  # Seed of the test set, which is the same for all
PROJECT = 1


@dataclass(frozen=True)
class Plan:
    """How cases are divided and chosen; all but `profile` and `choice` are numbers of cases, or of cycles."""

    choice: str = "default"
    profile: str = "fast"  # Of all trainings but the first, which gives the cycles something to begin with
    seed: int = 0
    cycles: int = 5
    test: int = 150
    begin: int = 50
    each: int = 50


def main() -> None:
    """Do one plan in a database of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="labelled cases, as `webapp.casefiles` writes them")
    parser.add_argument("--plan", type=json.loads, default={})
    given = parser.parse_args()
    with TemporaryDirectory() as folder:
        settings.MODELS_DIR = Path(folder) / "models"  # Each plan numbers its versions anew
        sys.stdout.write(json.dumps(_run_apart(given.data, Plan(**given.plan), Path(folder))) + "\n")


def _run_apart(data: Path, plan: Plan, folder: Path) -> dict[str, Any]:
    """Run a plan in a database of its own."""
    name = connection.settings_dict["NAME"]
    connection.creation.create_test_db(verbosity=0, autoclobber=True)
    try:
        parsed = schemas_of_files.load("helpline")
        return run(schemas.register(parsed).schema, examples.read(data, parsed), plan, folder)
    finally:
        connection.creation.destroy_test_db(name, verbosity=0)


def run(schema: Schema, rows: Sequence[Example], plan: Plan, folder: Path) -> dict[str, Any]:
    """Import the cases, most without their labels, and turn the cycle.

    Args:
        folder: where the files to import are written, one at a time.

    Returns:
        The plan's values; `pool`, how many cases could be asked about; `refused`, the promotions that the gate refused;
        and for each training `labelled`, `seconds`, the gate's `verdict` and `sentence`, `is_promoted`, and the main
        measure of each head on the test cases, of the version that was `trained` and of the one `in_use` afterwards.
    """
    parsed = in_force.newest_version(schema).parsed
    rules = replace(in_force.policy(schema).parsed, audit_share=0.0)
    schemas.set_policy(schema, rules, reason="the test set is fixed", by=None)
    drawn = np.random.default_rng(DRAW).permutation(len(rows)).tolist()
    test, pool = ([rows[at] for at in part] for part in (drawn[: plan.test], drawn[plan.test :]))
    rng = np.random.default_rng(plan.seed)
    begun = set(rng.permutation(len(pool))[: plan.begin].tolist())
    known = {_id(row, Side.TRAIN): row for row in pool}
    _import(schema, folder, [_row(row, Side.TEST) for row in test], "test")
    labelled = [_row(row, Side.TRAIN) for at, row in enumerate(pool) if at in begun]
    bare = [_row(row, Side.TRAIN) | {"labels": {}} for at, row in enumerate(pool) if at not in begun]
    _import(schema, folder, labelled + bare, "pool")
    admin = people.create("proof", email="proof@caseloop.local", password="not-for-signing-in", role=Role.ADMIN)
    xml = config.build(parsed)
    project, _ = LabelStudioProject.objects.get_or_create(
        schema=schema, defaults={"schema_version": in_force.newest_version(schema), "project": PROJECT}
    )
    found: list[dict[str, Any]] = []
    for turn in range(plan.cycles + 1):
        if turn:
            chosen = choose(schema, plan, rng)
            told = Answering(project, xml, {case: known[case.external_id] for case in chosen})
            label_studio.poll(told, project)  # type: ignore[arg-type]
        begun_at = time.monotonic()
        version = _train(schema, plan.profile if turn else Profile.FAST, plan.seed)
        standing, is_promoted = _promote(version, admin)
        _predict(schema)
        found.append(
            {
                "labelled": _labelled(schema),
                "seconds": round(time.monotonic() - begun_at, 1),
                "verdict": standing.verdict.value,
                "sentence": standing.sentence,
                "is_promoted": is_promoted,
                "trained": _measured(version),
                "in_use": _measured(in_force.champion(schema) or version),
            }
        )
    refused = sum(not one["is_promoted"] for one in found)
    return {**asdict(plan), "pool": len(pool), "refused": refused, "trainings": found}


@dataclass(frozen=True)
class Answering:
    """Stands where Label Studio does: somebody has answered some cases there, each with its true labels."""

    project: LabelStudioProject
    xml: str
    answers: Mapping[Case, Example]
    moment: str = field(default_factory=lambda: time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))

    def users(self) -> list[client.User]:
        """Return who is there."""
        return [client.User(1, "annotator@caseloop.local")]

    def ask(self, method: str, path: str, **rest: Any) -> Any:
        """Tell how the project stands."""
        return {"label_config": self.xml, "task_number": len(self.answers)}

    def changed_since(self, project: int, cursor: str) -> Iterator[client.Page]:
        """Yield the tasks that were answered."""
        parsed = self.project.schema_version.parsed
        tasks = []
        for case, row in self.answers.items():
            data = {config.CASE_ID: str(case.pk), config.TEXT: case.stored_text.text}
            said = {
                "id": case.pk,
                "project": project,
                "completed_by": 1,
                "created_at": self.moment,
                "updated_at": self.moment,
                "was_cancelled": False,
                "lead_time": 30.0,
                "result": payloads.result_of(parsed, row.labels),
            }
            task = {"id": case.pk, "project": project, "data": data}
            tasks.append(client.ChangedTask(case.pk, str(case.pk), task, (said,)))
        yield client.Page(tuple(tasks), self.moment)


def _id(row: Example, side: Side) -> str:
    """Return an id that gives a case the side that is wanted: what is not for test may be for validation."""
    for number in range(1000):
        found = f"{row.id}-{number}"
        given = side_of(SOURCE, found, is_audit=False, has_labels=True)
        if (given == Side.TEST) == (side == Side.TEST):
            return found
    raise AssertionError("one id in five is for test")


def _row(row: Example, side: Side) -> dict[str, Any]:
    return {"id": _id(row, side), "text": row.text, "labels": row.labels}


def _import(schema: Schema, folder: Path, rows: Sequence[dict[str, Any]], name: str) -> None:
    file = folder / f"{name}.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    imports.apply(imports.open_import(schema, file, name=file.name, mapping={}, source=SOURCE, by=None), file)
    file.unlink()


def choose(schema: Schema, plan: Plan, rng: np.random.Generator) -> list[Case]:
    """Choose cases that nobody has answered: in the order of every queue, or at random."""
    waiting = Case.objects.filter(schema=schema, labels=None).select_related("stored_text", "schema")
    if plan.choice == "default":
        return list(waiting.order_by("-rank", "pk")[: plan.each])
    cases = list(waiting.order_by("pk"))
    return [cases[at] for at in rng.permutation(len(cases))[: plan.each]]


def _train(schema: Schema, profile: str, seed: int) -> ModelVersion:
    asked = runs.request(schema, profile=profile, seed=seed)
    worker.train(asked.pk)
    asked.refresh_from_db()
    if asked.state != RunState.SUCCEEDED or asked.version is None:
        raise RuntimeError(f"the training ended as {asked.state}: {asked.failure}")
    return asked.version


def _promote(version: ModelVersion, admin: Any) -> tuple[gate.Standing, bool]:
    """Put a version in use unless the gate refuses; return what it says, and whether the version is in use."""
    standing = gate.standing(version)
    if in_force.champion(version.schema) == version:
        return standing, True
    try:
        promotions.promote(version, by=admin, reason="the gate does not refuse it")
    except NotPromotable:
        return standing, False
    return standing, True


def _predict(schema: Schema) -> None:
    while pending.free_cases(schema).exists():
        worker.predict_cases(schema.pk)


def _labelled(schema: Schema) -> int:
    return Case.objects.filter(schema=schema).exclude(labels=None).exclude(side=Side.TEST).count()


def _measured(version: ModelVersion) -> dict[str, float]:
    """Return the main measure of each head on the test cases."""
    parsed = version.schema_version.parsed
    figures = version.evaluations.order_by("-id")[0].heads
    return {key: round(figures[key][metrics.main_metric(parsed.head(key))], 4) for key in figures}


if __name__ == "__main__":
    main()
