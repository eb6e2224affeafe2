"""The whole program on free ports, and a browser."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests import stack as stacks
from tests.stack import Stack
from webapp.demo import generate
from webapp.engines import label_studio


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
    """Start everything as `make run` does, but for the demo; one for each module of tests."""
    if not label_studio.is_installed():
        pytest.fail("Label Studio is not installed; `make test` installs it")
    with stacks.running(f"e2e-{os.getpid()}-{time.monotonic_ns()}") as found:
        yield found


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
