"""A WebSocket connection over a `Stream`, with the protocol core of `websockets`.

That core does no I/O: it is fed received bytes and returns the bytes to send. `http1.py` reads the
head of the response; the core gets it only if it is a 101. Then the core computes and compares
Sec-WebSocket-Accept, parses frames, answers pings, and closes as RFC 6455 requires.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections import deque
from collections.abc import Callable

from websockets.client import ClientProtocol
from websockets.exceptions import (
    InvalidHeader,
    InvalidUpgrade,
    NegotiationError,
    PayloadTooBig,
)
from websockets.frames import Close, Frame, Opcode
from websockets.protocol import Protocol, State
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from deployer.verify.net.http1 import Head
from deployer.verify.net.stream import Deadline, Stream, receive, send
from deployer.verify.probe.attempt import Failure, printable

MESSAGE_LIMIT_BYTES = 16 * 2**20
_KEPT_MESSAGES = 3
_KEPT_LENGTH = 64 * 1024
#: How much is parsed between two checks of the clock; it may be thousands of frames.
_PORTION_BYTES = 16 * 1024
_CLOSE_PATIENCE_S = 1.0
_NO_STATUS = 1005  # RFC 6455, section 7.4.1: a Close frame without a code

Message = str | bytes


class OpeningHandshake:
    """One handshake: its request headers, and the connection that a 101 response opens."""

    def __init__(self, *, subprotocols: tuple[str, ...]) -> None:
        offered = [Subprotocol(name) for name in subprotocols] or None
        # The URI only matters if the core builds the request itself.
        self._protocol = ClientProtocol(
            parse_uri("ws://localhost/"), subprotocols=offered, max_size=MESSAGE_LIMIT_BYTES
        )
        self._subprotocols = subprotocols

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """The headers that request the upgrade: RFC 6455, section 4.1, with a random key."""
        headers = [
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", self._protocol.key),
        ]
        if self._subprotocols:
            headers.append(("Sec-WebSocket-Protocol", ", ".join(self._subprotocols)))
        return tuple(headers)

    def complete(self, stream: Stream, head: Head) -> WebSocket:
        """Return the connection after a 101 response. Raises: `Failure` if it proves nothing."""
        self._protocol.receive_data(head.raw + head.rest)
        problem = self._protocol.handshake_exc
        if problem is not None:
            raise _refusal(problem, head)
        return WebSocket(stream, self._protocol)


def _refusal(problem: Exception, head: Head) -> Failure:
    """Why a 101 does not open a connection. Source: RFC 6455, section 4.1, last list."""
    name = problem.name if isinstance(problem, InvalidHeader) else ""
    if name.lower() == "sec-websocket-accept":
        missing = not head.values("Sec-WebSocket-Accept")
        what = "without Sec-WebSocket-Accept" if missing else "with a wrong Sec-WebSocket-Accept"
        return Failure("wrong-accept", f"answered 101 {what}: not a WebSocket service")
    if isinstance(problem, InvalidUpgrade) or name.lower() in ("upgrade", "connection"):
        wanted = "Upgrade: websocket" if name.lower() == "upgrade" else "Connection: upgrade"
        sent = ", ".join(head.values(name))
        got = f'"{name}: {printable(sent, limit=60)}"' if sent else f"no {name} header"
        words = f"answered 101 with {got} instead of {wanted}"
        return Failure("incomplete-upgrade", words)
    if isinstance(problem, NegotiationError) or name.lower() == "sec-websocket-protocol":
        words = f"answered 101 and selected something that was not offered: {problem}"
        return Failure("bad-negotiation", words)
    cause = problem.__cause__ or problem
    words = f"answered 101, but not in valid HTTP/1.1: {printable(str(cause))}"
    return Failure("not-http", words)


class WebSocket:
    """An open connection. Everything raises `Failure`, TimeoutError or OSError."""

    def __init__(self, stream: Stream, protocol: Protocol) -> None:
        self._stream = stream
        self._protocol = protocol
        self._frames: deque[Frame] = deque()
        # Bytes, not frames: a message may have any number of empty fragments.
        self._unfinished = bytearray()
        self._is_text = True
        self._finished: Message | None = None
        self._unsent = b""
        self._take_frames()
        self.first_message: Message | None = None
        self.first_message_at: float | None = None
        self.last_messages: deque[Message] = deque(maxlen=_KEPT_MESSAGES)

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol that the service chose."""
        return self._protocol.subprotocol

    def send_text(self, text: str, deadline: Deadline) -> None:
        """Send one text message; if the peer is closing already, the next wait reports it."""
        if self._protocol.state is State.OPEN:
            self._protocol.send_text(text.encode("utf-8"))
            self._flush(deadline)

    def ping(self, deadline: Deadline) -> float:
        """Send a ping and return the seconds until a pong with the same payload arrives."""
        payload = os.urandom(8)
        began = time.monotonic()
        self._protocol.send_ping(payload)
        self._flush(deadline)
        while True:
            frame = self._next_frame(deadline)
            if frame.opcode is Opcode.PONG and bytes(frame.data) == payload:
                return time.monotonic() - began

    def receive_message(self, wanted: Callable[[Message], bool], deadline: Deadline) -> Message:
        """Return the next message that is `wanted`; others are skipped."""
        while True:
            self._next_frame(deadline)
            if self._finished is not None and wanted(self._finished):
                return self._finished

    def next_kind(self, deadline: Deadline) -> Opcode:
        """Wait for any frame and return its opcode; pings are answered. Raises: `Failure`."""
        return self._next_frame(deadline).opcode

    def await_first_message(self, deadline: Deadline) -> None:
        """Wait for the first message if none has arrived yet. Raises: TimeoutError too."""
        while self.first_message is None:
            self._next_frame(deadline)

    def stay_idle(self, seconds: float, within: Deadline) -> None:
        """Send nothing for `seconds` except pongs, which RFC 6455 requires."""
        idle = Deadline(seconds, within=within)
        try:
            while True:
                self._next_frame(idle)
        except TimeoutError:
            if within.has_passed():
                raise

    def close(self, within: Deadline) -> None:
        """Send a Close frame, and wait briefly for the peer's."""
        if self._protocol.state is not State.OPEN:
            return
        deadline = Deadline(_CLOSE_PATIENCE_S, within=within)
        with contextlib.suppress(OSError, Failure):
            self._protocol.send_close(1000)
            self._flush(deadline)
            while True:
                self._next_frame(deadline)

    def _next_frame(self, deadline: Deadline) -> Frame:
        """Return the next frame, recording messages; a Close frame raises `Failure`."""
        if self._unsent:
            self._reply(deadline)
        while not self._frames:
            self._check_protocol()
            data = receive(self._stream, deadline, size=_PORTION_BYTES)
            if not data:
                raise Failure("dropped", "closed the connection without a Close frame")
            self._protocol.receive_data(data)
            self._take_frames()
            self._reply(deadline)
        deadline.left_s()  # many frames that arrived together also have to end in time
        frame = self._frames.popleft()
        if frame.opcode is Opcode.CLOSE:
            raise _closed(Close.parse(frame.data))
        self._note(frame)
        return frame

    def _reply(self, deadline: Deadline) -> None:
        """Send the pongs, or the Close frame, that received frames require."""
        try:
            self._flush(deadline)
        except OSError:
            # A peer that violates the protocol may not read our Close frame any more.
            self._check_protocol()
            if not self._frames:
                raise  # otherwise it sent its last frames and closed without waiting for ours

    def _check_protocol(self) -> None:
        broken = self._protocol.parser_exc
        if isinstance(broken, PayloadTooBig):
            size = f"{broken.size:,} bytes" if broken.size else "more"
            limit = MESSAGE_LIMIT_BYTES >> 20
            words = f"sent a message of {size}, more than the limit of {limit} MiB"
            raise Failure("message-too-big", words)
        if broken is not None and not isinstance(broken, EOFError):
            words = f"sent a frame that RFC 6455 forbids: {printable(str(broken))}"
            raise Failure("protocol-error", words)

    def _take_frames(self) -> None:
        events = self._protocol.events_received()
        self._frames.extend(event for event in events if isinstance(event, Frame))

    def _flush(self, deadline: Deadline) -> None:
        """Send what the protocol has to send: if no time is left for it, in the next wait."""
        self._unsent += b"".join(self._protocol.data_to_send())
        if self._unsent:
            deadline.left_s()
            data, self._unsent = self._unsent, b""
            send(self._stream, data, deadline)

    def _note(self, frame: Frame) -> None:
        self._finished = None
        if frame.opcode not in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            return
        if frame.opcode is not Opcode.CONT:
            self._is_text = frame.opcode is Opcode.TEXT
        self._unfinished += frame.data
        if not frame.fin:
            return
        data = bytes(self._unfinished)
        self._unfinished.clear()
        message: Message = data.decode("utf-8", "replace") if self._is_text else data
        self._finished = message
        if self.first_message is None:
            self.first_message = message
            self.first_message_at = time.monotonic()
        self.last_messages.append(message[:_KEPT_LENGTH])


def _closed(close: Close) -> Failure:
    reason = f" ({printable(close.reason, limit=120)})" if close.reason else ""
    code = "without a code" if close.code == _NO_STATUS else f"with code {int(close.code)}"
    words = f"closed the connection with a Close frame {code}{reason}"
    return Failure("closed-by-peer", words, close_code=int(close.code))
