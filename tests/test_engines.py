"""The engines of `make run`: what they are told, and where they keep what they hold."""

import os
import socket
import stat
from contextlib import closing
from pathlib import Path

import pytest

from webapp.engines import (
    EngineError,
    environment,
    folders,
    ports,
    postgres,
)
from webapp.engines import label_studio as label_studio_engine
from webapp.engines.folders import REPOSITORY, SOCKET_PATH_BYTES, Folders

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


# --- The cluster of PostgreSQL ---------------------------------------------------------------------------------------


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


# --- Label Studio ----------------------------------------------------------------------------------------------------


def test_label_studio_inherits_no_variable_of_ours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("PORT", "HOST", "DEBUG", "USERNAME", "SENTRY_DSN", "LABEL_STUDIO_PORT"):
        monkeypatch.setenv(name, "ours")
    secrets = dict.fromkeys(environment.SECRETS, "secret")
    assert "ours" not in label_studio_engine.environment(tmp_path, 8081, secrets).values()


# --- What the tests above say in words -------------------------------------------------------------------------------


def listener() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))
