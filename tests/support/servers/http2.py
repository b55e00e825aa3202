"""A server of HTTP/2 on loopback that opens WebSockets by RFC 8441, or is wrong in one way."""

from __future__ import annotations

import contextlib
import socket
from dataclasses import dataclass

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.settings
from websockets.exceptions import ConnectionClosed
from websockets.protocol import Protocol, Side, State

from tests.support.servers.scripted import Peer


@dataclass(slots=True, kw_only=True)
class Http2Front:
    """Speaks HTTP/2 where that was negotiated, else HTTP/1.1 as `http1` does.

    `announces` RFC 8441; `status` is answered to CONNECT, 0 for a reset; `checks_origin` refuses
    all but `origin`; `answers_pings` on the WebSocket.
    """

    http1: object
    origin: str
    announces: bool = True
    status: int = 200
    checks_origin: bool = True
    answers_pings: bool = True

    def __call__(self, peer: Peer) -> None:
        if peer.connection.selected_alpn_protocol() == "h2":  # type: ignore[attr-defined]
            _Conversation(self, peer.connection).run()
            return
        peer.read_head()
        self.http1(peer)  # type: ignore[operator]


class _Conversation:
    def __init__(self, front: Http2Front, line: socket.socket) -> None:
        self._front = front
        self._line = line
        self._websockets: dict[int, Protocol] = {}
        config = h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
        self._core = h2.connection.H2Connection(config=config)
        if front.announces:
            self._core.local_settings = h2.settings.Settings(
                client=False,
                initial_values={h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL: 1},
            )

    def run(self) -> None:
        self._core.initiate_connection()
        with contextlib.suppress(OSError):
            while True:
                self._line.sendall(self._core.data_to_send())
                data = self._line.recv(65536)
                if not data:
                    return
                for event in self._core.receive_data(data):
                    self._take(event)

    def _take(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.RequestReceived):
            self._answer(event.stream_id, dict(event.headers))
        elif isinstance(event, h2.events.DataReceived):
            self._core.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            websocket = self._websockets.get(event.stream_id)
            if websocket is not None and self._front.answers_pings:
                with contextlib.suppress(ConnectionClosed):
                    websocket.receive_data(event.data)
                    reply = b"".join(websocket.data_to_send())
                    self._core.send_data(event.stream_id, reply)

    def _answer(self, number: int, headers: dict[str, str]) -> None:
        front = self._front
        assert headers[":protocol"] == "websocket"
        assert headers["sec-websocket-version"] == "13"
        if front.status == 0:
            self._core.reset_stream(number, h2.errors.ErrorCodes.REFUSED_STREAM)
            return
        is_refused = front.checks_origin and headers.get("origin") != front.origin
        status = 403 if is_refused else front.status
        self._core.send_headers(number, [(":status", str(status))], end_stream=status != 200)
        if status == 200:
            self._websockets[number] = Protocol(Side.SERVER, state=State.OPEN)
