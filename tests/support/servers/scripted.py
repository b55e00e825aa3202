"""Real servers on loopback that do what a test wants: right, or wrong in one way.

`Server` runs a script, a function that is given each connection. `Front` is a small reverse proxy
with the behaviour of a well-configured one, and a switch for each mistake that people make in
configuring theirs.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import select
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from tests.support.waiting import PATIENCE_S, stretched

_PATIENCE_S = 5.0
_MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3

Script = Callable[["Peer"], None]


@dataclass(slots=True)
class Peer:
    """One accepted connection: the request's head, read already, and the way to answer."""

    connection: socket.socket
    stopping: threading.Event
    head: bytes = b""

    def read_head(self) -> None:
        while b"\r\n\r\n" not in self.head:
            data = self.connection.recv(4096)
            if not data:
                return
            self.head += data

    @property
    def target(self) -> str:
        return self.head.split(b" ", 2)[1].decode()

    def header(self, name: str) -> str | None:
        for line in self.head.decode("latin-1").split("\r\n")[1:]:
            key, _, value = line.partition(":")
            if key.lower() == name.lower():
                return value.strip()
        return None

    @property
    def accept(self) -> str:
        key = (self.header("Sec-WebSocket-Key") or "").encode()
        return base64.b64encode(hashlib.sha1(key + _MAGIC).digest()).decode()  # noqa: S324 - RFC 6455

    def answer(self, status: str, *headers: str, body: str = "") -> None:
        lines = [f"HTTP/1.1 {status}", *headers]
        if not status.startswith("101"):
            lines += [f"Content-Length: {len(body)}", "Connection: close"]
        self.send("\r\n".join([*lines, "", body]).encode())

    def upgrade(self, *headers: str) -> None:
        accept = f"Sec-WebSocket-Accept: {self.accept}"
        self.answer(
            "101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade", accept, *headers
        )

    def send(self, data: bytes) -> None:
        self.connection.sendall(data)

    def until_it_leaves(self) -> bytes:
        """Say nothing more; what the peer still sent."""
        received = b""
        with contextlib.suppress(OSError):
            while data := self.connection.recv(4096):
                received += data
        return received

    def drip(self, data: bytes) -> None:
        """Send one byte after the other, without an end, until the peer leaves."""
        with contextlib.suppress(OSError):
            for position in range(10**6):
                self.send(data[position % len(data) : position % len(data) + 1])
                if self.stopping.wait(0.005):
                    return


@dataclass(slots=True)
class Server:
    """A listener that runs `script` for each connection, each in a thread."""

    script: Script
    tls: ssl.SSLContext | None = None
    reads_head: bool = True
    socket_path: str = ""
    port: int = 0  # one that is free, unless it is given
    address: str = "127.0.0.1"
    connections: int = 0
    _listener: socket.socket | None = None
    _stopping: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Server:
        if self.socket_path:
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(self.socket_path)
            self._listener.listen()
        else:
            self._listener = socket.create_server((self.address, self.port))
            self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._listener is not None
        self._stopping.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        assert self._listener is not None
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(stretched(_PATIENCE_S))
        _send_at_once(connection)
        with contextlib.suppress(OSError, ValueError, IndexError):
            if self.tls is not None:
                connection = self.tls.wrap_socket(connection, server_side=True)
            with connection:
                peer = Peer(connection, self._stopping)
                if self.reads_head:
                    peer.read_head()
                if peer.head or not self.reads_head:
                    self.script(peer)
        connection.close()


