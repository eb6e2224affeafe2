"""Points at which `make chaos` lets processes die: none does unless a setting names a folder, and then once."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import connection

from tests.conftest import NOON, case_named, submission, trained_version
from tests.proof import counts
from webapp import faults
from webapp.actions import submissions
from webapp.engines.folders import REPOSITORY
from webapp.models import Case, CaseState, Outbox, Promotion, Run, RunState

DIE = "import django; django.setup(); from webapp import faults; faults.point('{}'); print('alive')"


def reach(point: str, folder: Path | str) -> subprocess.CompletedProcess[str]:
    variables = {**os.environ, "FAULTS_DIR": str(folder)}
    command = [sys.executable, "-c", DIE.format(point)]
    return subprocess.run(command, cwd=REPOSITORY, env=variables, capture_output=True, text=True, check=False)


def test_a_process_dies_at_a_named_point_and_the_next_one_lives(tmp_path: Path) -> None:
    folder = tmp_path / "test-faults"
    folder.mkdir()
    (folder / "tasks-pushed").touch()
    assert reach("tasks-known", folder).stdout == "alive\n"
    died = reach("tasks-pushed", folder)
    assert (died.returncode, died.stdout) == (-signal.SIGKILL, "")
    assert reach("tasks-pushed", folder).stdout == "alive\n"


def test_nothing_dies_unless_a_folder_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tasks-pushed").touch()
    monkeypatch.chdir(tmp_path)
    faults.point("tasks-pushed")
    assert (tmp_path / "tasks-pushed").exists()


def test_no_program_starts_with_points_of_death_outside_of_a_test(tmp_path: Path) -> None:
    started = reach("tasks-known", tmp_path)
    assert started.returncode == 1
    assert "processes would die on purpose; unset it" in started.stderr


def test_every_point_is_somewhere_and_named_in_one_list() -> None:
    files = [path.read_text() for path in (REPOSITORY / "webapp").rglob("*.py")]
    placed = [name for text in files for name in re.findall(r'faults\.point(?:\(|, )"([a-z-]+)"', text)]
    assert sorted(placed) == sorted(faults.POINTS)


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["OPEN_RUNS", "WAITS", "UNTOLD", "NOT_PREDICTED", "UNDER_WAY", "NO_NEXT_STEP",
                                  "STANDING", "HALF_STORED", "UNEXPLAINED", "IN_USE_FOLDERS"])  # fmt: skip
def test_what_chaos_counts_can_be_asked_of_the_tables_as_they_are(name: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(getattr(counts, name))
        assert cursor.fetchall() == []


@dataclass(frozen=True)
class Settled:
    """What `counts` asks of a Caseloop: our database, and tasks that Label Studio holds."""

    folders: SimpleNamespace
    cases: Sequence[int] = ()

    def rows(self, query: str) -> list[dict[str, Any]]:
        with connection.cursor() as cursor:
            cursor.execute(query)
            names = [column.name for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def label_studio_rows(self, query: str) -> list[tuple[str]]:
        assert query == "select data from task"
        return [(json.dumps({"case_id": str(case)}),) for case in self.cases]


def counted(
    tmp_path: Path, *, cases: Sequence[int | None] = (), made: AbstractSet[int] = frozenset()
) -> dict[str, int]:
    """Return the faults that are there."""
    found = counts.faults(Settled(SimpleNamespace(var=tmp_path), cases), made)  # type: ignore[arg-type]
    return {name: number for name, number in found.items() if number}


def test_each_fault_that_killing_may_leave_is_counted(helpline, import_rows, tmp_path: Path) -> None:
    import_rows(helpline, {"id": "1", "text": "She is hungry."}, {"id": "2", "text": "He left."})
    case, other = case_named("1"), case_named("2")
    version = trained_version(helpline)
    assert counted(tmp_path)["cases_without_next_step"] == 2, "new ones wait for a prediction"
    Case.objects.update(state=CaseState.DECIDED)
    assert counted(tmp_path) == {}

    run = Run.objects.create(schema=helpline, schema_version=version.schema_version, state=RunState.RUNNING)
    assert counted(tmp_path) == {"stuck_runs": 1}
    Run.objects.filter(pk=run.pk).update(state=RunState.SUCCEEDED, version=version)
    assert counted(tmp_path) == {"half_promoted": 1}, "without an evaluation"
    Run.objects.all().delete()
    Promotion.objects.create(schema=helpline, version=version, reason="nobody wrote down why")
    there = {"half_promoted": 2}
    assert counted(tmp_path) == there, "nothing in the audit log, and no files"
    Case.objects.filter(pk=case.pk).update(state=CaseState.ACCEPTED)
    assert counted(tmp_path) == there | {"not_predicted_by_the_version_in_use": 1}
    Case.objects.filter(pk=case.pk).update(state=CaseState.DECIDED)

    assert counted(tmp_path, made={7}) == there | {"lost_annotations": 1}
    submissions.record(case, submission(helpline, "Juma", {"priority": "2"}, id=7))
    Outbox.objects.all().delete()
    Case.objects.filter(pk=case.pk).update(state=CaseState.DECIDED)
    assert counted(tmp_path, made={7}) == there
    assert counted(tmp_path, cases=[case.pk, case.pk]) == there | {"double_tasks": 1}
    assert counted(tmp_path, cases=[10**9]) == there | {"tasks_of_no_case": 1}
    Case.objects.filter(pk=other.pk).update(state=CaseState.ERASED)
    assert counted(tmp_path, cases=[other.pk]) == there | {"tasks_of_no_case": 1}
    Outbox.objects.create(case=case, purpose="push", due_at=NOON)
    assert counted(tmp_path) == there | {"outbox_waiting": 1}
