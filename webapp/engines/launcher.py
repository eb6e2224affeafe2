"""Start everything in order, say so, and stop everything in order: the story of `make run`."""

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from webapp.engines import (
    EngineError,
    environment,
    interruption,
    label_studio,
    ports,
    postgres,
    processes,
    programs,
    valkey,
)
from webapp.engines.folders import REPOSITORY, Folders
from webapp.engines.supervision import Supervisor


def run(folders: Folders, *, engines_only: bool, with_demo: bool = True) -> None:
    """Run Caseloop, or only its engines, until somebody interrupts.

    Raises:
        EngineError: something cannot start, or runs already.
    """
    folders.create()
    with _lock(folders):
        interruption.heed()
        try:
            if count := processes.stop_all(folders.var):
                say(f"Stopped {count} processes that an earlier start had left")
            _run(folders, engines_only=engines_only, with_demo=with_demo)
        except interruption.Interrupted:
            say("Stopped.")
        finally:
            interruption.ignore()
            processes.stop_all(folders.var)  # Whatever a program has left


def serve_label_studio(folders: Folders) -> None:
    """Prepare Label Studio and become it: what the supervisor runs."""
    port = ports.read(folders.ports)["label_studio"]
    variables = label_studio.environment(folders.label_studio, port, environment.read(folders.env))
    label_studio.prepare(folders.label_studio, variables)
    words = label_studio.command(folders.label_studio, port)
    os.chdir(folders.label_studio)
    os.execve(words[0], words, variables)  # noqa: S606 - a fixed command, without a shell


def say(line: str) -> None:
    """Print one line of progress at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _run(folders: Folders, *, engines_only: bool, with_demo: bool) -> None:
    begun = time.monotonic()
    chosen = _choose_addresses(folders)
    stores = _prepare_stores(folders)
    labelling = [programs.labelling(chosen["label_studio"])] if "label_studio" in chosen else []
    ours = [] if engines_only else [programs.web(chosen["web"]), *programs.workers(folders)]

    with Supervisor([*stores, *labelling, *ours], folders) as supervisor:
        supervisor.wait_until_up()
        _start(supervisor, [*stores, *labelling])
        _wait_for(supervisor, stores)
        if ours:
            _manage(folders, "migrate", "--verbosity", "0", title="Tables of the database")
            _start(supervisor, ours)
            if with_demo:
                _manage(folders, "load_demo", title="Demonstration")
        if labelling and not label_studio.is_ready(chosen["label_studio"]):
            say("Waiting for Label Studio; the first time takes about a minute")
        _wait_for(supervisor, [*labelling, *ours])
        say(_summary(folders, engines_only=engines_only, seconds=time.monotonic() - begun))
        supervisor.wait()


@contextmanager
def _lock(folders: Folders) -> Iterator[None]:
    with (folders.run / "launcher.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            port = ports.read(folders.ports).get("web", ports.FIRST["web"])
            raise EngineError(f"Caseloop already runs here: http://127.0.0.1:{port}") from exc
        yield


def _is_ours(address: str) -> bool:
    """Say whether we run this engine: nobody has named another one."""
    return address not in os.environ


def _choose_addresses(folders: Folders) -> dict[str, int]:
    if not _is_ours("LABEL_STUDIO_URL") and "LABEL_STUDIO_API_KEY" not in os.environ:
        raise EngineError("LABEL_STUDIO_URL is set, so LABEL_STUDIO_API_KEY must be set to a key of that server")
    chosen = ports.choose(folders.ports, ["web", "label_studio"] if _is_ours("LABEL_STUDIO_URL") else ["web"])
    addresses = {
        "SITE_URL": f"http://127.0.0.1:{chosen['web']}",
        "ALLOWED_HOSTS": "127.0.0.1,localhost",
        "DATABASE_URL": postgres.url(folders.postgres_socket),
        "REDIS_URL": valkey.url(folders.valkey_socket),
    }
    if "label_studio" in chosen:
        label_studio.version()  # Now, rather than in a log, say that it is not installed
        addresses["LABEL_STUDIO_URL"] = label_studio.url(chosen["label_studio"])
    environment.write(folders.env, addresses)
    return chosen


def _prepare_stores(folders: Folders) -> list[programs.Program]:
    stores = []
    if _is_ours("DATABASE_URL"):
        for folder in postgres.prepare(folders.postgres, folders.postgres_socket):
            say(f"Opened {folder} for passing through (chmod o+x), because PostgreSQL runs as {postgres.account()}")
        stores.append(programs.database(folders))
    if _is_ours("REDIS_URL"):
        valkey.prepare(folders.valkey, folders.valkey_socket)
        stores.append(programs.broker(folders))
    return stores


def _start(supervisor: Supervisor, started: list[programs.Program]) -> None:
    for program in started:
        supervisor.start(program)


def _wait_for(supervisor: Supervisor, started: list[programs.Program]) -> None:
    for program in started:
        seconds = supervisor.wait_for(program)
        say(f"{program.title} ready ({seconds:.1f} s)")


def _manage(folders: Folders, *arguments: str, title: str) -> None:
    begun = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "manage.py", *arguments],
        cwd=REPOSITORY,
        env={**os.environ, **processes.mark(folders.var)},
        stdin=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is for us; what is left of this process is stopped in the end
    )
    if (code := process.wait()) != 0:
        raise EngineError(f"manage.py {arguments[0]} failed with {code}; the lines above say why")
    say(f"{title} ready ({time.monotonic() - begun:.1f} s)")


def _summary(folders: Folders, *, engines_only: bool, seconds: float) -> str:
    addresses = environment.read(folders.env) | os.environ
    if engines_only:
        found = {"PostgreSQL": addresses["DATABASE_URL"], "Valkey": addresses["REDIS_URL"]}
    else:
        found = {"Caseloop": addresses["SITE_URL"], "Passwords": os.fspath(folders.var / "demo-people.txt")}
    found |= {"Label Studio": addresses["LABEL_STUDIO_URL"], "Secrets": os.fspath(folders.env)}
    found["Logs"] = os.fspath(folders.log)
    lines = [f"{name + ':':<14}{value}" for name, value in found.items()]
    return "\n".join(["", f"Ready after {seconds:.0f} s. Ctrl-C stops everything.", *lines, ""])
