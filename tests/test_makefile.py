"""The folder of cases that `make figures` and `make bench` measure, with stand-ins for what fills it."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def start(tmp_path: Path, then: str, *given: str) -> subprocess.Popen[str]:
    """Fill the folder and run a command with it."""
    python = tmp_path / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\necho "$@" >&2\n')
    python.chmod(0o755)
    rule = f"--eval=probe: ; @$(CASES); {then}"
    return subprocess.Popen(
        ["make", "--silent", rule, "probe", f"VENV={python.parent.parent}", *given],
        cwd=ROOT, env={"PATH": os.environ["PATH"], "TMPDIR": str(tmp_path)}, start_new_session=True,
        text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # A background job begins by ignoring it
    )  # fmt: skip


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_folder_is_gone_after_a_signal(tmp_path: Path, number: signal.Signals) -> None:
    # The command prints, so that it runs when the signal comes to it too
    make = start(tmp_path, """sh -c 'echo "$$1"; exec sleep 20' - "$$folder"; true""")
    assert make.stdout is not None
    folder = Path(make.stdout.readline().strip())
    assert folder.is_dir()
    os.killpg(make.pid, number)
    make.communicate(timeout=30)
    assert make.returncode != 0
    assert not folder.exists()


def test_data_that_was_named_is_measured_or_nothing(tmp_path: Path) -> None:
    told = start(tmp_path, "true", "DATA=/typo").communicate(timeout=30)[1].splitlines()
    assert told[0] == "measuring the cases of /typo"
    assert told[1].startswith("-m webapp.casefiles /typo/helpline_cases.jsonl")
