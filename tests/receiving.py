"""A web server of another system, on a free port of this machine, that keeps what it is sent."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Receiver:
    """What it answers, and what came."""

    address: str = ""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0  # Before it answers
    body: bytes = b"thanks"
    drip_seconds: float = 0.0  # Before each further byte of an answer that never ends
    received: list[tuple[dict[str, str], bytes]] = field(default_factory=list)


@contextmanager
def receiver(context: Any = None) -> Iterator[Receiver]:
    """Serve until the block ends, over TLS where a context is given."""
    found = Receiver()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            found.received.append((dict(self.headers), body))
            time.sleep(found.seconds)
            self.send_response(found.status)
            for name, value in found.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "1000000" if found.drip_seconds else str(len(found.body)))
            self.end_headers()
            try:
                while found.drip_seconds:
                    self.wfile.write(b"x")
                    time.sleep(found.drip_seconds)
                self.wfile.write(found.body)
            except OSError:
                self.close_connection = True

        def log_message(self, *args: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads, request_queue_size = True, 64
        block_on_close = False

        def handle_error(self, *args: Any) -> None:
            pass  # Whoever hangs up in the middle is no error of the server

    server = Server(("127.0.0.1", 0), Handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    found.address = f"{'https' if context else 'http'}://127.0.0.1:{server.server_port}/hook"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
