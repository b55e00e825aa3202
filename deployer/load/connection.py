"""One connection of a load: TCP, TLS, the opening handshake, then pings and pongs.

TLS uses memory buffers, because asyncio's own TLS needs a quarter of a megabyte per connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from websockets.frames import Opcode

from deployer.load.frames import (
    ControlFrames,
    OpeningRequest,
    RefusedError,
    client_frame,
    close_words,
    ping_payload,
)

_READ_BYTES = 16 * 1024
_MOST_UNREAD_BYTES = 16 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The server to connect to, and the request: an address, a name for SNI, path and headers.

    The connection starts with `begin`, before TLS; `send` is a text to send once it is open.
    """

    address: str
    port: int
    tls: bool
    server_name: str
    path: str
    headers: tuple[tuple[str, str], ...]
    subprotocols: tuple[str, ...] = ()
    send: str | None = None
    begin: bytes = b""

    @property
    def uri(self) -> str:
        """The URI for display."""
        return f"{'wss' if self.tls else 'ws'}://{self.server_name}{self.path.partition('?')[0]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """The loss of an open connection at the monotonic time `at`, after `silent_s` idle."""

    at: float
    words: str
    silent_s: float = 0.0


class Connection(asyncio.Protocol):
    """One connection; calls `on_lost` if it ends before `close` was called.

    `phase` is the last one reached: ``connect``, ``tls``, ``upgrade`` or ``open``; `timings_s` is
    how long each took. `is_counted` belongs to the caller, which counts open connections.
    """

    __slots__ = (
        "_ending",
        "_frames",
        "_incoming",
        "_on_lost",
        "_opened",
        "_opening",
        "_outgoing",
        "_pinged_at",
        "_pinging",
        "_since",
        "_spoken_at",
        "_target",
        "_tls",
        "_transport",
        "is_counted",
        "lost",
        "phase",
        "pongs_s",
        "timings_s",
    )

    def __init__(self, target: Target, *, on_lost: Callable[[Connection], None]) -> None:
        self._target = target
        self._on_lost = on_lost
        self._transport: asyncio.Transport | None = None
        self._opened: asyncio.Future[None] | None = None
        self._opening: OpeningRequest | None = None
        self._frames = ControlFrames()
        self._tls: ssl.SSLObject | None = None
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._pinging = b""
        self._pinged_at = 0.0
        self._since = self._spoken_at = 0.0
        self._ending = False
        self.phase = "connect"
        self.is_counted = False
        self.lost: Lost | None = None
        self.timings_s: dict[str, float] = {}
        self.pongs_s: list[float] = []

    @property
    def is_open(self) -> bool:
        """Whether messages can be exchanged."""
        return self.phase == "open" and self.lost is None

    # --- opening ----------------------------------------------------------------------------------

    async def open(self, context: ssl.SSLContext | None) -> None:
        """Connect and make the handshakes. Raises: `RefusedError`, OSError."""
        loop = asyncio.get_running_loop()
        self._since = time.monotonic()
        self._opened = loop.create_future()
        try:
            await loop.create_connection(lambda: self, self._target.address, self._target.port)
            self._clock("connect")
            if self._target.begin and self._transport is not None:
                self._transport.write(self._target.begin)
            if context is not None:
                self.phase = "tls"
                self._tls = context.wrap_bio(
                    self._incoming, self._outgoing, server_hostname=self._target.server_name
                )
                self._negotiate()
            else:
                self._request()
            await self._opened
        finally:
            self._opened = None
            if self.phase != "open":
                self.abort()

    def _negotiate(self) -> None:
        assert self._tls is not None  # noqa: S101 - only called with TLS
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return
        except ssl.SSLError as error:
            reason = (error.reason or str(error)).replace("_", " ").lower()
            self._end(f"broke the TLS handshake: {reason}")
            return
        finally:
            self._flush()
        self._clock("tls")
        self._request()

    def _request(self) -> None:
        self.phase = "upgrade"
        target = self._target
        self._opening = OpeningRequest(
            target.path, target.headers, subprotocols=target.subprotocols
        )
        self._send(self._opening.data)

    # --- for the load generator -------------------------------------------------------------------

    def ping(self) -> None:
        """Send a ping, unless one is unanswered."""
        if self.is_open and not self._pinging:
            self._pinging = ping_payload()
            self._pinged_at = time.monotonic()
            self._send(client_frame(Opcode.PING, self._pinging))

    @property
    def awaits_pong(self) -> bool:
        """Whether a ping is unanswered."""
        return bool(self._pinging) and self.is_open

    def close(self) -> None:
        """Send a Close frame; the connection ends with the peer's, or when the peer disconnects."""
        if self.is_open and not self._ending:
            self._ending = True
            self._send(client_frame(Opcode.CLOSE, (1000).to_bytes(2, "big")))

    def abort(self) -> None:
        """Disconnect at once."""
        self._ending = True
        if self._transport is not None:
            self._transport.abort()

    @property
    def has_ended(self) -> bool:
        """Whether the connection has ended."""
        return self._transport is None or self.lost is not None or self._transport.is_closing()

    # --- asyncio.Protocol -------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._spoken_at = time.monotonic()
        if self._tls is None:
            self._plain(data)
            return
        self._incoming.write(data)
        if self.phase == "tls":
            self._negotiate()
        while self.phase != "tls" and self.lost is None:
            try:
                plain = self._tls.read(_READ_BYTES)
            except ssl.SSLWantReadError:
                break
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                self._end("closed it without a Close frame")
                break
            except ssl.SSLError as error:
                reason = (error.reason or str(error)).replace("_", " ").lower()
                self._end(f"broke TLS: {reason}")
                break
            if not plain:
                self._end("closed it without a Close frame")
                break
            self._plain(plain)
        self._flush()

    def connection_lost(self, error: Exception | None) -> None:
        if isinstance(error, ConnectionResetError):
            self._end("reset it")
        elif error is not None:
            self._end(f"was lost: {error}")
        else:
            self._end("closed it without a Close frame")

    # --- internals --------------------------------------------------------------------------------

    def _clock(self, phase: str) -> None:
        now = time.monotonic()
        self.timings_s[phase], self._since = now - self._since, now

    def _plain(self, data: bytes) -> None:
        try:
            if self._opening is not None:
                rest = self._opening.answered(data)
                if rest is None:
                    return
                self._clock("upgrade")
                self._opening, data, self.phase = None, rest, "open"
                if self._target.send is not None:
                    self._send(client_frame(Opcode.TEXT, self._target.send.encode()))
                if self._opened is not None and not self._opened.done():
                    self._opened.set_result(None)
            for opcode, payload in self._frames.received(data):
                self._framed(opcode, payload)
        except RefusedError as refused:
            self._end(refused.words)

    def _framed(self, opcode: Opcode, payload: bytes) -> None:
        if opcode is Opcode.PING:
            if not self._is_congested():
                self._send(client_frame(Opcode.PONG, payload))
        elif opcode is Opcode.PONG and payload == self._pinging and payload:
            self.pongs_s.append(time.monotonic() - self._pinged_at)
            self._pinging = b""
        elif opcode is Opcode.CLOSE:
            if not self._ending:
                self._send(client_frame(Opcode.CLOSE, payload[:2]))
            self._end(close_words(payload))

    def _is_congested(self) -> bool:
        """Whether the peer pings but does not read; it gets no more pongs."""
        transport = self._transport
        return transport is not None and transport.get_write_buffer_size() > _MOST_UNREAD_BYTES

    def _end(self, words: str) -> None:
        if self.lost is not None:
            return
        now = time.monotonic()
        self.lost = Lost(at=now, words=words, silent_s=now - self._spoken_at)
        if self._transport is not None:
            self._transport.close()
        if self._opened is not None and not self._opened.done():
            self._opened.set_exception(RefusedError(words))
        elif self.phase == "open" and not self._ending:
            self._on_lost(self)

    def _send(self, data: bytes) -> None:
        if self._transport is None or self._transport.is_closing():
            return
        if self._tls is None:
            self._transport.write(data)
            return
        with contextlib.suppress(ssl.SSLError):  # closed by the peer: the next read reports it
            self._tls.write(data)
        self._flush()

    def _flush(self) -> None:
        data = self._outgoing.read()
        if data and self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)
