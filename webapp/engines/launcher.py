"""Start everything in order, say so, and stop everything in order: the story of `make run`."""

import fcntl
import os
import shutil
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


def wants_demo(asked: str) -> bool:
    """Say whether to load the demonstration: as DEMO asks, or, where it asks nothing, only into a database of ours.

    Raises:
        EngineError: DEMO is neither 1 nor 0, nor empty.
    """
    if asked not in ("", "0", "1"):
        raise EngineError(f"DEMO is {asked!r}; expected 1 or 0")
    return asked == "1" or (asked == "" and _is_ours("DATABASE_URL"))


def run(folders: Folders, *, engines_only: bool, with_demo: bool) -> None:
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
            shutil.rmtree(folders.metrics, ignore_errors=True)  # Counters of processes that are gone
            folders.metrics.mkdir(mode=0o700)
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
    with_demo = with_demo and not engines_only
    chosen = _choose_addresses(folders)
    stores = _prepare_stores(folders)
    labelling = [programs.labelling(chosen["label_studio"])] if "label_studio" in chosen else []
    ours = [] if engines_only else [programs.web(folders, chosen["web"]), *programs.workers()]

    with Supervisor([*stores, *labelling, *ours], folders) as supervisor:
        supervisor.wait_until_up()
        _start(supervisor, [*stores, *labelling])
        _wait_for(supervisor, stores)
        if ours:
            _manage(folders, "migrate", "--verbosity", "0", title="Tables of the database")
            _start(supervisor, ours)
            _load(folders, with_demo=with_demo)
        if labelling and not label_studio.is_ready(chosen["label_studio"]):
            say("Waiting for Label Studio; the first time takes about a minute")
        _wait_for(supervisor, [*labelling, *ours])
        say(_summary(folders, engines_only=engines_only, with_demo=with_demo, seconds=time.monotonic() - begun))
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
    return not environment.is_set(address)


def _choose_addresses(folders: Folders) -> dict[str, int]:
    if not _is_ours("LABEL_STUDIO_URL") and not environment.is_set("LABEL_STUDIO_API_KEY"):
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


def _load(folders: Folders, *, with_demo: bool) -> None:
    if with_demo:
        _manage(folders, "load_demo", title="Demonstration")
        say("Its cases are synthetic. To start with an empty database instead: make run DEMO=0")
    else:
        _manage(folders, "register_schemas", title="Label schemas")
        why = "DEMO is 0" if _is_ours("DATABASE_URL") else "DATABASE_URL names a database of your own"
        say(f"No demonstration, because {why}. To load it: make run DEMO=1")
        say("To make a person: manage.py add_person NAME --role admin --email EMAIL")


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


def _summary(folders: Folders, *, engines_only: bool, with_demo: bool, seconds: float) -> str:
    addresses = environment.read(folders.env) | os.environ
    named = {"Caseloop": "SITE_URL"}
    if engines_only:
        named = {"PostgreSQL": "DATABASE_URL", "Valkey": "REDIS_URL"}
    named |= {"Label Studio": "LABEL_STUDIO_URL"}
    found = {title: addresses.get(name, f"see {name}_FILE") for title, name in named.items()}
    if with_demo:
        found["Passwords"] = os.fspath(folders.var / "demo-people.txt")
    found |= {"Secrets": os.fspath(folders.env), "Logs": os.fspath(folders.log)}
    lines = [f"{name + ':':<14}{value}" for name, value in found.items()]
    return "\n".join(["", f"Ready after {seconds:.0f} s. Ctrl-C stops everything.", *lines, ""])
