"""Services that answer as well-known libraries do, a function for each, and fronts that break them.

What they say was taken down from the libraries themselves: aiohttp 3.14, Tornado 6.6, FastAPI 0.165
on uvicorn 0.54, Python websockets 17, Node's ws 8 and Socket.IO 4, Go's x/net, gorilla and coder.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable
from dataclasses import dataclass

from tests.support.servers.scripted import Peer

Script = Callable[[Peer], None]

_UNDER_NGINX = (
    "<html><head><title>{0}</title></head><body><center><h1>{0}</h1></center>"
    "<hr><center>nginx/1.22.1</center></body></html>"
)


def wants_websocket(peer: Peer) -> bool:
    upgrades = (peer.header("Upgrade") or "").lower() == "websocket"
    return upgrades and "upgrade" in (peer.header("Connection") or "").lower()


def echo(peer: Peer, *headers: str) -> None:
    """Upgrade; then answer pings and closes, and send back what comes, in short frames."""
    peer.upgrade(*headers)
    with contextlib.suppress(OSError, struct.error):
        while True:
            first, second = struct.unpack("!BB", _exactly(peer, 2))
            mask = _exactly(peer, 4)
            masked = _exactly(peer, second & 127)
            data = bytes(byte ^ mask[at % 4] for at, byte in enumerate(masked))
            opcode = {9: 10}.get(first & 15, first & 15)
            peer.send(bytes([0x80 | opcode, len(data)]) + data)
            if opcode == 8:
                return


def _exactly(peer: Peer, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = peer.connection.recv(size - len(data))
        if not more:
            raise OSError
        data += more
    return data


@dataclass(frozen=True, slots=True, kw_only=True)
class Library:
    """What a library says of a request without Upgrade, on its path and on a different one."""

    status: str = "400 Bad Request"
    body: str = "Bad Request\n"
    headers: tuple[str, ...] = ()
    path: str = "/ws"
    elsewhere: tuple[str, str] = ("404 Not Found", "not found")

    def __call__(self, peer: Peer) -> None:
        if peer.target.partition("?")[0] != self.path:
            peer.answer(self.elsewhere[0], body=self.elsewhere[1])
        elif wants_websocket(peer):
            echo(peer)
        else:
            body = self.body.format(connection=peer.header("Connection") or "None")
            peer.answer(self.status, *self.headers, body=body)


AIOHTTP = Library(
    body='No WebSocket UPGRADE hdr: None\n Can "Upgrade" only to "WebSocket".',
    headers=("Server: Python/3.11 aiohttp/3.14.5",),
)
TORNADO = Library(
    body='Can "Upgrade" only to "WebSocket".', headers=("Server: TornadoServer/6.6.1",)
)
X_NET = Library(body="not websocket protocol")
GORILLA = Library(headers=("Sec-Websocket-Version: 13", "X-Content-Type-Options: nosniff"))
CODER = Library(
    status="426 Upgrade Required",
    body='WebSocket protocol violation: Connection header "{connection}" does not contain Upgrade',
    headers=("Connection: Upgrade", "Upgrade: websocket"),
)
NODE_WS = Library(status="426 Upgrade Required", body="Upgrade Required")
SOCKET_IO = Library(body='{{"code":3,"message":"Bad request"}}')
FASTAPI = Library(
    status="404 Not Found", body='{{"detail":"Not Found"}}', headers=("server: uvicorn",)
)
PYTHON_WEBSOCKETS = Library(
    status="426 Upgrade Required",
    body="Failed to open a WebSocket connection: invalid Connection header: {connection}.\n",
    headers=("Upgrade: websocket",),
)


def without_upgrade(script: Script) -> Script:
    """A front that passes everything on but Upgrade and Connection."""

    def front(peer: Peer) -> None:
        lines = peer.head.split(b"\r\n")
        kept = [
            line
            for line in lines
            if line.partition(b":")[0].lower() not in (b"upgrade", b"connection")
        ]
        kept.insert(1, b"Connection: close")
        peer.head = b"\r\n".join(kept)
        script(peer)

    return front


def with_host(script: Script, host: str) -> Script:
    """A front that puts another Host into the request."""

    def front(peer: Peer) -> None:
        lines = [
            f"Host: {host}".encode() if line.lower().startswith(b"host:") else line
            for line in peer.head.split(b"\r\n")
        ]
        peer.head = b"\r\n".join(lines)
        script(peer)

    return front


def same_origin(refusal: str = "") -> Script:
    """A service that compares Origin with Host, as Tornado, gorilla and coder do by themselves."""

    def script(peer: Peer) -> None:
        origin = peer.header("Origin")
        if not wants_websocket(peer):
            peer.answer("426 Upgrade Required", body="Upgrade Required")
        elif origin is not None and origin.partition("://")[2] != peer.header("Host"):
            peer.answer("403 Forbidden", body=refusal.format(host=peer.header("Host")))
        else:
            echo(peer)

    return script


def only_origins(*origins: str | None, page: bool = False) -> Script:
    """A service (or, with `page`, an nginx before it) with a list of allowed origins."""

    def script(peer: Peer) -> None:
        if not wants_websocket(peer):
            peer.answer("426 Upgrade Required", body="Upgrade Required")
        elif peer.header("Origin") in origins:
            echo(peer)
        else:
            body = _UNDER_NGINX.format("403 Forbidden") if page else ""
            peer.answer("403 Forbidden", body=body)

    return script


def taking_turns(status: str) -> Script:
    """A front behind which connections fail at times: here, whenever the site's own page asks."""

    def script(peer: Peer) -> None:
        host = peer.header("Host") or ""
        own = (peer.header("Origin") or "").endswith(f"://{host}")
        if own or not wants_websocket(peer):
            peer.answer(status, "Content-Type: text/html", body="<html>a page</html>")
        else:
            echo(peer)

    return script


def always(status: str, *headers: str, body: str = "", plain: str = "") -> Script:
    """The same answer to each handshake, and `plain` (200 unless given) to what is none."""

    def script(peer: Peer) -> None:
        if plain and not wants_websocket(peer):
            peer.answer(plain, body="an ordinary answer")
        else:
            peer.answer(status, *headers, body=body)

    return script


def by_nginx(status: str) -> Script:
    """A page of nginx's own for everything."""
    return always(status, "Server: nginx/1.22.1", body=_UNDER_NGINX.format(status))


def by_path(scripts: dict[str, Script], otherwise: Script) -> Script:
    """Each path to its own script."""

    def script(peer: Peer) -> None:
        scripts.get(peer.target, otherwise)(peer)

    return script


def hangs_up(peer: Peer) -> None:
    """Close silently."""


def says_nothing(peer: Peer) -> None:
    """Take the request, and never answer."""
    peer.until_it_leaves()


def upgrades_and(rest: Script) -> Script:
    """An answer of 101, and then `rest`."""

    def script(peer: Peer) -> None:
        peer.upgrade()
        rest(peer)

    return script
