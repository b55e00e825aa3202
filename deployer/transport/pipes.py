"""Programs over an SSH channel, and as local children."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import threading
from collections.abc import Callable, Sequence
from typing import IO, TYPE_CHECKING, cast

if TYPE_CHECKING:
    from paramiko import Channel

_PIECE_BYTES = 64 * 1024


class ChannelPipe:
    """A program that sshd runs; `close` ends the connection."""

    def __init__(self, channel: Channel, *, close: Callable[[], None]) -> None:
        self._channel = channel
        self._close = close
        # Also how often a blocked `write` checks whether the channel is still open.
        self._channel.settimeout(1.0)

    def read(self, timeout_s: float) -> bytes | None:
        """Some of its output; `None` after `timeout_s`."""
        self._channel.settimeout(timeout_s)
        try:
            return self._channel.recv(_PIECE_BYTES)
        except TimeoutError:
            return None

    def read_errors(self) -> bytes:
        """Some of its standard error."""
        while True:
            try:
                return self._channel.recv_stderr(_PIECE_BYTES)
            except TimeoutError:
                continue

    def write(self, data: bytes) -> None:
        """Send `data`; a full window blocks until the channel is closed."""
        sent = 0
        while sent < len(data):
            try:
                taken = self._channel.send(data[sent : sent + _PIECE_BYTES])
            except TimeoutError:
                continue
            if not taken:
                raise BrokenPipeError("the channel is closed")
            sent += taken

    def exit_status(self, timeout_s: float) -> int | None:
        """Its exit status; `None` without one, for example if the connection broke."""
        self._channel.status_event.wait(timeout_s)
        return self._channel.exit_status if self._channel.exit_status >= 0 else None

    def is_connected(self) -> bool:
        """Whether the SSH connection is open."""
        return self._channel.get_transport().is_active()

    def close(self) -> None:
        """Close the connection."""
        self._close()


class ChildPipe:
    """A child process in its own session: Ctrl-C is for the controller."""

    def __init__(self, argv: Sequence[str]) -> None:
        self._child = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            cwd="/",
            start_new_session=True,
        )
        self._input = cast(IO[bytes], self._child.stdin)
        self._output = cast(IO[bytes], self._child.stdout)
        self._errors = cast(IO[bytes], self._child.stderr)
        os.set_blocking(self._input.fileno(), False)
        self._closing = threading.Lock()
        self._is_closed = False

    def read(self, timeout_s: float) -> bytes | None:
        """Some of its output; `None` after `timeout_s`."""
        if not select.select([self._output], [], [], timeout_s)[0]:
            return None
        data = os.read(self._output.fileno(), _PIECE_BYTES)
        if not data:
            self._output.close()
            self._child.wait()  # reaps it: it has closed its output
        return data

    def read_errors(self) -> bytes:
        """Some of its standard error."""
        data = os.read(self._errors.fileno(), _PIECE_BYTES)
        if not data:
            self._errors.close()
        return data

    def write(self, data: bytes) -> None:
        """Send `data`; a full pipe blocks until it is closed."""
        left = memoryview(data)
        while left:
            with self._closing:
                if self._is_closed:
                    raise BrokenPipeError("closed")
                with contextlib.suppress(BlockingIOError):
                    left = left[os.write(self._input.fileno(), left) :]
                    continue
            select.select([], [self._input], [], 0.2)

    def exit_status(self, timeout_s: float) -> int | None:
        """Its exit status, negative for a signal."""
        try:
            return self._child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def is_connected(self) -> bool:
        """Always true: there is no connection."""
        return True

    def close(self) -> None:
        """Close its input; it then exits."""
        with self._closing:
            if not self._is_closed:
                self._is_closed = True
                with contextlib.suppress(OSError):
                    self._input.close()
