"""Reads the files of a proxy's configuration, within bounds, and reports what could not be read."""

from __future__ import annotations

import errno
import os
import stat
import time

from deployer.agent.children import Children
from deployer.agent.errors import StepError, os_words

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, BinaryIO

    from deployer.agent.settings import Json


_FILE_BYTES = 2 << 20
#: For all proxies together; a byte that is not text may take six in the reply.
_ALL_BYTES = 6 << 20
_MOST_FILES = 3000
_OUTPUT_CHARACTERS = 16 << 20


class NotAFileError(OSError):
    """It is not a regular file: logs of containers are pipes."""


def opened(path: str) -> BinaryIO:
    """Open a regular file; never wait for a device or a pipe.

    Raises: OSError; `NotAFileError`.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise NotAFileError(errno.EINVAL, "not a regular file", path)
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise NotAFileError(errno.EINVAL, "not a regular file", path)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def beginning(path: str) -> str:
    """The first part of a file as text; empty if it cannot be read."""
    try:
        with opened(path) as file:
            return (file.read(_FILE_BYTES) or b"").decode("utf-8", "replace")
    except OSError:
        return ""


class FileReader:
    """Reads files; `notes` reports what is missing."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self._left = _ALL_BYTES
        self._read = 0

    def read(self, path: str) -> Json | None:
        """A file as ``{path, text, changed_s_ago}``, with ``real_path`` for a link.

        `None` if it cannot be read.
        """
        try:
            with opened(path) as file:
                info = os.fstat(file.fileno())
                if info.st_size > min(_FILE_BYTES, self._left) or self._read >= _MOST_FILES:
                    words = f"{path} was not read: {info.st_size} bytes exceed the limit"
                    self.notes.append(words)
                    return None
                data = file.read(_FILE_BYTES) or b""
        except NotAFileError:
            return None
        except OSError as error:
            self.notes.append(f"{path} cannot be read: {os_words(error)}")
            return None
        self._read += 1
        self._left -= len(data)
        changed = max(info.st_mtime, info.st_ctime)
        real_path = os.path.realpath(path)
        return {
            "path": path,
            "text": data.decode("utf-8", "replace"),
            "changed_s_ago": round(time.time() - changed, 2),
            **({"real_path": real_path} if real_path != path else {}),
        }

    def take_back(self, count: int) -> None:
        """A part of what was read is not kept."""
        self._left += count

    def read_all(self, paths: list[str]) -> list[Json]:
        """Those of `paths` that can be read, in order."""
        read = (self.read(path) for path in paths)
        return [each for each in read if each is not None]


class Output:
    """The output of a program, up to `limit` bytes; `Children` only keep the end."""

    def __init__(self, limit: int = _OUTPUT_CHARACTERS) -> None:
        self._parts: list[str] = []
        self._left = limit

    def take(self, text: str) -> None:
        """Add a part."""
        kept = text[: self._left]
        self._left -= len(kept)
        self._parts.append(kept)

    @property
    def text(self) -> str:
        """The whole output."""
        return "".join(self._parts)


class Hurry:
    """Runs programs with `children` and one deadline for all of them."""

    def __init__(self, children: Children, limit_s: float) -> None:
        self._children = children
        self._until = time.monotonic() + limit_s

    def run(
        self, argv: list[str], *, limit_s: float = 10.0, **options: Any
    ) -> tuple[int | None, str]:
        """Exit code and whole output of a program; `None` with a message if it could not be run, or
        did not end in time.
        """
        left_s = self._until - time.monotonic()
        if left_s <= 0:
            return None, f"{argv[0]} was not run: no time was left"
        output = Output()
        try:
            code, _ = self._children.run(
                argv, limit_s=min(limit_s, left_s), on_output=output.take, **options
            )
        except StepError as error:
            return None, error.message
        return code, output.text
