"""Reading files of the controller within limits: nothing endless, nothing that blocks.

A pipe is read, since ``-e @<(program)`` is one, but only for a limited time; a device is read up to
the same size as a file.
"""

from __future__ import annotations

import errno
import os
import select
import stat
import time
from pathlib import Path

#: The largest file that can be sent to a host; the size of the agent's messages is limited.
MAX_COPIED_BYTES = 64 * 1024 * 1024
#: The largest certificate, key, plan or list of passwords.
MAX_SMALL_BYTES = 4 * 1024 * 1024
_PIPE_S = 10.0
_CHUNK = 1 << 20


def read_limited(path: Path, most: int = MAX_SMALL_BYTES) -> bytes:
    """The content of a file of at most `most` bytes.

    Raises: OSError, also if it is too large or a pipe has no end; ValueError, for a name with NUL.
    """
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    try:
        status = os.fstat(file)
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if stat.S_ISREG(status.st_mode):
            if status.st_size > most:
                raise _too_large(f"{status.st_size:,} bytes", most)
            return _read_all(file, most, is_regular=True)
        return _read_all(file, most, is_regular=False)
    finally:
        os.close(file)


def is_regular(path: Path) -> bool:
    """Whether it is a regular file, or a link to one: reading it takes nothing away."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _read_all(file: int, most: int, *, is_regular: bool) -> bytes:
    data = bytearray()
    deadline = time.monotonic() + _PIPE_S
    while True:
        left_s = max(0.0, deadline - time.monotonic())
        if not is_regular and not select.select([file], [], [], left_s)[0]:
            what = f"it is a pipe or device, and did not end within {_PIPE_S:g} s"
            raise OSError(errno.ETIMEDOUT, what)
        try:
            chunk = os.read(file, _CHUNK)
        except BlockingIOError:
            continue
        if not chunk:
            return bytes(data)
        data += chunk
        if len(data) > most:
            raise _too_large(f"more than {most:,} bytes", most)


def _too_large(size: str, most: int) -> OSError:
    return OSError(errno.EFBIG, f"it has {size}; at most {most:,} are read")
