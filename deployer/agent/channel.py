"""Length-framed JSON over two file descriptors (docs/reference/protocol.md)."""

from __future__ import annotations

import json
import os
import select
import struct
import threading

from deployer.agent.settings import MAX_MESSAGE_BYTES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from deployer.agent.settings import Json


class Bell:
    """Wakes up one waiting thread.

    Before Python 3.10, the timeouts of `threading` follow the wall clock: setting the clock back
    makes them longer. Those of select(2) are not affected.
    """

    def __init__(self) -> None:
        self._heard, self._rope = os.pipe()

    def ring(self) -> None:
        os.write(self._rope, b"!")

    def wait(self, timeout_s: float | None) -> bool:
        """Wait until it rings; false if the time is over first."""
        is_rung = bool(select.select([self._heard], [], [], timeout_s)[0])
        if is_rung:
            os.read(self._heard, 1 << 12)
        return is_rung

    def remove(self) -> None:
        os.close(self._heard)
        os.close(self._rope)


class Channel:
    """Length-framed JSON over two file descriptors; `send` may be called from any thread."""

    def __init__(self, in_fd: int, out_fd: int) -> None:
        self.in_fd = in_fd
        self._out_fd = out_fd
        self._lock = threading.Lock()
        self._received = bytearray()
        self.gone = threading.Event()

    def send(self, message: Json) -> None:
        """Send one message; if the controller is gone, set `gone` instead of raising."""
        body = json.dumps(message, separators=(",", ":")).encode()
        frame = memoryview(struct.pack(">I", len(body)) + body)
        with self._lock:
            try:
                while frame:
                    frame = frame[os.write(self._out_fd, frame) :]
            except OSError:
                self.gone.set()

    def receive(self) -> Iterator[Json]:
        """Read once, and yield the complete messages; set `gone` at the end of the input."""
        data = os.read(self.in_fd, 1 << 18)
        if not data:
            self.gone.set()
            return
        self._received += data
        while len(self._received) >= 4:
            (length,) = struct.unpack_from(">I", self._received)
            if length > MAX_MESSAGE_BYTES:
                raise ValueError(f"a message of {length} bytes exceeds the limit")
            if len(self._received) < 4 + length:
                return
            body = bytes(self._received[4 : 4 + length])
            del self._received[: 4 + length]
            message = json.loads(body)
            if not isinstance(message, dict):
                raise ValueError("a message must be an object")
            yield message
