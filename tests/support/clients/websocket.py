"""A WebSocket client in one thread.

The client of `websockets.sync` reads in one thread and writes in another. Over TLS, with Python
3.11, its handshake hung now and then.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Mapping, Sequence
from types import TracebackType

from websockets.client import ClientProtocol
from websockets.exceptions import ConnectionClosedError
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import State
from websockets.typing import Origin, Subprotocol
from websockets.uri import parse_uri

from tests.support.waiting import PATIENCE_S


class Client:
    """An open connection; the handshake has been checked, its Sec-WebSocket-Accept too."""

    def __init__(
        self,
        uri: str,
        connection: socket.socket,
        *,
        origin: str | None = None,
        subprotocols: Sequence[str] = (),
        additional_headers: Mapping[str, str] | None = None,
        compression: bool = False,
    ) -> None:
        self._socket = connection
        self._events: list[object] = []
        self._protocol = ClientProtocol(
            parse_uri(uri),
            origin=Origin(origin) if origin else None,
            subprotocols=[Subprotocol(word) for word in subprotocols] or None,
            extensions=[ClientPerMessageDeflateFactory()] if compression else None,
            max_size=2**24,
        )
        request = self._protocol.connect()
        request.headers.update(additional_headers or {})
        self._protocol.send_request(request)
        response = self._next(time.monotonic() + PATIENCE_S)
        assert isinstance(response, Response)
        if self._protocol.handshake_exc is not None:
            self._socket.close()
            raise self._protocol.handshake_exc

    @property
    def subprotocol(self) -> str | None:
        return self._protocol.subprotocol

    @property
    def is_compressed(self) -> bool:
        """Whether both sides have agreed on permessage-deflate."""
        return bool(self._protocol.extensions)

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, message: str | bytes) -> None:
        if isinstance(message, str):
            self._protocol.send_text(message.encode())
        else:
            self._protocol.send_binary(message)
        self._flush()

    def recv(self, *, timeout: float = PATIENCE_S) -> str | bytes:
        """The next message. Raises `TimeoutError`, or `ConnectionClosedError` at the end."""
        deadline = time.monotonic() + timeout
        opcode = Opcode.TEXT
        parts: list[bytes] = []
        while True:
            frame = self._next(deadline)
            assert isinstance(frame, Frame)
            if frame.opcode not in (Opcode.CONT, Opcode.TEXT, Opcode.BINARY):
                continue  # the protocol has dealt with it
            if frame.opcode is not Opcode.CONT:
                opcode = frame.opcode
            parts.append(bytes(frame.data))
            if frame.fin:
                data = b"".join(parts)
                return data.decode() if opcode is Opcode.TEXT else data

    def ping(self) -> None:
        """Send a ping; nothing waits for its answer."""
        self._protocol.send_ping(b"")
        self._flush()

    def hears_a_pong(self, *, timeout: float = PATIENCE_S) -> bool:
        """Whether the answer to a ping comes next."""
        frame = self._next(time.monotonic() + timeout)
        return isinstance(frame, Frame) and frame.opcode is Opcode.PONG

    def ends_within(self, timeout: float) -> bool:
        """Whether the other side silently ends the connection within that time."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                frame = self._next(deadline)
            except TimeoutError:
                return False
            except ConnectionClosedError as closed:
                return closed.rcvd is None
            assert isinstance(frame, Frame)
            assert frame.opcode is Opcode.PONG, frame

    def close(self, code: int, reason: str = "") -> None:
        """Say that it is over; the connection stays open for the other side's answer."""
        self._protocol.send_close(code, reason)
        self._flush()

    def _next(self, deadline: float) -> object:
        while True:
            self._flush()
            self._events += self._protocol.events_received()
            if self._events:
                return self._events.pop(0)
            if self._protocol.state is State.CLOSED:
                raise self._protocol.close_exc
            self._socket.settimeout(max(0.001, deadline - time.monotonic()))
            if data := self._socket.recv(65536):
                self._protocol.receive_data(data)
            else:
                self._protocol.receive_eof()

    def _flush(self) -> None:
        self._socket.settimeout(PATIENCE_S)
        for data in self._protocol.data_to_send():
            if data:
                self._socket.sendall(data)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._socket, contextlib.suppress(OSError):
            if self._protocol.state is State.OPEN:
                self._protocol.send_close(1000)
                self._flush()
