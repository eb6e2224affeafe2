"""A running Caseloop as other programs meet it, and its processes as the machine does."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.engines import free_port
from tests.stack import Stack
from webapp.engines import processes
from webapp.engines.folders import REPOSITORY

SOURCE = "traffic"
SENTENCE = "She is hungry."
MEGABYTE = 1024 * 1024
ANSWER = 300.0  # Seconds that a request may take


class Traffic:
    """A running Caseloop, with a token that opens it."""

    def __init__(self, stack: Stack, scale: float) -> None:
        self.stack, self.scale = stack, scale
        scopes = "cases:read,cases:write,predict,dropins"
        self.token = stack.manage("create_token", SOURCE, "--scopes", scopes).split()[-1]
        self.variables = {**stack.variables, **stack.addresses}

    def scaled(self, n: float, *, least: int = 1) -> int:
        """Return a size or a time as it is at this scale."""
        return max(least, round(n * self.scale))

    def client(self, url: str = "") -> httpx.Client:
        """Return a client that keeps its connection."""
        signed = {"Authorization": f"Bearer {self.token}"}
        return httpx.Client(base_url=url or self.stack.url, headers=signed, timeout=ANSWER)

    def model(self) -> Path:
        """Return the folder of the model in use."""
        (row,) = self.stack.rows(
            """select v.folder from webapp_promotion p join webapp_modelversion v on v.id = p.version_id
               join webapp_schema s on s.id = v.schema_id where s.name = 'helpline' order by p.id desc limit 1"""
        )
        return self.stack.folders.var / "models" / str(row["folder"])

    def counted(self, query: str, *values: object) -> int:
        """Return the one number that a query answers."""
        return int(self.stack.rows(query, *values)[0]["n"])


@contextmanager
def web_process(traffic: Traffic) -> Iterator[str]:
    """Serve by one process, which has loaded the model, beside those of the stack."""
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", "webapp.wsgi:application", "--bind", f"127.0.0.1:{port}"]
    command += ["--workers", "1", "--threads", "4", "--no-control-socket", "--timeout", str(int(ANSWER))]
    process = subprocess.Popen(
        command, cwd=REPOSITORY, env=traffic.variables, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        url = f"http://127.0.0.1:{port}"
        with traffic.client(url) as client:
            warm(client, "/api/v1/predict", {"schema": "helpline", "texts": [SENTENCE]})
        yield url
    finally:
        process.terminate()
        process.wait(60)


def warm(client: httpx.Client, path: str, body: Any) -> None:
    """Ask until it is answered."""
    deadline = time.monotonic() + ANSWER
    while time.monotonic() < deadline:
        try:
            if client.post(path, json=body).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.5)
    raise SystemExit(f"expected an answer of {path}, found none in {ANSWER:.0f} s")


@contextmanager
def without(traffic: Traffic, program: str) -> Iterator[None]:
    """Stop a program of the stack until the block ends."""
    remote = traffic.stack.supervisor
    remote.stopProcess(f"webapp:{program}")
    try:
        yield
    finally:
        remote.startProcess(f"webapp:{program}")


@contextmanager
def memory(traffic: Traffic) -> Iterator[dict[str, int]]:
    """Note the most memory that a web process and a worker hold meanwhile, in MB of 2**20 bytes."""
    peaks = {"web": 0, "worker": 0}
    is_over = threading.Event()

    def watch() -> None:
        while not is_over.wait(1.0):
            for process in processes.of(traffic.stack.folders.var):
                try:
                    command = " ".join(process.cmdline())
                    name = "web" if "gunicorn" in command else "worker" if "worker@" in command else ""
                    if name:
                        peaks[name] = max(peaks[name], process.memory_info().rss // MEGABYTE)
                except psutil.Error:
                    pass  # It has ended

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield peaks
    finally:
        is_over.set()
        watcher.join()


def run(command: list[str], traffic: Traffic) -> tuple[str, int]:
    """Run a program; return what it printed and the most memory that it held, in MB of 2**20 bytes."""
    process = subprocess.Popen(command, cwd=REPOSITORY, env=traffic.variables, stdout=subprocess.PIPE, text=True)
    peak, own = 0, psutil.Process(process.pid)
    while process.poll() is None:
        try:
            peak = max(peak, own.memory_info().rss // MEGABYTE)
        except psutil.Error:
            break
        time.sleep(0.1)
    said = process.stdout.read() if process.stdout else ""
    if process.wait():
        raise SystemExit(f"{command[2]} ended with {process.returncode}")
    return said, peak


def seconds_of(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun
