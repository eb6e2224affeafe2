"""Find and stop what an earlier start left running, and nothing else.

Every process that we start inherits the variable MARK with its `var` folder as the value. It is not
CASELOOP_VAR, which people may export in their shell: then their editor would carry it too.
"""

import contextlib
import os
from pathlib import Path

import psutil

MARK = "CASELOOP_SUPERVISED"
ROUNDS = 5  # A supervisor that is still alive may replace what we stop


def of(var: Path) -> list[psutil.Process]:
    """List the processes that belong to `var` or a folder in it, without this one and those that it runs in."""
    own = psutil.Process()
    spared = {own.pid, *(parent.pid for parent in own.parents())}
    return [process for process in psutil.process_iter() if process.pid not in spared and _belongs(process, var)]


def stop_all(var: Path, *, grace_seconds: float = 10) -> int:
    """Stop the processes that belong to `var`, by force after the grace; return how many there were.

    Raises:
        psutil.AccessDenied: one of them is another account's.
    """
    stopped: set[int] = set()
    for _ in range(ROUNDS):
        processes = of(var)
        if not processes:
            break
        stopped.update(process.pid for process in processes)
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.terminate()
        _, alive = psutil.wait_procs(processes, timeout=grace_seconds)
        for process in alive:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(alive, timeout=grace_seconds)
    return len(stopped)


def mark(var: Path) -> dict[str, str]:
    """Return the variables that a process of `var` must carry."""
    return {MARK: os.fspath(var), "CASELOOP_VAR": os.fspath(var)}


def _belongs(process: psutil.Process, var: Path) -> bool:
    try:
        # PostgreSQL's children write their titles over their environment; they stay in its data folder.
        folder = process.cwd() if process.name() == "postgres" else process.environ().get(MARK)
        return folder is not None and Path(folder).is_relative_to(var)
    except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
        return False
