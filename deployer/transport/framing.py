"""Messages as bytes: a length in four bytes, one JSON object (docs/reference/protocol.md)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

Message = dict[str, Any]

MAX_MESSAGE_BYTES = 64 * 1024 * 1024

#: A message without content: its sender has started.
READY = b"\x00\x00\x00\x02{}"


class TooLargeError(ValueError):
    """A message that is too large; its size in bytes."""

    def __init__(self, size_bytes: int) -> None:
        super().__init__(size_bytes)
        self.size_bytes = size_bytes

    def __str__(self) -> str:
        return f"a message of {self.size_bytes:,} bytes; at most {MAX_MESSAGE_BYTES:,} are possible"


class FramingError(ValueError):
    """The received data is not a message; `received` is its beginning."""

    def __init__(self, received: bytes) -> None:
        super().__init__(received)
        self.received = received

    def __str__(self) -> str:
        return f"not a message: {self.received[:80]!r}"


def encode(message: Message) -> bytes:
    """`message` as bytes. Raises: TooLargeError above 64 MiB."""
    text = json.dumps(message, ensure_ascii=False, separators=(",", ":"))
    body = text.encode("utf-8", "surrogatepass")  # a host's file names may be in any encoding
    if len(body) > MAX_MESSAGE_BYTES:
        raise TooLargeError(len(body))
    return len(body).to_bytes(4, "big") + body


def _has_valid_numbers(message: Message) -> bool:
    return all(type(message.get(name, 0)) is int for name in ("id", "relay"))


class Decoder:
    """Decodes the bytes of a stream, in pieces of any size, to messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        #: The size of the last message.
        self.size_bytes = 0

    def feed(self, data: bytes) -> Iterator[Message]:
        """The messages that `data` completes. Raises: FramingError, at the first wrong one."""
        self._buffer += data
        while len(self._buffer) >= 4:
            size = int.from_bytes(self._buffer[:4], "big")
            if size > MAX_MESSAGE_BYTES:
                raise FramingError(bytes(self._buffer))
            if len(self._buffer) < 4 + size:
                return
            body = bytes(self._buffer[4 : 4 + size])
            del self._buffer[: 4 + size]
            try:
                message = json.loads(body)
            except (ValueError, RecursionError, MemoryError) as error:
                raise FramingError(body) from error
            if not isinstance(message, dict) or not _has_valid_numbers(message):
                raise FramingError(body)
            self.size_bytes = size
            yield message

    @property
    def pending(self) -> bytes:
        """The received part of an incomplete message."""
        return bytes(self._buffer)
