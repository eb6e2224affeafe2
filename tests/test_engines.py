"""The engines of `make run`, started for real in folders of their own."""

import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from uuid import uuid4

import httpx
import psutil
import psycopg
import pytest
import redis
from django.core import signing

from tests.engines import NOBODY_LISTENS, LabelStudio, remove
from webapp.engines import (
    EngineError,
    environment,
    folders,
    interruption,
    launcher,
    ports,
    postgres,
    processes,
    supervision,
    valkey,
)
from webapp.engines import label_studio as label_studio_engine
from webapp.engines.folders import REPOSITORY, SOCKET_PATH_BYTES, Folders
from webapp.engines.programs import Program

ADDRESSES = ("DATABASE_URL", "REDIS_URL", "SITE_URL")
COMMAND = (sys.executable, "-m", "webapp.engines", "run", "--engines-only")
COUNTS = [f"select count(*) from {table}" for table in ("webapp_schema", "webapp_case", "auth_user")]  # noqa: S608
NOT_VALID = "This link is not valid any more. Open it again from Caseloop."


@pytest.fixture
def place() -> Iterator[Folders]:
    """Folders of a Caseloop of its own, with nothing left running afterwards."""
    # Not in `tmp_path`: every pytest that starts closes that to other accounts, also to the one of PostgreSQL.
    place = Folders(Path(os.environ["CASELOOP_VAR"]) / uuid4().hex[:8])
    place.create()
    yield place
    processes.stop_all(place.var, grace_seconds=3)
    remove(place)


