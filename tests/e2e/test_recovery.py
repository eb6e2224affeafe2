"""What dies is noticed, and the loop goes on."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.e2e.conftest import write_calls
from tests.stack import Stack

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.label_studio]

A_MINUTE = 60


def test_a_training_worker_killed_in_the_middle_leaves_a_failed_run_with_a_reason(stack: Stack, tmp_path: Path) -> None:
    stack.manage("import_cases", str(write_calls(tmp_path, 160, 0)))
    run = int(stack.manage("retrain").split()[1])
    stack.wait_for("the training to begin", lambda: _run(stack, run)["progress"].get("done"))
    killed_at = time.monotonic()
    for process in _training_processes(stack):
        os.kill(process.pid, signal.SIGKILL)

    stack.wait_for("the run to end", lambda: _run(stack, run)["state"] != "running")
    assert time.monotonic() - killed_at < A_MINUTE
    assert _run(stack, run)["state"] == "failed"
    assert _run(stack, run)["failure"].startswith("The worker was not heard of for 40 seconds")

    again = stack.manage("retrain", "--wait")
    assert "succeeded: version" in again, "the supervisor has started the worker again, and nothing is stuck"


def _run(stack: Stack, run: int) -> dict[str, Any]:
    return stack.rows("select state, failure, progress from webapp_run where id = %s", run)[0]


def _training_processes(stack: Stack) -> list[psutil.Process]:
    """The training worker of this stack and its child."""
    found = []
    for process in psutil.process_iter(["cmdline", "cwd"]):
        words = process.info["cmdline"] or []
        if "celery" in words and "train" in words and process.environ().get("CASELOOP_VAR") == str(stack.folders.var):
            found.append(process)
    assert found
    return found
