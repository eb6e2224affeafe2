"""Points at which `make chaos` lets processes die: none does unless a setting names a folder, and then once."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.proof import counts
from webapp import faults
from webapp.engines.folders import REPOSITORY

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
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(getattr(counts, name))
        assert cursor.fetchall() == []