@pytest.fixture
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment in which nobody has chosen a secret or an address."""
    for name in (*environment.SECRETS, *ADDRESSES):
        monkeypatch.delenv(name)
    return monkeypatch


# --- Ports -----------------------------------------------------------------------------------------------------------


def test_a_busy_port_is_passed_over_for_the_next_free_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(listener()) as busy:
        port = busy.getsockname()[1]
        monkeypatch.setitem(ports.FIRST, "web", port)
        chosen = ports.choose(tmp_path / "ports.json", ["web"])["web"]
    assert port < chosen < port + 100


def test_two_names_never_get_the_same_port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ports.FIRST, "label_studio", ports.FIRST["web"])
    chosen = ports.choose(tmp_path / "ports.json", ["web", "label_studio"])
    assert chosen["web"] < chosen["label_studio"]


def test_the_port_of_the_last_start_is_kept_while_it_is_free(tmp_path: Path) -> None:
    with closing(listener()) as held:
        port = held.getsockname()[1]
    path = tmp_path / "ports.json"
    path.write_text(f'{{"web": {port}}}')
    assert ports.choose(path, ["web"]) == {"web": port}
    assert ports.read(path) == {"web": port}


# --- Secrets and addresses -------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("bare_environment")
def test_the_file_of_secrets_is_for_its_owner_only_and_keeps_them_from_start_to_start(tmp_path: Path) -> None:
    path = tmp_path / "env"
    environment.write(path, {"SITE_URL": "http://127.0.0.1:8000"})
    first = environment.read(path)
    environment.write(path, {"SITE_URL": "http://127.0.0.1:8001"})
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert environment.read(path) == first | {"SITE_URL": "http://127.0.0.1:8001"}
    assert first.keys() == environment.SECRETS.keys() | {"SITE_URL"}
    assert all(len(first[name]) >= 16 for name in environment.SECRETS)


def test_a_variable_of_the_process_wins_over_the_file_and_is_not_written_to_it(
    tmp_path: Path, bare_environment: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "env"
    bare_environment.setenv("SECRET_KEY", "of the process")
    bare_environment.setenv("DATABASE_URL", "postgresql://elsewhere/caseloop")
    environment.write(path, {"DATABASE_URL": "postgresql://postgres@/caseloop", "REDIS_URL": "unix:///valkey.sock"})
    written = path.read_text()
    assert "of the process" not in written
    assert "DATABASE_URL" not in written
    assert "REDIS_URL=unix:///valkey.sock\n" in written
    assert environment.read(path)["SECRET_KEY"] == "of the process"


# --- Folders ---------------------------------------------------------------------------------------------------------


def test_sockets_move_to_a_short_folder_of_ours_when_the_path_is_too_long() -> None:
    short, long = Folders(Path("/srv/caseloop/var")), Folders(Path("/srv") / ("caseloop" * 10) / "var")
    other = Folders(long.var / "other")
    assert short.sockets == short.run
    assert len(os.fsencode(long.postgres_socket / ".s.PGSQL.5432")) <= SOCKET_PATH_BYTES
    assert long.sockets == Folders(long.var).sockets != other.sockets


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_another_account_is_refused(tmp_path: Path) -> None:
    (tmp_path / "var").mkdir()
    os.chown(tmp_path / "var", 65534, 65534)
    with pytest.raises(EngineError, match="belongs to user id 65534, but this is user id 0: run as the account"):
        Folders(tmp_path / "var").create()


def test_caseloop_var_chooses_the_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CASELOOP_VAR", os.fspath(tmp_path))
    assert folders.from_environment() == Folders(tmp_path)
    monkeypatch.delenv("CASELOOP_VAR")
    assert folders.from_environment() == Folders(REPOSITORY / "var")


# --- The whole stack -------------------------------------------------------------------------------------------------


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


def test_a_cluster_of_another_version_is_refused(place: Folders) -> None:
    postgres.prepare(place.postgres, place.postgres_socket)
    (place.postgres / "PG_VERSION").write_text("17\n")
    with pytest.raises(EngineError, match=r"was made by PostgreSQL 17, but this is PostgreSQL 18: dump it"):
        postgres.prepare(place.postgres, place.postgres_socket)


def test_a_cluster_that_was_left_half_made_is_made_again(place: Folders) -> None:
    half = place.var / "postgres.new"
    half.mkdir()
    (half / "PG_VERSION").write_text("18\n")
    postgres.prepare(place.postgres, place.postgres_socket)
    assert (place.postgres / "global" / "pg_control").exists()
    assert not half.exists()


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


# --- Label Studio ----------------------------------------------------------------------------------------------------


def test_label_studio_inherits_no_variable_of_ours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("PORT", "HOST", "DEBUG", "USERNAME", "SENTRY_DSN", "LABEL_STUDIO_PORT"):
        monkeypatch.setenv(name, "ours")
    secrets = dict.fromkeys(environment.SECRETS, "secret")
    assert "ours" not in label_studio_engine.environment(tmp_path, 8081, secrets).values()


@pytest.mark.label_studio
def test_a_link_from_caseloop_signs_a_person_in_to_the_page_that_it_names(label_studio: LabelStudio) -> None:
    answer, cookies = follow(label_studio, sign(label_studio, next="/api/current-user/whoami"))
    assert (answer.url.path, answer.json()["email"]) == ("/api/current-user/whoami", "ann@example.org")
    assert "label_studio_session" in cookies
    assert not cookies & {"sessionid", "csrftoken"}  # Names that another server on this host may use


@pytest.mark.label_studio
def test_a_link_works_once(label_studio: LabelStudio) -> None:
    token = sign(label_studio)
    assert follow(label_studio, token)[0].status_code == 200
    assert refusal(label_studio, token) == (403, "This link was used before. Open it again from Caseloop.")


@pytest.mark.label_studio
@pytest.mark.parametrize(
    "token",
    [
        pytest.param(lambda server: sign(server, key="not the shared secret"), id="signed with another key"),
        pytest.param(lambda server: sign(server, salt="another purpose"), id="signed for another purpose"),
        pytest.param(lambda server: "A" + sign(server), id="changed"),
        pytest.param(lambda server: "", id="empty"),
    ],
)
def test_a_link_that_caseloop_did_not_make_is_refused(
    label_studio: LabelStudio, token: Callable[[LabelStudio], str]
) -> None:
    assert refusal(label_studio, token(label_studio)) == (403, NOT_VALID)


@pytest.mark.label_studio
def test_a_link_older_than_a_minute_is_refused(label_studio: LabelStudio, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    with monkeypatch.context() as earlier:
        earlier.setattr(time, "time", lambda: now - 61)
        token = sign(label_studio)
    assert refusal(label_studio, token) == (403, NOT_VALID)


@pytest.mark.label_studio
def test_a_link_never_leads_to_another_site(label_studio: LabelStudio) -> None:
    answer, _ = follow(label_studio, sign(label_studio, next="https://elsewhere.example/"))
    assert str(answer.url).startswith(label_studio.url)


@pytest.mark.label_studio
def test_a_person_whose_membership_was_ended_is_refused(label_studio: LabelStudio) -> None:
    follow(label_studio, sign(label_studio, email="leaver@example.org"))
    with admin(label_studio) as api:
        people = {user["email"]: user["id"] for user in api.get("/api/users/").json()}
        assert api.delete(f"/api/organizations/1/memberships/{people['leaver@example.org']}/").status_code == 204
    token = sign(label_studio, email="leaver@example.org")
    assert refusal(label_studio, token) == (403, "This account is not active. Ask an admin of Caseloop.")


@pytest.mark.label_studio
def test_the_api_key_is_the_one_of_the_admin(label_studio: LabelStudio) -> None:
    with admin(label_studio) as api:
        assert api.get("/api/current-user/whoami").json()["email"] == label_studio_engine.ADMIN_EMAIL


# --- What the tests above say in words -------------------------------------------------------------------------------


def listener() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


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


def sign(server: LabelStudio, *, key: str = "", salt: str = "caseloop-bridge", **changes: str) -> str:
    names = {"email": "ann@example.org", "first_name": "Ann", "last_name": "Otter"}
    person = {**names, "next": "/", "jti": uuid4().hex, **changes}
    return signing.dumps(person, key=key or server.bridge_secret, salt=salt)


def follow(server: LabelStudio, token: str) -> tuple[httpx.Response, set[str]]:
    """Open the link as a new browser would; return the page where it leads, and the names of the cookies."""
    with httpx.Client(base_url=server.url, follow_redirects=True) as browser:
        return browser.get("/bridge/", params={"bridge": token}), set(browser.cookies)


def refusal(server: LabelStudio, token: str) -> tuple[int, str]:
    answer, cookies = follow(server, token)
    assert "label_studio_session" not in cookies
    return answer.status_code, answer.text


def admin(server: LabelStudio) -> httpx.Client:
    return httpx.Client(base_url=server.url, headers={"Authorization": f"Token {server.api_key}"})
