"""A WebSocket service that first tells what it was asked, and then sends back what it gets."""

from __future__ import annotations

import contextlib
import json
import logging
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus

from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.server import Server, ServerConnection, serve, unix_serve
from websockets.typing import Subprotocol


@dataclass
class Backend:
    """A running service; `requests` is every request that has reached it."""

    name: str
    address: str = ""
    requests: list[Request] = field(default_factory=list)

    def process_request(self, connection: ServerConnection, request: Request) -> Response | None:
        self.requests.append(request)
        if "Upgrade" in request.headers:
            return None
        body = self.told(request).encode()
        headers = Headers({"Content-Length": str(len(body)), "Connection": "close"})
        return Response(HTTPStatus.OK, "OK", headers, body)

    def told(self, request: Request) -> str:
        headers = [[name, value] for name, value in request.headers.raw_items()]
        return json.dumps({"backend": self.name, "path": request.path, "headers": headers})

    def handle(self, connection: ServerConnection) -> None:
        assert connection.request
        with contextlib.suppress(ConnectionClosed):
            connection.send(self.told(connection.request))
            for message in connection:
                connection.send(message)


def _select(connection: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    return Subprotocol("v2.chat") if "v2.chat" in offered else None


@contextlib.contextmanager
def running(name: str = "echo", *, socket_path: str | None = None) -> Iterator[Backend]:
    """A service on a free loopback port, or on a unix socket, until the block ends."""
    backend = Backend(name)
    quiet = logging.getLogger("echo_backend")
    quiet.propagate = False
    quiet.addHandler(logging.NullHandler())
    options = {
        "process_request": backend.process_request,
        "subprotocols": ["v2.chat"],
        "select_subprotocol": _select,
        "max_size": 2**24,
        "ping_interval": None,
        "logger": quiet,
    }
    server: Server
    if socket_path is not None:
        server = unix_serve(backend.handle, socket_path, **options)
        backend.address = f"unix:{socket_path}"
    else:
        server = serve(backend.handle, "127.0.0.1", 0, **options)
        backend.address = f"http://127.0.0.1:{server.socket.getsockname()[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield backend
    finally:
        server.shutdown()
        thread.join(timeout=5)
