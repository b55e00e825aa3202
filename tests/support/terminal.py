"""A program in a terminal of its own, typed to and read from."""

from __future__ import annotations

import os
import pty
import subprocess
import time
from collections.abc import Mapping, Sequence
from select import select

from tests.support.waiting import PATIENCE_S


class Terminal:
    """A context manager; the program is hung up on at the end."""

    def __init__(self, argv: Sequence[str], env: Mapping[str, str]) -> None:
        self._screen, inside = pty.openpty()
        self._program = subprocess.Popen(
            ["setsid", "--ctty", *argv], stdin=inside, stdout=inside, stderr=inside, env=env
        )
        os.close(inside)
        self.seen = ""

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._screen)
        self._program.wait(PATIENCE_S)

    def type(self, text: str) -> None:
        """Type `text`, as it is."""
        os.write(self._screen, text.encode())

    def wait_for(self, text: str) -> None:
        """Read until `text` is on the screen, after what was waited for before."""
        until = time.monotonic() + PATIENCE_S
        while text not in self.seen:
            ready = select([self._screen], [], [], max(0.0, until - time.monotonic()))[0]
            assert ready, f"no {text!r} in:\n{self.seen}"
            self.seen += self._read()
        self.seen = self.seen.partition(text)[2]

    def read_to_the_end(self) -> tuple[int, str]:
        """The exit code of the program, and what it has written since the last wait."""
        shown = self.seen
        while part := self._read():
            shown += part
        return self._program.wait(PATIENCE_S), shown

    def _read(self) -> str:
        try:
            return os.read(self._screen, 65536).decode(errors="replace")
        except OSError:  # EIO: the program has ended
            return ""
