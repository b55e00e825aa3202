"""A program on the host: standard input, output and error.

A `Pipe` only moves bytes; there is one over an SSH channel and one over a local child. `Process`
reads both outputs continuously, each in its own thread: in SSH they share one window, so unread
data of one blocks the other (RFC 4254, section 5.2).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Protocol

#: How much of standard error is kept: the end of it.
_KEPT_BYTES = 16 * 1024


class Pipe(Protocol):
    """A running program's three streams."""

    def read(self, timeout_s: float) -> bytes | None:
        """Some of its output; `None` after `timeout_s` without any, no bytes at the end."""

    def read_errors(self) -> bytes:
        """Some of its standard error, waiting for it; no bytes at the end."""

    def write(self, data: bytes) -> None:
        """Give it all of `data`; blocks while it takes none. Raises: OSError."""

    def exit_status(self, timeout_s: float) -> int | None:
        """Its exit status; `None` if it has none after `timeout_s`."""

    def is_connected(self) -> bool:
        """Whether the connection to the host is still open, even if the program has ended."""

    def close(self) -> None:
        """Close its input and detach from it. Returns at once, never raises."""


class Process:
    """A running program whose outputs are read as they come.

    `on_output` gets its output, in a thread of this object; `on_tick` is called every `tick_s`
    there while nothing comes, `on_end` after its end. `changed` guards what other threads wait
    for, and is notified after each of these.
    """

    def __init__(
        self,
        pipe: Pipe,
        *,
        on_output: Callable[[bytes], None],
        on_tick: Callable[[], None] = lambda: None,
        on_end: Callable[[], None] = lambda: None,
        tick_s: float = 1.0,
    ) -> None:
        self.changed = threading.Condition()
        self.has_ended = False
        self._pipe = pipe
        self._on_output = on_output
        self._on_tick = on_tick
        self._on_end = on_end
        self._tick_s = tick_s
        self._errors = bytearray()
        self._errors_ended = False
        self._writing = threading.Lock()

    def start(self) -> None:
        """Begin to read the program's output."""
        # Daemons: a thread blocked by a dead host must not keep the controller from exiting.
        threading.Thread(target=self._read_output, name="output", daemon=True).start()
        threading.Thread(target=self._read_errors, name="errors", daemon=True).start()

    def write(self, data: bytes) -> None:
        """Give the program all of `data`, not mixed with that of other threads. Raises: OSError."""
        with self._writing:
            self._pipe.write(data)

    def wait(self, until: Callable[[], bool], timeout_s: float | None) -> bool:
        """Wait until `until` holds, which is called under `changed`; returns whether it does."""
        with self.changed:
            return self.changed.wait_for(until, timeout_s)

    def count_in_errors(self, marker: bytes) -> int:
        """How often `marker` is in the kept part of standard error."""
        with self.changed:
            return self._errors.count(marker)

    def errors(self, *, wait_s: float = 0.0) -> str:
        """The end of standard error as text; after the program's end, all of it within `wait_s`."""
        self.wait(lambda: self._errors_ended, wait_s)
        with self.changed:
            return self._errors.decode(errors="replace").strip()

    def exit_status(self, timeout_s: float) -> int | None:
        """The exit status; `None` if there is none after `timeout_s`."""
        return self._pipe.exit_status(timeout_s)

    def is_connected(self) -> bool:
        """Whether the connection to the host is still open."""
        return self._pipe.is_connected()

    def close(self) -> None:
        """Close the program's input and detach from it, at once."""
        self._pipe.close()

    def _read_output(self) -> None:
        try:
            while True:
                data = self._pipe.read(self._tick_s)
                if data is None:
                    self._on_tick()
                elif data:
                    self._on_output(data)
                    with self.changed:
                        self.changed.notify_all()
                else:
                    break
        except (OSError, EOFError):
            pass  # the end of the connection is the end of the output
        finally:
            with self.changed:
                self.has_ended = True
                self.changed.notify_all()
            self._on_end()

    def _read_errors(self) -> None:
        try:
            while data := self._pipe.read_errors():
                with self.changed:
                    self._errors += data
                    del self._errors[:-_KEPT_BYTES]
                    self.changed.notify_all()
        except (OSError, EOFError):
            pass
        finally:
            with self.changed:
                self._errors_ended = True
                self.changed.notify_all()


def seconds_left(deadline: float) -> float:
    """Seconds until `deadline` of the monotonic clock, at least 0."""
    return max(0.0, deadline - time.monotonic())
