"""A proxy on a host of its own, as its clients see it: raw requests, WebSockets, what came through.

Requests are written to the socket as they are given, so that nothing tidies them up on the way.
"""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from http.client import HTTPResponse
from ipaddress import IPv6Address
from pathlib import Path
from typing import Any, BinaryIO

from deployer.lab.host import LabHost
from deployer.model import Proxy
from deployer.proxies import PROXIES
from tests.support.clients.websocket import Client

DOMAIN = "live.example.com"
ALIAS = "www.example.net"
PLAIN = "plain.example.com"

#: The headers that ask for an upgrade to a protocol.
UPGRADE = (
    "Connection: Upgrade",
    "Upgrade: {}",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)
TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class Front:
    """A proxy and the release that it comes from: ``apache`` of ``debian-12``."""

    proxy: Proxy
    image: str

    @property
    def unit(self) -> str:
        """What systemd calls the proxy."""
        return PROXIES[self.proxy].unit

    def __str__(self) -> str:
        return f"{self.proxy}-{self.image.removeprefix('debian-')}"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: the headers in order, names in lower case.

    What follows a 101 is a WebSocket's first message.
    """

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def __getitem__(self, name: str) -> str:
        """The one value of a header."""
        (value,) = (value for key, value in self.headers if key == name)
        return value

    def __contains__(self, name: str) -> bool:
        return any(key == name for key, _ in self.headers)

    @property
    def echoed(self) -> Echoed:
        """The request as the service received it."""
        assert self.status in (101, 200), self
        return Echoed(json.loads(self.body))


@dataclass(frozen=True, slots=True)
class Echoed:
    """A request as it reached a service."""

    document: dict[str, Any]

    @property
    def service(self) -> str:
        """Which one it reached."""
        return str(self.document["service"])

    @property
    def target(self) -> str:
        """Path and query, as they were in its first line."""
        return str(self.document["target"])

    def header(self, name: str) -> list[str]:
        """All values of a header."""
        found = self.document["headers"]
        return [value for key, value in found if key.lower() == name.lower()]


@dataclass(frozen=True, slots=True)
class World:
    """A host whose proxy serves ``site.yml``, in `folder`, to which it was applied."""

    front: Front
    host: LabHost
    folder: Path
    trust: ssl.SSLContext = field(repr=False)

    @property
    def own_address(self) -> str:
        """Where requests come from, as the host sees it."""
        return self.host.network.address(0)

    @property
    def own_address6(self) -> str:
        """The same over IPv6."""
        return str(IPv6Address(self.host.network.address6(0)))

    def connect(
        self,
        *,
        name: str = DOMAIN,
        tls: bool = True,
        ipv6: bool = False,
        alpn: str = "",
        timeout_s: float = TIMEOUT_S,
    ) -> socket.socket:
        """A connection to port 443, or without `tls` to port 80."""
        address = self.host.address6 if ipv6 else self.host.address
        line = socket.create_connection((address, 443 if tls else 80), timeout=timeout_s)
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not tls:
            return line
        context = self.trust
        if alpn:
            context = ssl.create_default_context(cafile=self.root_pem)
            context.set_alpn_protocols([alpn])
        try:
            return context.wrap_socket(line, server_hostname=name)
        except BaseException:
            line.close()
            raise

    @property
    def root_pem(self) -> Path:
        """The root certificate that the site's own is signed with."""
        return self.folder / ".deployer/ca/root.pem"

    def ask(
        self,
        target: str,
        *headers: str,
        method: str = "GET",
        body: bytes = b"",
        name: str = DOMAIN,
        host: str | None = None,
        rows: Sequence[str] | None = None,
        **options: Any,
    ) -> Answer:
        """One request on a connection of its own; `host` is what it says instead of `name`.

        With `rows`, these take the place of the ``Host`` line.
        """
        hosts = [f"Host: {host or name}"] if rows is None else rows
        rows = [f"{method} {target} HTTP/1.1", *hosts, *headers]
        if not any(row.lower().startswith("connection:") for row in headers):
            rows.append("Connection: close")
        with self.connect(name=name, **options) as line:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                line.sendall("\r\n".join([*rows, "", ""]).encode("latin-1") + body)
            return read_answer(line, method=method)

    def upgrade(self, target: str, *headers: str, to: str = "websocket", **options: Any) -> Answer:
        """What an upgrade to that protocol is answered with."""
        return self.ask(target, *(row.format(to) for row in UPGRADE), *headers, **options)

    def open(
        self, path: str, *, name: str = DOMAIN, port: int | None = None, **options: Any
    ) -> Client:
        """An open WebSocket; `port` is what the client believes to be speaking to."""
        how = {key: options.pop(key) for key in ("tls", "ipv6") if key in options}
        line = self.connect(name=name, **how)
        scheme = "ws" if how.get("tls") is False else "wss"
        address = name if port is None else f"{name}:{port}"
        try:
            return Client(f"{scheme}://{address}{path}", line, **options)
        except BaseException:
            line.close()
            raise


def read_answer(line: socket.socket, *, method: str = "GET") -> Answer:
    """The next answer of a connection."""
    response = HTTPResponse(line, method=method)
    response.begin()
    body = _first_message(response.fp) if response.status == 101 else response.read()
    headers = tuple((name.lower(), value) for name, value in response.headers.raw_items())
    return Answer(response.status, headers, body)


def _first_message(stream: BinaryIO) -> bytes:
    """A server's frame of middling length, RFC 6455, section 5.2."""
    first, size = stream.read(2)
    assert (first, size) == (0x81, 126)
    return stream.read(int.from_bytes(stream.read(2), "big"))


def echoed(connection: Client) -> Echoed:
    """The first message of a service: the request as it received it."""
    return Echoed(json.loads(connection.recv(timeout=TIMEOUT_S)))
