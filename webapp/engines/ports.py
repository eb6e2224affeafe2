"""Choose the TCP ports, remember them from start to start, and see whether they answer."""

import http.client
import json
import socket
from collections.abc import Iterable
from itertools import chain
from pathlib import Path

FIRST = {"web": 8000, "label_studio": 8081}


def choose(path: Path, names: Iterable[str]) -> dict[str, int]:
    """Choose a free port for each name, the one of the last start if that is free, and write them to `path`."""
    ports: dict[str, int] = {}
    last = read(path)
    for name in names:
        candidates = chain([last.get(name, FIRST[name])], range(FIRST[name], 65536))
        ports[name] = next(port for port in candidates if port not in ports.values() and is_free(port))
    path.write_text(json.dumps(ports) + "\n")
    return ports


def read(path: Path) -> dict[str, int]:
    """Read the ports of the last start; none when there was no start."""
    ports: dict[str, int] = json.loads(path.read_text()) if path.exists() else {}
    return ports


def is_free(port: int) -> bool:
    """Say whether a server could listen on this port of the loopback address."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # As servers do: recent connections do not count
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def answers(port: int, path: str) -> bool:
    """Say whether the server on this port answers a GET with 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
