"""What goes wrong in a soak, and when: parts are stopped as supervisord does, or killed as a machine does."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

import psutil

from tests.stack import Stack
from webapp.engines import processes

LABEL_STUDIO, ERRANDS = "engines:label-studio", "webapp:errands"
BUSY_SECONDS = 10  # How long a kill waits for the worker to be in the middle of something


def stop(stack: Stack, program: str) -> None:
    """Stop a program until it is started."""
    stack.supervisor.stopProcess(program, True)


def start(stack: Stack, program: str) -> None:
    """Start a program that was stopped."""
    stack.supervisor.startProcess(program, True)


def kill_workers(stack: Stack) -> None:
    """Kill the workers for cases and for errands, while the second speaks to Label Studio where it does so soon."""
    deadline = time.monotonic() + BUSY_SECONDS
    speaks = "select 1 from pg_locks where locktype = 'advisory'"
    while time.monotonic() < deadline and not stack.rows(speaks):
        time.sleep(0.02)
    _kill(stack, lambda words: "celery" in words and ("errands" in words or "default" in words))


def kill_broker(stack: Stack) -> None:
    """Kill Valkey."""
    _kill(stack, lambda words: any("valkey-server" in word for word in words))


def _kill(stack: Stack, is_meant: Callable[[list[str]], bool]) -> None:
    killed = 0
    for process in processes.of(stack.folders.var):
        with contextlib.suppress(psutil.NoSuchProcess):
            if is_meant(process.cmdline()):
                process.kill()
                killed += 1
    assert killed, "expected something to kill, found nothing"
