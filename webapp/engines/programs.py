"""The programs of one Caseloop: how each starts, answers and stops."""

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from webapp.engines import label_studio, ports, postgres, processes, valkey
from webapp.engines.folders import Folders

ENGINES, WEBAPP = GROUPS = ("engines", "webapp")
PREPARE_AND_SERVE = (sys.executable, "-m", "webapp.engines", "label-studio")


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """One process to keep running.

    Attributes:
        group: the groups start in the order of GROUPS and stop in the reverse one.
        title: how people call it.
        is_ready: says whether it answers; None where running is all there is to see.
        ready_seconds: how long it may take to be ready.
        account: whom to run it as; None is our own account.
        stop_seconds: how long it may take to stop before it is killed.
        stop_whole_group: send the stop signal to its children too.
    """

    group: str
    name: str
    title: str
    command: Sequence[str]
    is_ready: Callable[[], bool] | None = None
    ready_seconds: float = 60
    account: str | None = None
    stop_signal: str = "TERM"
    stop_seconds: int = 10
    stop_whole_group: bool = False

    @property
    def address(self) -> str:
        """What supervisord calls it."""
        return f"{self.group}:{self.name}"

    def log(self, folders: Folders) -> Path:
        """Return the file that receives all that it prints."""
        return folders.log / f"{self.name}.log"


def database(folders: Folders, **settings: str) -> Program:
    """Describe the embedded PostgreSQL, with further settings of its own by name."""
    return Program(
        group=ENGINES,
        name="postgres",
        title="PostgreSQL",
        command=_isolated(folders, postgres.command(folders.postgres, folders.postgres_socket, **settings)),
        is_ready=partial(postgres.is_ready, folders.postgres_socket),
        account=postgres.account(),
        stop_signal="INT",  # Its fast shutdown; TERM would wait until everybody has gone
        stop_seconds=30,
    )


def broker(folders: Folders) -> Program:
    """Describe the embedded Valkey."""
    return Program(
        group=ENGINES,
        name="valkey",
        title="Valkey",
        command=_isolated(folders, valkey.command(folders.valkey, folders.valkey_socket)),
        is_ready=partial(valkey.is_ready, folders.valkey_socket),
    )


def labelling(port: int, command: Sequence[str] = PREPARE_AND_SERVE) -> Program:
    """Describe the embedded Label Studio."""
    return Program(
        group=ENGINES,
        name="label-studio",
        title="Label Studio",
        command=command,
        is_ready=partial(label_studio.is_ready, port),
        ready_seconds=600,  # The first start makes its tables: a minute on a machine that has nothing else to do
        stop_seconds=15,
        stop_whole_group=True,
    )


def web(folders: Folders, port: int) -> Program:
    """Describe the web server."""
    return Program(
        group=WEBAPP,
        name="web",
        title="Web server",
        command=[
            *(sys.executable, "-m", "gunicorn", "webapp.wsgi:application", "--bind", f"127.0.0.1:{port}"),
            *("--workers", "2", "--threads", "4", "--graceful-timeout", "8", "--no-control-socket"),
            *("--logger-class", "webapp.weblog.WebLog"),
            *("--env", f"PROMETHEUS_MULTIPROC_DIR={folders.metrics}"),  # Where web processes count together
        ],
        is_ready=partial(ports.answers, port, "/healthz"),
    )


def workers() -> list[Program]:
    """Describe the Celery programs: one worker for cases, one for errands, one for training, the scheduler."""
    return [
        _celery("worker", "Worker", "worker", "-Q", "default", "--concurrency", "1", "-n", "worker@%h"),
        _celery("errands", "Worker for errands", "worker", "-Q", "errands", "--concurrency", "1", "-n", "errands@%h"),
        _celery("trainer", "Training worker", "worker", "-Q", "train", "--concurrency", "1", "-n", "trainer@%h"),
        # No pid file: after a crash, another process may have that id.
        _celery("scheduler", "Scheduler", "beat", "--pidfile", ""),
    ]


def _celery(name: str, title: str, *arguments: str) -> Program:
    command = [sys.executable, "-m", "celery", "-A", "webapp.celery_app", *arguments, "--loglevel", "INFO"]
    return Program(group=WEBAPP, name=name, title=title, command=command, stop_seconds=15)


def _isolated(folders: Folders, command: list[str]) -> list[str]:
    # A server needs none of our variables, and the account that PostgreSQL may run as must not read our secrets.
    variables = {"PATH": os.defpath, **processes.mark(folders.var)}
    return ["/usr/bin/env", "-i", *(f"{name}={value}" for name, value in variables.items()), *command]
