"""Reads the files of a proxy's configuration, within bounds, and says what could not be read."""

from __future__ import annotations

import os
import stat
import time

from deployer.remote import runner

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Json = dict[str, Any]

_FILE_BYTES = 2 << 20
_ALL_BYTES = 16 << 20
_MOST_FILES = 3000


class FileReader:
    """`notes` says what is missing."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self._left = _ALL_BYTES
        self._read = 0

    def read(self, path: str) -> Json | None:
        """A file as ``{path, text, changed_s_ago}``; `None` where it cannot be read."""
        try:
            info = os.stat(path)
            if not stat.S_ISREG(info.st_mode):
                return None
            if info.st_size > min(_FILE_BYTES, self._left) or self._read >= _MOST_FILES:
                self.notes.append(f"{path} was not read: {info.st_size} bytes are too much here")
                return None
            with open(path, "rb") as file:
                text = file.read(_FILE_BYTES).decode("utf-8", "replace")
        except OSError as error:
            self.notes.append(f"{path} cannot be read: {runner.os_words(error)}")
            return None
        self._read += 1
        self._left -= info.st_size
        changed = max(info.st_mtime, info.st_ctime)
        return {"path": path, "text": text, "changed_s_ago": round(time.time() - changed, 2)}

    def read_all(self, paths: list[str]) -> list[Json]:
        """Those of `paths` that can be read, in order."""
        read = (self.read(path) for path in paths)
        return [each for each in read if each is not None]


class Output:
    """What a program prints, whole up to `limit`: children of the runner keep the end alone."""

    def __init__(self, limit: int = _ALL_BYTES) -> None:
        self._parts: list[str] = []
        self._left = limit

    def take(self, text: str) -> None:
        """More of it."""
        kept = text[: self._left]
        self._left -= len(kept)
        self._parts.append(kept)

    @property
    def text(self) -> str:
        """All that came."""
        return "".join(self._parts)


class Hurry:
    """Runs programs within the time that is left for all of them: `children`, with a deadline."""

    def __init__(self, children: runner.Children, limit_s: float) -> None:
        self._children = children
        self._until = time.monotonic() + limit_s

    def run(
        self, argv: list[str], *, limit_s: float = 10.0, **options: Any
    ) -> tuple[int | None, str]:
        """Exit code and whole output of a program; `None` where it could not be run, or did not
        end in time, with the words for that.
        """
        left_s = self._until - time.monotonic()
        if left_s <= 0:
            return None, f"{argv[0]} was not asked: no time was left"
        output = Output()
        try:
            code, _ = self._children.run(
                argv, limit_s=min(limit_s, left_s), on_output=output.take, **options
            )
        except runner.StepError as error:
            return None, error.message
        return code, output.text
