"""Connections to sockets of this host whose bytes go through the channel."""

from __future__ import annotations

import time

from deployer.agent.errors import Refusal, os_words
from deployer.agent.files import check_path
from deployer.agent.settings import CHUNK_BYTES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from deployer.agent.settings import Json


class Relay:
    """One connection to a TCP or Unix socket, whose bytes go through the channel."""

    LIMIT_BYTES = 1 << 20
    STALL_S = 10.0

    def __init__(self, number: int, connection: Any) -> None:
        self.number = number
        self.connection = connection
        self.out = bytearray()
        self.ending = False
        self._moved = time.monotonic()

    def put(self, data: bytes) -> None:
        if not self.out:
            self._moved = time.monotonic()
        self.out += data

    def is_full(self) -> bool:
        return len(self.out) > self.LIMIT_BYTES

    def is_stuck(self) -> bool:
        return bool(self.out) and time.monotonic() - self._moved > self.STALL_S

    def flush(self) -> None:
        """Write as much as the socket accepts; raises OSError if it is closed."""
        try:
            sent = self.connection.send(memoryview(self.out)[:CHUNK_BYTES])
        except BlockingIOError:
            return
        del self.out[:sent]
        self._moved = time.monotonic()


def open_connection(request: Json) -> Any:
    """Connect as `connect` asks.

    Raises:
        Refusal: the target does not answer.
    """
    import socket

    try:
        if request.get("socket"):
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connection.settimeout(10.0)
            path = check_path(request["socket"])
            if request.get("proxy"):
                from deployer.agent.as_proxy import connect_as

                connect_as(str(request["proxy"]), connection, path)
            else:
                connection.connect(path)
        else:
            address = (str(request["host"]), int(request["port"]))
            connection = socket.create_connection(address, timeout=10.0)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError as error:
        where = request.get("socket") or "{} port {}".format(
            request.get("host"), request.get("port")
        )
        if isinstance(error, socket.gaierror):
            words = f"this host cannot resolve {request.get('host')}"
            raise Refusal("connect-failed", words) from None
        raise Refusal("connect-failed", f"{where} does not answer: {os_words(error)}") from None
    connection.setblocking(False)
    return connection
