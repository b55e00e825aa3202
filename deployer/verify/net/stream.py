"""Byte streams to the host, and their time limits.

A dial returns a `Stream`: a plain socket in tests, a channel of the SSH connection otherwise. It
has no reliable file descriptor, so TLS runs through memory buffers (`tls.py`), and every wait goes
through `receive`, which never outlives its `Deadline`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Protocol

#: How long one wait may last before it checks whether the whole verification was cancelled.
_SLICE_S = 0.1


class Stream(Protocol):
    """A connected stream; its methods raise `TimeoutError` and `OSError` as a socket's do."""

    def sendall(self, data: bytes, /) -> object:
        """Send all of `data`."""

    def recv(self, size: int, /) -> bytes:
        """Return at most `size` bytes, and none at the end of the stream."""

    def settimeout(self, seconds: float | None, /) -> object:
        """Limit each later call to `seconds`."""

    def close(self) -> object:
        """Close the stream; a second call does nothing."""


#: ``dial(host=…, port=…, timeout_s=…)`` or ``dial(socket=…, timeout_s=…)``, as seen from the host.
Dial = Callable[..., Stream]


class Cancelled(Exception):  # noqa: N818 - a user who stops a run is no error
    """The verification was cancelled during a wait."""


class Deadline:
    """The time by which something must have happened, no later than `within`.

    The caller sets `interrupt` to end everything at once; `cancel` does the same from inside.
    """

    __slots__ = ("_at", "_cancel", "_interrupt")

    _at: float
    _cancel: threading.Event
    _interrupt: threading.Event | None

    def __init__(
        self,
        seconds: float,
        *,
        within: Deadline | None = None,
        interrupt: threading.Event | None = None,
    ) -> None:
        at = time.monotonic() + seconds
        self._at = at if within is None else min(at, within._at)
        self._cancel = threading.Event() if within is None else within._cancel
        self._interrupt = interrupt if within is None else within._interrupt

    def left_s(self) -> float:
        """Return the seconds left. Raises: TimeoutError if there are none, `Cancelled`."""
        if self.is_cancelled():
            raise Cancelled
        left = self._at - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left

    def has_passed(self) -> bool:
        """Whether no time is left, or everything was cancelled."""
        return self.is_cancelled() or time.monotonic() >= self._at

    def is_cancelled(self) -> bool:
        """Whether everything must end at once."""
        interrupted = self._interrupt is not None and self._interrupt.is_set()
        return interrupted or self._cancel.is_set()

    def cancel(self) -> None:
        """End every wait on this deadline, or on one within it, at once."""
        self._cancel.set()

    def pause(self, seconds: float) -> None:
        """Wait for `seconds`, or less if the deadline or a cancellation comes first."""
        self._cancel.wait(max(0.0, min(seconds, self._at - time.monotonic())))


def receive(stream: Stream, deadline: Deadline, *, size: int = 65536) -> bytes:
    """Return at most `size` bytes, none at the end of the stream. Raises: TimeoutError, OSError."""
    while True:
        stream.settimeout(min(deadline.left_s(), _SLICE_S))
        try:
            return stream.recv(size)
        except TimeoutError:
            continue


def send(stream: Stream, data: bytes, deadline: Deadline) -> None:
    """Send all of `data`. Raises: TimeoutError if the peer does not read it in time, OSError."""
    stream.settimeout(deadline.left_s())
    stream.sendall(data)