@dataclass(slots=True, kw_only=True)
class Front:
    """A reverse proxy for one service; each field but the first two is a mistake."""

    backend_port: int
    origins: tuple[str, ...]
    drops_upgrade: bool = False
    passes_h2c: bool = False
    checks_origin: bool = True
    refuses_missing_origin: bool = False
    answers: str = ""  # this status to each handshake, whatever the service would say
    location: str = ""
    changes_accept: bool = False
    drops_subprotocol: bool = False
    prefix: str = ""  # put before each path
    host: str = ""  # sent to the service in place of the client's
    cuts_after_s: float | None = None

    def __call__(self, peer: Peer) -> None:
        upgrade = (peer.header("Upgrade") or "").lower()
        origin = peer.header("Origin")
        if upgrade == "websocket" and self._refuses(origin):
            peer.answer("403 Forbidden", "Server: front", body="<html>forbidden</html>")
            return
        if upgrade == "websocket" and self.answers:
            headers = [f"Location: {self.location}"] if self.location else []
            peer.answer(self.answers, "Server: front", *headers, body="<html>front</html>")
            return
        keeps = (upgrade == "websocket" and not self.drops_upgrade) or (
            upgrade == "h2c" and self.passes_h2c
        )
        try:
            service = socket.create_connection(("127.0.0.1", self.backend_port), timeout=PATIENCE_S)
        except ConnectionRefusedError:
            peer.answer("502 Bad Gateway", "Server: front", body="<html>bad gateway</html>")
            return
        with service:
            _send_at_once(service)
            service.sendall(self._rewritten(peer.head, keeps_upgrade=keeps))
            self._relay(service, peer)

    def _refuses(self, origin: str | None) -> bool:
        if origin is None:
            return self.refuses_missing_origin
        return self.checks_origin and origin not in self.origins

    def _rewritten(self, head: bytes, *, keeps_upgrade: bool) -> bytes:
        request, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
        method, target, version = request.split(" ")
        dropped = set() if keeps_upgrade else {"upgrade", "connection", "http2-settings"}
        if self.drops_subprotocol:
            dropped.add("sec-websocket-protocol")
        if self.host:
            dropped.add("host")
        kept = [line for line in lines if line.partition(":")[0].lower() not in dropped]
        if self.host:
            kept.append(f"Host: {self.host}")
        if not keeps_upgrade:
            kept.append("Connection: close")
        return "\r\n".join([f"{method} {self.prefix}{target} {version}", *kept, "", ""]).encode()

    def _relay(self, service: socket.socket, peer: Peer) -> None:
        # One thread for both directions: an SSLSocket is not for two at once.
        client = peer.connection
        while True:
            buffered = isinstance(client, ssl.SSLSocket) and client.pending() > 0
            ready = [client]
            if not buffered:
                ready, _, _ = select.select(
                    [client, service], [], [], self.cuts_after_s or PATIENCE_S
                )
            if not ready:
                return
            if service in ready:
                data = service.recv(65536)
                if self.changes_accept:
                    data = data.replace(b"Sec-WebSocket-Accept: ", b"Sec-WebSocket-Accept: x")
                client.sendall(data)
                if not data:
                    return
            if client in ready:
                data = client.recv(65536)
                if not data:
                    return
                service.sendall(data)


def redirecting(peer: Peer) -> None:
    """Port 80 of a site that is served over HTTPS."""
    location = f"Location: https://{peer.header('Host')}{peer.target}"
    peer.answer("308 Permanent Redirect", location)


def dial(*, host: str = "", port: int = 0, socket: str = "", timeout_s: float) -> socket.socket:
    """The stream of a test: a plain socket."""
    return _connected(host, port, socket, timeout_s)


def _connected(host: str, port: int, path: str, timeout_s: float) -> socket.socket:
    if not path:
        stream = socket.create_connection((host, port), timeout=timeout_s)
        _send_at_once(stream)
        return stream
    stream = socket.socket(socket.AF_UNIX)
    stream.settimeout(timeout_s)
    try:
        stream.connect(path)
    except OSError:
        stream.close()
        raise
    return stream


def _send_at_once(stream: socket.socket) -> None:
    """Without this, small writes wait 40 ms for each other's acknowledgement."""
    if stream.family == socket.AF_INET:
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def closed_port() -> int:
    """A port on which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def websocket_service(*, greets: bool = True, **settings: object) -> Iterator[int]:
    """A healthy service: it `greets`, echoes, answers ``ping`` with ``pong``; gives its port."""
    from websockets.exceptions import ConnectionClosed
    from websockets.sync.server import ServerConnection, serve
    from websockets.typing import Subprotocol

    def talk(connection: ServerConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            if greets:
                connection.send('{"type":"welcome"}')
            for message in connection:
                connection.send("pong" if message == "ping" else message)

    def choose(_: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
        return offered[0] if offered else None

    with serve(talk, "127.0.0.1", 0, select_subprotocol=choose, **settings) as server:  # type: ignore[arg-type]
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield int(server.socket.getsockname()[1])
        server.shutdown()
        thread.join()
