"""An HTTP/2 client, which opens WebSockets too where the proxy lets it (RFC 8441)."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from types import TracebackType

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, Event, ResponseReceived, StreamEnded, StreamReset
from h2.settings import SettingCodes

from tests.integration.conformance.world import DOMAIN, Answer, World

_OK_TEXT = 0x81


class Http2:
    """One connection; its streams come one after another."""

    def __init__(self, world: World) -> None:
        self._line = world.connect(alpn="h2")
        self._http = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self._http.initiate_connection()
        self._http.update_settings({SettingCodes.INITIAL_WINDOW_SIZE: 2**24})
        self._data = b""
        self._next()  # the server's settings come first

    @property
    def allows_websockets(self) -> bool:
        """Whether the server has said that CONNECT may name a protocol."""
        return bool(self._http.remote_settings.enable_connect_protocol)

    def ask(
        self, path: str, *headers: tuple[str, str], body: bytes = b"", host: str = DOMAIN
    ) -> Answer:
        """One request, and the whole answer."""
        method = "POST" if body else "GET"
        first = [(":method", method), (":scheme", "https"), (":path", path)]
        stream = self._begin([*first, (":authority", host), *headers], ends=not body)
        while body:
            size = min(
                self._http.local_flow_control_window(stream), self._http.max_outbound_frame_size
            )
            self._http.send_data(stream, body[:size], end_stream=len(body) <= size)
            body = body[size:]
        return self._answer(stream)

    def connect(self, path: str, *headers: tuple[str, str]) -> Answer:
        """Ask for a WebSocket; where it is given (200), `exchange` speaks over it."""
        first = [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "https")]
        first += [(":path", path), (":authority", DOMAIN), ("sec-websocket-version", "13")]
        self._stream = self._begin([*first, *headers], ends=False)
        return self._answer(self._stream, is_tunnel=True)

    def exchange(self, text: str = "") -> str:
        """Send a text, if one is given; the next text that comes."""
        if text:
            # The mask of zeros leaves the text as it is.
            frame = bytes([_OK_TEXT, 0x80 | len(text), 0, 0, 0, 0]) + text.encode()
            self._http.send_data(self._stream, frame)
        while (found := _text(self._data)) is None:
            self._take(self._next(), stream=self._stream)
        self._data = self._data[found[1] :]
        return found[0]

    def _begin(self, headers: Sequence[tuple[str, str]], *, ends: bool) -> int:
        stream = self._http.get_next_available_stream_id()
        self._data = b""
        self._http.send_headers(stream, headers, end_stream=ends)
        return stream

    def _answer(self, stream: int, *, is_tunnel: bool = False) -> Answer:
        head: dict[str, str] = {}
        is_over = False
        while not is_over:
            events = self._next()
            self._take(events, stream=stream)
            for event in events:
                if isinstance(event, ResponseReceived) and event.stream_id == stream:
                    head = dict(event.headers)  # type: ignore[arg-type]
                    is_over = is_tunnel and head[":status"] == "200"
                elif isinstance(event, StreamReset) and event.stream_id == stream:
                    head.setdefault(":status", "0")
                    is_over = True
                is_over |= isinstance(event, StreamEnded) and event.stream_id == stream
        headers = tuple((name, value) for name, value in head.items() if name[0] != ":")
        return Answer(int(head[":status"]), headers, self._data)

    def _take(self, events: Sequence[Event], *, stream: int) -> None:
        for event in events:
            if isinstance(event, DataReceived) and event.stream_id == stream:
                self._data += event.data or b""
                self._http.acknowledge_received_data(event.flow_controlled_length or 0, stream)

    def _next(self) -> list[Event]:
        """What the server says next; what is to be sent goes out before."""
        while True:
            self._line.sendall(self._http.data_to_send())
            data = self._line.recv(65536)
            if not data:
                raise EOFError("the proxy has closed the connection")
            events = self._http.receive_data(data)
            self._line.sendall(self._http.data_to_send())
            if events:
                return events

    def __enter__(self) -> Http2:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._line.close()


def negotiated(line: socket.socket) -> str | None:
    """The protocol that both sides have agreed on in the TLS handshake."""
    return line.selected_alpn_protocol()  # type: ignore[attr-defined,no-any-return]


def _text(data: bytes) -> tuple[str, int] | None:
    """The first text in what a server has sent, and where it ends; `None` before it is whole."""
    if len(data) < 2:
        return None
    assert data[0] == _OK_TEXT, data[:20]
    size, start = data[1], 2
    if size == 126:
        size, start = int.from_bytes(data[2:4], "big"), 4
    return (
        (data[start : start + size].decode(), start + size) if len(data) >= start + size else None
    )
