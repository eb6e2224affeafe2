"""A pytest plugin that gives the whole run a PostgreSQL and a Valkey of its own, and, where asked for, a Label Studio.

They start before pytest-django reads the settings, in `var/test-engines-PID`, and are gone afterwards. With `-n`,
only the controller starts them, and the workers inherit its environment.
"""

import fcntl
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

# Before the first import from `webapp`, whose Celery app would choose the real settings.
os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"

from webapp.engines import environment, label_studio, postgres, processes, programs, valkey
from webapp.engines.folders import REPOSITORY, Folders
from webapp.engines.programs import Program

VAR = REPOSITORY / "var"
PREFIX = "test-engines-"
NOBODY_LISTENS = "http://127.0.0.1:9"  # The discard port: a test that wants a Label Studio must ask for one
UNSAFE_BUT_FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
SECRETS = {name: f"{name.lower()}-of-the-tests" for name in environment.SECRETS} | {"LABEL_STUDIO_API_KEY": "0a" * 20}


@dataclass(frozen=True, slots=True)
class LabelStudio:
    """A real Label Studio, with an admin and no projects."""

    url: str
    api_key: str
    webhook_secret: str
    bridge_secret: str
    data: Path


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Iterator[None]:
    """Start the engines: as a wrapper this comes before pytest-django, which reads the settings in the same hook."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        place = own()
        options = early_config.known_args_namespace
        if not (options.help or options.version or options.collectonly):
            stack = ExitStack()
            early_config.add_cleanup(stack.close)
            stack.enter_context(running(place))
    return (yield)


@pytest.fixture(scope="session", name="label_studio")
def _label_studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabelStudio]:
    """A Label Studio on a free port, started from a copy of a folder that was migrated once."""
    if not label_studio.is_installed():
        reason = f"Label Studio is not installed in {label_studio.VENV}; `make test` installs it"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    place = Folders(tmp_path_factory.mktemp("label-studio"))
    place.create()
    port = free_port()
    variables = label_studio.environment(place.label_studio, port, SECRETS)
    shutil.copytree(label_studio_template(), place.label_studio)
    server = programs.labelling(port, label_studio.command(place.label_studio, port))
    with started(server, place, variables):
        yield LabelStudio(
            url=label_studio.url(port),
            api_key=SECRETS["LABEL_STUDIO_API_KEY"],
            webhook_secret=SECRETS["LABEL_STUDIO_WEBHOOK_SECRET"],
            bridge_secret=SECRETS["LABEL_STUDIO_BRIDGE_SECRET"],
            data=place.label_studio,
        )


@contextmanager
def started(program: Program, place: Folders, variables: Mapping[str, str] | None = None) -> Iterator[None]:
    """Run a program without a supervisor, from when it is ready until the block ends."""
    account = pwd.getpwnam(program.account) if program.account else None
    with program.log(place).open("ab") as log:
        process = subprocess.Popen(
            program.command,
            env=variables,
            user=account and account.pw_uid,
            group=account and account.pw_gid,
            extra_groups=[] if account else None,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Out of reach of Ctrl-C, so that tests that are being stopped still have it
        )
    try:
        deadline = time.monotonic() + program.ready_seconds
        while not program.is_ready():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{program.title} did not start:\n{program.log(place).read_text()[-2000:]}")
            time.sleep(0.02)
        yield
    finally:
        process.send_signal(signal.Signals[f"SIG{program.stop_signal}"])
        process.wait(program.stop_seconds)


def free_port() -> int:
    """Return a port that nobody uses at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def remove(place: Folders) -> None:
    """Remove all folders of a Caseloop that does not run."""
    shutil.rmtree(place.sockets, ignore_errors=True)  # Elsewhere, when the path of `var` is long
    shutil.rmtree(place.var, ignore_errors=True)


def own() -> Folders:
    """Return folders for the engines of this process, and set the environment so that all it starts uses these."""
    place = Folders(VAR / f"{PREFIX}{os.getpid()}")
    _set_environment(place)
    return place


@contextmanager
def running(place: Folders) -> Iterator[None]:
    """Run a PostgreSQL and a Valkey until the block ends."""
    _clean_up()
    try:
        place.create()
        postgres.prepare(place.postgres, place.postgres_socket)
        valkey.prepare(place.valkey, place.valkey_socket)
        database = programs.database(place, **UNSAFE_BUT_FAST)
        with started(database, place), started(programs.broker(place), place):
            yield
    finally:
        processes.stop_all(place.var, grace_seconds=2)
        remove(place)


def _set_environment(place: Folders) -> None:
    os.environ.update(
        SECRETS,
        **processes.mark(place.var),
        DATABASE_URL=postgres.url(place.postgres_socket),
        REDIS_URL=valkey.url(place.valkey_socket),
        LABEL_STUDIO_URL=NOBODY_LISTENS,
        SITE_URL="http://127.0.0.1:8000",
    )


def _clean_up() -> None:
    """Remove what test runs left that were killed."""
    for folder in VAR.glob(f"{PREFIX}*"):
        if not psutil.pid_exists(int(folder.name.removeprefix(PREFIX))):
            processes.stop_all(folder, grace_seconds=2)
            remove(Folders(folder))


def label_studio_template() -> Path:
    """Return a folder that Label Studio has migrated, made once for each version of it."""
    folder = VAR / f"test-label-studio-template-{label_studio.version()}"
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # The workers of `-n` all ask at once
        label_studio.prepare(folder, label_studio.environment(folder, 8081, SECRETS))
    return folder
