"""What `make run` does, started for real in folders of its own."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from uuid import uuid4

import psutil
import psycopg
import pytest
import redis

from tests.engines import NOBODY_LISTENS
from webapp.engines import (
    EngineError,
    environment,
    interruption,
    launcher,
    ports,
    postgres,
    processes,
    supervision,
    valkey,
)
from webapp.engines.folders import REPOSITORY, Folders
from webapp.engines.programs import Program

COMMAND = (sys.executable, "-m", "webapp.engines", "run", "--engines-only")
COUNTS = [f"select count(*) from {table}" for table in ("webapp_schema", "webapp_case", "auth_user")]  # noqa: S608


@pytest.mark.usefixtures("bare_environment")
def test_what_was_stored_survives_when_every_process_is_killed(place: Folders) -> None:
    with launched(place) as launcher:
        write(place, "before")
        victims = [*processes.of(place.var), psutil.Process(launcher.pid)]
        assert len(victims) >= 4  # The launcher, supervisord, PostgreSQL and Valkey
        for victim in victims:
            kill(victim)
        launcher.wait()
        with launched(place) as again:
            assert read(place) == ("before", b"before")
            assert interrupt(again) == 0


@pytest.mark.usefixtures("bare_environment")
def test_a_start_stops_what_a_killed_launcher_has_left(place: Folders) -> None:
    with launched(place) as launcher:
        write(place, "before")
        kill(psutil.Process(launcher.pid))
        launcher.wait()
        left = processes.of(place.var)
        assert left
        with launched(place):
            assert read(place) == ("before", b"before")
            assert not any(process.is_running() for process in left)


@pytest.mark.usefixtures("bare_environment")
def test_a_second_launcher_refuses_and_names_the_address_of_the_first(place: Folders) -> None:
    with launched(place) as first:
        second = subprocess.run(COMMAND, env=variables(place), capture_output=True, text=True, timeout=20, check=False)
        port = ports.read(place.ports)["web"]
        assert (second.returncode, second.stderr) == (1, f"Caseloop already runs here: http://127.0.0.1:{port}\n")
        assert first.poll() is None
        write(place, "still there")


@pytest.mark.usefixtures("bare_environment")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_all_that_was_started_and_nothing_else(place: Folders, number: signal.Signals) -> None:
    # The bystander runs where CASELOOP_VAR is exported, as an editor might.
    bystander = subprocess.Popen(["sleep", "60"], env={"CASELOOP_VAR": os.fspath(place.var), "PATH": os.defpath})
    try:
        with launched(place) as launcher:
            started = processes.of(place.var)
            assert interrupt(launcher, number) == 0
            assert not any(process.is_running() for process in started)
            assert processes.of(place.var) == []
            assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


@pytest.mark.usefixtures("bare_environment")
def test_impatience_does_not_disturb_the_orderly_stop(place: Folders) -> None:
    with launched(place) as launcher:
        while launcher.poll() is None:
            launcher.send_signal(signal.SIGINT)
            time.sleep(0.05)
        assert launcher.stdout.read().splitlines()[-1] == "Stopped."  # And no traceback
        assert launcher.returncode in {0, -signal.SIGINT}  # The last one may come when Python itself is ending
        assert processes.of(place.var) == []
        assert (place.log / "postgres.log").read_text().rstrip().endswith("database system is shut down")


@pytest.mark.usefixtures("bare_environment")
def test_a_program_that_dies_is_started_again(place: Folders) -> None:
    with launched(place):
        write(place, "before")
        victim = next(process for process in processes.of(place.var) if process.name() == "valkey-server")
        time.sleep(max(0, victim.create_time() + 2 - time.time()))
        victim.kill()
        victim.wait(5)
        wait_until_answers(place)
        assert read(place) == ("before", b"before")


def test_a_program_that_cannot_start_is_reported_with_the_end_of_its_log(place: Folders) -> None:
    broken = Program(
        group="engines",
        name="broken",
        title="Broken",
        command=[
            sys.executable,
            "-c",
            "import sys; print(chr(10).join(map(str, range(99)))); sys.exit('no such file')",
        ],
    )
    handlers = {number: signal.getsignal(number) for number in interruption.SIGNALS}
    try:
        with supervision.Supervisor([broken], place) as supervisor:
            supervisor.wait_until_up()
            supervisor.start(broken)
            with pytest.raises(EngineError) as caught:
                supervisor.wait_for(broken)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    lines = str(caught.value).splitlines()
    assert lines[0] == f"Broken failed to start. The end of {place.log / 'broken.log'}:"
    assert len(lines) == 1 + supervision.LOG_LINES
    assert "    no such file" in lines


@pytest.mark.usefixtures("bare_environment")
def test_secrets_are_neither_on_a_command_line_nor_in_the_environment_of_the_stores(place: Folders) -> None:
    with launched(place):
        found = environment.read(place.env)
        running = processes.of(place.var)
        words = [word for process in running for word in process.cmdline()]
        assert not any(found[name] in word for name in environment.SECRETS for word in words)
        stores = [process for process in running if process.name() in {"postgres", "valkey-server"}]
        known = {name for process in stores for name in process.environ()}
        assert known <= {"PATH", "PGDATA", "CASELOOP_VAR", processes.MARK}


# --- The demonstration -----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("bare_environment")
@pytest.mark.parametrize("variable", ["DATABASE_URL", "DATABASE_URL_FILE"])
def test_the_demonstration_goes_only_into_a_database_of_ours_unless_asked_for(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    assert [launcher.wants_demo(asked) for asked in ("", "0", "1")] == [True, False, True]
    monkeypatch.setenv(variable, "another one")
    assert [launcher.wants_demo(asked) for asked in ("", "0", "1")] == [False, False, True]


@pytest.mark.slow
@pytest.mark.usefixtures("bare_environment")
def test_a_database_of_somebodys_own_gets_tables_and_schemas_but_no_demonstration(place: Folders) -> None:
    said: list[str] = []
    with database_elsewhere() as address:
        elsewhere = {"DATABASE_URL": address, "DJANGO_SETTINGS_MODULE": "webapp.settings"}
        with launched(place, COMMAND[:-1], more=elsewhere, said=said):
            lines = "".join(said)
            assert "No demonstration, because DATABASE_URL names a database of your own." in lines
            assert "make run DEMO=1" in lines
            assert "Passwords" not in lines
            assert not place.postgres.exists()
        with psycopg.connect(address) as connection:
            found = [connection.execute(query).fetchone() for query in COUNTS]
    assert found == [(2,), (0,), (0,)]


@pytest.mark.usefixtures("bare_environment")
def test_a_demo_that_is_neither_1_nor_0_is_refused(place: Folders) -> None:
    more = variables(place) | {"DEMO": "yes"}
    answer = subprocess.run(COMMAND, env=more, capture_output=True, text=True, timeout=20, check=False)
    assert (answer.returncode, answer.stderr) == (1, "DEMO is 'yes'; expected 1 or 0\n")


# --- What the tests above say in words -------------------------------------------------------------------------------


@contextmanager
def launched(
    place: Folders,
    command: Sequence[str] = COMMAND,
    *,
    more: Mapping[str, str] | None = None,
    said: list[str] | None = None,
) -> Iterator[subprocess.Popen[str]]:
    """Run the launcher from when it says that it is ready until the block ends; `said` is filled with its lines."""
    environment = variables(place) | dict(more or {})
    launcher = subprocess.Popen(
        command, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        said = [] if said is None else said
        for line in launcher.stdout:
            said.append(line)
            if line.startswith("Ready after"):
                break
        else:
            pytest.fail("the launcher ended:\n" + "".join(said))
        yield launcher
    finally:
        launcher.terminate()
        launcher.communicate(timeout=30)


@contextmanager
def database_elsewhere() -> Iterator[str]:
    """The address of an empty database, which no launcher of the tests runs."""
    server = postgres.url(Folders(Path(os.environ["CASELOOP_VAR"])).postgres_socket)
    name = f"elsewhere_{uuid4().hex}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"create database {name}")
        try:
            yield server.replace(f"/{postgres.DATABASE}?", f"/{name}?")
        finally:
            connection.execute(f"drop database {name} with (force)")


def variables(place: Folders) -> dict[str, str]:
    elsewhere = {"LABEL_STUDIO_URL": NOBODY_LISTENS, "LABEL_STUDIO_API_KEY": "of a server elsewhere"}
    return os.environ | processes.mark(place.var) | elsewhere


def interrupt(launcher: subprocess.Popen[str], number: signal.Signals = signal.SIGINT) -> int:
    launcher.send_signal(number)
    return launcher.wait(30)


def kill(process: psutil.Process) -> None:
    try:
        process.kill()
    except psutil.NoSuchProcess:
        return  # It went down with another one


def write(place: Folders, value: str) -> None:
    with psycopg.connect(postgres.url(place.postgres_socket)) as connection:
        connection.execute("CREATE TABLE kept AS SELECT %s::text AS value", [value])
    with closing(redis.Redis(unix_socket_path=os.fspath(place.valkey_socket))) as store:
        store.set("kept", value)


def read(place: Folders) -> tuple[str, bytes]:
    with psycopg.connect(postgres.url(place.postgres_socket)) as connection:
        [value] = connection.execute("SELECT value FROM kept").fetchone()
    with closing(redis.Redis(unix_socket_path=os.fspath(place.valkey_socket))) as store:
        return value, store.get("kept")


def wait_until_answers(place: Folders, *, limit_seconds: float = 10) -> None:
    deadline = time.monotonic() + limit_seconds
    while not (postgres.is_ready(place.postgres_socket) and valkey.is_ready(place.valkey_socket)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
