"""The whole program on free ports, and a browser."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from playwright.sync_api import Browser, sync_playwright
from psycopg.rows import dict_row

from tests.engines import label_studio_template
from webapp.demo import generate
from webapp.engines import environment, label_studio
from webapp.engines.folders import REPOSITORY, Folders

PATIENCE_SECONDS = 120
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

    def wait_for(self, what: str, found: Callable[[], Any]) -> Any:
        """Wait until something is found, and return it."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            if answer := found():
                return answer
            time.sleep(0.5)
        logs = "\n".join(f"--- {log.name}\n{log.read_text()[-1500:]}" for log in self.folders.log.glob("*.log"))
        raise AssertionError(f"waited {PATIENCE_SECONDS} s in vain for {what}\n{logs}")


def write_calls(folder: Path, labelled: int, unlabelled: int, *more: dict[str, Any]) -> Path:
    """Write a file of demo calls, so many of each, and some rows more."""
    path = next(path for path in generate.write(folder / "demo") if path.name.startswith("helpline"))
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    chosen = [row for row in rows if row.get("labels")][:labelled]
    chosen += [row for row in rows if not row.get("labels")][:unlabelled]
    file = folder / "calls.jsonl"
    file.write_text("\n".join(json.dumps(row) for row in [*chosen, *more]))
    return file


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """Start everything as `make run` does, but for the demo, in a folder of its own; one for each module of tests."""
    if not label_studio.is_installed():
        pytest.fail("Label Studio is not installed; `make test` installs it")
    folders = Folders(REPOSITORY / "var" / f"test-e2e-{os.getpid()}-{time.monotonic_ns()}")
    variables = {name: value for name, value in os.environ.items() if name not in OWN_ENGINES}
    variables |= {"CASELOOP_VAR": str(folders.var), "DJANGO_SETTINGS_MODULE": "webapp.settings"}
    folders.create()
    shutil.copytree(label_studio_template(), folders.label_studio, dirs_exist_ok=True)
    command = [sys.executable, "-m", "webapp.engines", "run", "--without-demo"]
    output = folders.var / "launcher.txt"
    with output.open("w") as file:
        process = subprocess.Popen(command, cwd=REPOSITORY, env=variables, stdout=file, stderr=file)
    try:
        deadline = time.monotonic() + 300
        while "Ctrl-C stops everything" not in output.read_text():
            assert process.poll() is None, output.read_text()
            assert time.monotonic() < deadline, output.read_text()
            time.sleep(0.5)
        yield Stack(folders, variables)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)
        shutil.rmtree(folders.var, ignore_errors=True)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium, as Debian installs it; without it the test is skipped, and fails in CI."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        reason = "no Chromium on this machine; `apt-get install chromium` brings it"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    quiet = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
    quiet += ["--disable-background-networking", "--disable-component-update"]
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")  # Playwright runs an event loop in the thread of the tests
        chromium = playwright.chromium.launch(executable_path=path, args=quiet)
        yield chromium
        chromium.close()


@pytest.fixture
def screenshots(tmp_path: Path) -> Path:
    """Where pictures of the pages go: a folder that is kept when CASELOOP_SCREENSHOTS names one."""
    folder = Path(os.environ.get("CASELOOP_SCREENSHOTS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    return folder
