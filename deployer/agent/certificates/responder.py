"""Answers challenges on loopback, where every proxy forwards them (RFC 8555, section 8.3).

It listens only during a challenge and only knows its tokens, so it is the same for every proxy and
exposes nothing.
"""

from __future__ import annotations

import errno
import http.server
import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PREFIX = "/.well-known/acme-challenge/"


class PortTaken(OSError):  # noqa: N818 - a finding
    """A different program listens on the port for challenges."""


class Responder:
    """A context manager; `answers` are key authorizations by token, and may change."""

    def __init__(self, port: int, answers: dict[str, str]) -> None:
        self._port = port
        self.answers = answers
        self._server: http.server.ThreadingHTTPServer | None = None

    def __enter__(self) -> Responder:
        """Raises: PortTaken."""
        answers = self.answers

        class Handler(_Handler):
            known = answers

        try:
            self._server = _Server(("127.0.0.1", self._port), Handler)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise PortTaken(f"port {self._port} on 127.0.0.1 is taken") from None
            raise
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *about: Any) -> None:
        if self._server:
            self._server.shutdown()
            self._server.server_close()


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False


class _Handler(http.server.BaseHTTPRequestHandler):
    known: dict[str, str] = {}  # noqa: RUF012 - replaced in a class of its own for each responder
    timeout = 10.0
    server_version = "deployer"
    sys_version = ""

    def do_GET(self) -> None:
        body = self.known.get(self.path[len(PREFIX) :]) if self.path.startswith(PREFIX) else None
        data = (body or "not found\n").encode()
        self.send_response(404 if body is None else 200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *words: Any) -> None:
        """Log nothing: standard error belongs to the channel."""
