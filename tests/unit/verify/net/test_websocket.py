"""Frames that arrive when the time for waiting is over."""

from __future__ import annotations

import socket
import time

import pytest
from websockets.frames import Opcode
from websockets.utils import accept_key

from deployer.verify.net.http1 import read_head
from deployer.verify.net.stream import Deadline
from deployer.verify.net.websocket import OpeningHandshake

ANSWER = (
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Accept: {}\r\n\r\n"
)
PING = b"\x89\x02hi"
MASKED_PONG_HEAD = b"\x8a\x82"


class Late:
    """A stream whose bytes arrive when the wait for them ends."""

    def __init__(self, line: socket.socket) -> None:
        self._line, self.takes_s = line, 0.0

    def recv(self, size: int, /) -> bytes:
        data = self._line.recv(size)
        time.sleep(self.takes_s)
        return data

    def sendall(self, data: bytes, /) -> None:
        self._line.sendall(data)

    def settimeout(self, seconds: float | None, /) -> None:
        self._line.settimeout(seconds)

    def close(self) -> None:
        self._line.close()


def test_a_ping_that_arrives_at_the_last_moment_is_answered_in_the_next_wait() -> None:
    """A service that gets no pong would close the connection, and the proxy be blamed for it."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        opening = OpeningHandshake(subprotocols=())
        accept = accept_key(dict(opening.headers)["Sec-WebSocket-Key"])
        theirs.sendall(ANSWER.format(accept).encode())
        stream = Late(ours)
        websocket = opening.complete(stream, read_head(stream, Deadline(5.0)))
        stream.takes_s = 0.2
        theirs.sendall(PING)
        theirs.settimeout(5.0)
        with pytest.raises(TimeoutError):
            websocket.next_kind(Deadline(0.1))
        assert websocket.next_kind(Deadline(5.0)) is Opcode.PING
        assert theirs.recv(100).startswith(MASKED_PONG_HEAD)
