"""Fronts of a certificate authority in tests that do to its clients what a bad day does.

Everything else is passed on to a real one, under the address of the front: Pebble makes the URLs
that it recognises by its name.
"""

from __future__ import annotations

import http.client
import http.server
import json
import socket
import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from tests.support.certificates.authority import Authority
from tests.support.waiting import PATIENCE_S

NEW_ORDER = "/order-plz"
NEW_ACCOUNT = "/sign-me-up"
CHALLENGE = "/chalZ/"
_ERRORS = "urn:ietf:params:acme:error:"
_DROPPED = frozenset(("connection", "transfer-encoding", "content-length", "date", "server"))


@dataclass(slots=True)
class Refusal:
    """An ACME error (RFC 8555, section 6.7); after `times` requests the real answer comes."""

    error: str
    detail: str
    status: int = 403
    headers: Mapping[str, str] = field(default_factory=dict)
    times: int = 1 << 30


class Front:
    """A context manager: another address of `ca`, at `port` of its host."""

    def __init__(self, ca: Authority, port: int) -> None:
        self._ca = ca
        self._port = port
        self._lock = threading.Lock()
        self._refusals: dict[str, Refusal] = {}
        self._seen: list[str] = []
        self._held: dict[str, threading.Event] = {}
        self._server: http.server.ThreadingHTTPServer | None = None

    @property
    def directory(self) -> str:
        """The URL of the ACME directory by way of this front."""
        return f"https://{self._ca.address}:{self._port}/dir"

    def count(self, path: str) -> int:
        """How many requests for `path`, or what lies under it, have come."""
        with self._lock:
            return sum(one.startswith(path) for one in self._seen)

    # --- what tests tell --------------------------------------------------------------------------

    def refuse(self, path: str, refusal: Refusal) -> None:
        """Answer requests for `path` with an error."""
        with self._lock:
            self._refusals[path] = refusal

    def hold(self, path: str) -> threading.Event:
        """Let requests for `path` wait until the event is set."""
        with self._lock:
            event = self._held[path] = threading.Event()
        return event

    def be_kind(self) -> None:
        """Pass everything on again, also what is held."""
        with self._lock:
            for event in self._held.values():
                event.set()
            self._held.clear()
            self._refusals.clear()

    # --- on and off -------------------------------------------------------------------------------

    def __enter__(self) -> Front:
        self.start()
        return self

    def __exit__(self, *about: object) -> None:
        self.be_kind()
        self.stop()

    def start(self) -> None:
        """Listen."""
        front = self

        class Handler(_Handler):
            about = front

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        folder = self._ca.folder
        context.load_cert_chain(folder / "directory.pem", folder / "directory.key")
        server = _Server((self._ca.address, self._port), Handler)
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        self._server = server

    def stop(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    # --- how --------------------------------------------------------------------------------------

    def look(self, path: str) -> Refusal | None:
        """What is to be answered to a request for `path` instead of what the CA says."""
        with self._lock:
            self._seen.append(path)
            held = [event for begin, event in self._held.items() if path.startswith(begin)]
        for event in held:
            event.wait(60)
        with self._lock:
            for begin, refusal in self._refusals.items():
                if path.startswith(begin) and refusal.times > 0:
                    refusal.times -= 1
                    return refusal
        return None

    def ask(
        self, method: str, path: str, body: bytes, headers: Mapping[str, str]
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        """What the CA answers: status, headers and body."""
        context = ssl.create_default_context(cafile=self._ca.bundle)
        port = urlsplit(self._ca.directory).port
        line = http.client.HTTPSConnection(
            self._ca.address, port, timeout=PATIENCE_S, context=context
        )
        try:
            line.request(method, path, body or None, dict(headers))
            with line.getresponse() as answer:
                return answer.status, answer.getheaders(), answer.read()
        finally:
            line.close()


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Some tests are about a client that disconnects during an answer."""


class _Handler(http.server.BaseHTTPRequestHandler):
    about: Front
    protocol_version = "HTTP/1.0"  # a connection each: nothing is left open

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        refusal = self.about.look(self.path)
        if refusal is not None:
            self._refuse(refusal)
            return
        kept = {name: text for name, text in self.headers.items() if name != "Connection"}
        status, headers, data = self.about.ask(self.command, self.path, body, kept)
        self.send_response(status)
        for name, text in headers:
            if name.lower() not in _DROPPED:
                self.send_header(name, text)
        self._send(data)

    def _refuse(self, refusal: Refusal) -> None:
        document = {
            "type": _ERRORS + refusal.error,
            "detail": refusal.detail,
            "status": refusal.status,
        }
        self.send_response(refusal.status)
        self.send_header("Content-Type", "application/problem+json")
        for name, text in refusal.headers.items():
            self.send_header(name, text)
        self._send(json.dumps(document).encode())

    def _send(self, data: bytes) -> None:
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def do_GET(self) -> None:
        self._pass_on()

    def do_POST(self) -> None:
        self._pass_on()

    def do_HEAD(self) -> None:
        self._pass_on()

    def log_message(self, *words: object) -> None:
        """Not read by anything."""


def mute(address: str, port: int = 0) -> socket.socket:
    """A listener that accepts connections, as the kernel does, and never says a word."""
    return socket.create_server((address, port))
