"""The WebSocket protocol of one load connection: no I/O, and bounded memory.

Only control frames matter here. Other payloads are skipped as they arrive, because thousands of
connections must not buffer thousands of messages. `deployer.verify` checks messages.

Source: RFC 6455, sections 4.1 and 5.2.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from websockets.exceptions import ProtocolError
from websockets.frames import Close, Frame, Opcode
from websockets.utils import accept_key, generate_key

from deployer.verify.probe.attempt import printable

_HEAD_LIMIT_BYTES = 32 * 1024
_CONTROL_LIMIT_BYTES = 125
_LENGTH_BYTES = {126: 2, 127: 8}
_ACCEPT = "sec-websocket-accept"
_KNOWN = frozenset(int(opcode) for opcode in Opcode)


class RefusedError(Exception):
    """The connection does not open, or has ended; `words` say what the peer did."""

    def __init__(self, words: str) -> None:
        super().__init__(words)
        self.words = words


class OpeningRequest:
    """One handshake: `data` is its request; `answered` takes the response."""

    def __init__(
        self,
        target: str,
        headers: Sequence[tuple[str, str]],
        *,
        subprotocols: Sequence[str] = (),
    ) -> None:
        self._key = generate_key()
        self._buffer = b""
        lines = [f"GET {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers)]
        lines += ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"]
        lines.append(f"Sec-WebSocket-Key: {self._key}")
        if subprotocols:
            lines.append(f"Sec-WebSocket-Protocol: {', '.join(subprotocols)}")
        self.data = "\r\n".join([*lines, "", ""]).encode()

    def answered(self, data: bytes) -> bytes | None:
        """Return the bytes after the head of a valid response; `None` until it is complete.

        Raises: `RefusedError`.
        """
        self._buffer += data
        head, end, rest = self._buffer.partition(b"\r\n\r\n")
        if not self._buffer.startswith(b"HTTP/1."[: len(self._buffer)]):
            raise RefusedError("answered with something that is not HTTP")
        if not end:
            if len(self._buffer) > _HEAD_LIMIT_BYTES:
                raise RefusedError("answered with headers that do not end within 32 KiB")
            return None
        status, *fields = head.decode("latin-1").split("\r\n")
        code = status.partition(" ")[2]
        if not code.startswith("101"):
            raise RefusedError(f"answered {printable(code, limit=60)}")
        pairs = (line.partition(":") for line in fields)
        accepts = [value.strip() for name, _, value in pairs if name.lower() == _ACCEPT]
        if accepts != [accept_key(self._key)]:
            raise RefusedError("answered 101 with a wrong Sec-WebSocket-Accept")
        self._buffer = b""
        return rest


class ControlFrames:
    """Finds the control frames in the bytes of a service, and skips the payload of others."""

    def __init__(self) -> None:
        self._buffer = b""
        self._passing = 0

    def received(self, data: bytes) -> Iterator[tuple[Opcode, bytes]]:
        """Yield each frame in `data`, other than control frames without their payload.

        Raises: `RefusedError` for a frame that a service may not send.
        """
        data, at = self._buffer + data, 0
        self._buffer = b""
        while at < len(data):
            if self._passing:
                passed = min(self._passing, len(data) - at)
                self._passing, at = self._passing - passed, at + passed
                continue
            found = self._frame(data, at)
            if found is None:
                self._buffer = data[at:]
                return
            opcode, payload, at = found
            yield opcode, payload

    def _frame(self, data: bytes, at: int) -> tuple[Opcode, bytes, int] | None:
        """Return the frame at `at`, and the position after it (after its head if skipped)."""
        if len(data) < at + 2:
            return None
        opcode, length = data[at] & 0x0F, data[at + 1] & 0x7F
        if opcode not in _KNOWN or data[at + 1] & 0x80:
            raise RefusedError("sent a frame that RFC 6455 forbids")
        start = at + 2 + _LENGTH_BYTES.get(length, 0)
        if len(data) < start:
            return None
        if opcode < Opcode.CLOSE:
            if start > at + 2:
                length = int.from_bytes(data[at + 2 : start], "big")
            self._passing = length
            return Opcode(opcode), b"", start
        if length > _CONTROL_LIMIT_BYTES:
            raise RefusedError("sent a frame that RFC 6455 forbids")
        if len(data) < start + length:
            return None
        return Opcode(opcode), data[start : start + length], start + length


def client_frame(opcode: Opcode, payload: bytes) -> bytes:
    """Return a frame as a client sends it."""
    return Frame(opcode, payload).serialize(mask=True)


def ping_payload() -> bytes:
    """Return a random payload, which the pong must repeat."""
    return os.urandom(8)


def close_words(payload: bytes) -> str:
    """Describe a Close frame, as the end of a sentence."""
    try:
        close = Close.parse(payload)
    except (ProtocolError, UnicodeDecodeError):
        return "closed it with a malformed Close frame"
    if not payload:
        return "closed it with a Close frame without a code"
    reason = f" ({printable(close.reason, limit=60)})" if close.reason else ""
    return f"closed it with code {int(close.code)}{reason}"
