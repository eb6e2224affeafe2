"""The whole program as `make run` starts it, in a folder of its own and on free ports."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any
from xmlrpc.client import ServerProxy

import psycopg
from psycopg.rows import dict_row
from supervisor.xmlrpc import SupervisorTransport

from tests.engines import free_port, label_studio_template
from webapp.engines import environment
from webapp.engines.folders import REPOSITORY, Folders

PATIENCE_SECONDS = 120
START_SECONDS = 600
OWN_ENGINES = (
    "DATABASE_URL",
    "REDIS_URL",
    "LABEL_STUDIO_URL",
    "LABEL_STUDIO_API_KEY",
    "SITE_URL",
    *environment.SECRETS,
)


@dataclass(frozen=True)
class Stack:
    """A running Caseloop."""

    folders: Folders
    variables: dict[str, str]

    @property
    def addresses(self) -> dict[str, str]:
        """What this stack wrote; the environment of the tests names other engines, and would win."""
        lines = self.folders.env.read_text().splitlines()
        return dict(line.split("=", 1) for line in lines if not line.startswith("#"))

    @property
    def url(self) -> str:
        return self.addresses["SITE_URL"]

    def manage(self, *arguments: str) -> str:
        """Run a command of manage.py and return what it prints."""
        command = [sys.executable, "manage.py", *arguments]
        done = subprocess.run(command, cwd=REPOSITORY, env=self.variables, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def status(self, schema: str = "helpline") -> dict[str, Any]:
        return json.loads(self.manage("loop_status", "--json"))["schemas"][schema]

    def rows(self, query: str, *values: object) -> list[dict[str, Any]]:
        """Ask the database itself."""
        with psycopg.connect(self.addresses["DATABASE_URL"], row_factory=dict_row) as connection:
            return connection.execute(query, values).fetchall()  # type: ignore[arg-type]

    def label_studio_rows(self, query: str) -> list[tuple[Any, ...]]:
        """Ask Label Studio's own database, which tells more than its API."""
        path = self.folders.label_studio / "label_studio.sqlite3"
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as connection:
            return connection.execute(query).fetchall()

    @property
    def supervisor(self) -> Any:
        """What takes orders to start and stop programs."""
        transport = SupervisorTransport(serverurl=f"unix://{self.folders.supervisor_socket}")
        return ServerProxy("http://supervisor", transport=transport).supervisor

    def wait_for(self, what: str, found: Callable[[], Any]) -> Any:
        """Wait until something is found, and return it."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            if answer := found():
                return answer
            time.sleep(0.5)
        logs = "\n".join(f"--- {log.name}\n{log.read_text()[-1500:]}" for log in self.folders.log.glob("*.log"))
        raise AssertionError(f"waited {PATIENCE_SECONDS} s in vain for {what}\n{logs}")


@contextmanager
def running(name: str, *, with_demo: bool = False, **settings: str) -> Iterator[Stack]:
    """Start everything, and stop and remove it when the block ends.

    Args:
        name: of the folder, after `var/test-`; nothing else may run there.
        with_demo: whether the demo is loaded and its models are trained: minutes.
        settings: variables of the environment. With a `LABEL_STUDIO_URL`, none is started.

    Raises:
        RuntimeError: it did not start.
    """
    folders = Folders(REPOSITORY / "var" / f"test-{name}")
    variables = {name: value for name, value in os.environ.items() if name not in OWN_ENGINES}
    variables |= {"CASELOOP_VAR": str(folders.var), "DJANGO_SETTINGS_MODULE": "webapp.settings"} | settings
    folders.create()
    # Of two that start at once, both would find the usual ones free
    folders.ports.write_text(json.dumps({"web": free_port(), "label_studio": free_port()}))
    if "LABEL_STUDIO_URL" not in settings:
        shutil.copytree(label_studio_template(), folders.label_studio, dirs_exist_ok=True)
    command = [sys.executable, "-m", "webapp.engines", "run", *([] if with_demo else ["--without-demo"])]
    output = folders.var / "launcher.txt"
    with output.open("w") as file:
        process = subprocess.Popen(command, cwd=REPOSITORY, env=variables, stdout=file, stderr=file)
    try:
        deadline = time.monotonic() + START_SECONDS
        while "Ctrl-C stops everything" not in output.read_text():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(output.read_text())
            time.sleep(0.5)
        yield Stack(folders, variables)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)
        shutil.rmtree(folders.var, ignore_errors=True)
