"""certbot's output: kept to explain a failure; lines of progress are passed on."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import IO

_PROGRESS = re.compile(r"Account registered\.|Waiting \d+ seconds for DNS changes to propagate")
_KEPT_CHARACTERS = 1 << 16
_LINE_BYTES = 1 << 14


class Output:
    """Reads a child's output to its end; `text` is the last part of it."""

    def __init__(self, log: Callable[[str], None]) -> None:
        self._log = log
        self.text = ""

    def read(self, pipe: IO[bytes]) -> None:
        """Read until the other end is closed."""
        with pipe:
            while line := pipe.readline(_LINE_BYTES):
                text = line.decode(errors="replace")
                self.text = (self.text + text)[-_KEPT_CHARACTERS:]
                if _PROGRESS.match(text):
                    self._log(text.strip())
