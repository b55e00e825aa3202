"""Reading files of the controller within limits: nothing endless, nothing that blocks.

A pipe is read, since ``-e @<(program)`` is one, but only for a limited time; a device is read up to
the same size as a file.
"""

from __future__ import annotations

import os
import select
import stat
import time
from pathlib import Path

from deployer.errors import UsageError

#: The largest file that can be sent to a host; the size of the agent's messages is limited.
MAX_COPIED_BYTES = 64 * 1024 * 1024
_PIPE_S = 10.0
_CHUNK = 1 << 20


def read_limited(path: Path, *, what: str, most: int) -> bytes:
    """The content of a file.

    Raises:
        FileNotFoundError, OSError, ValueError: as `open` does.
        UsageError: it is too large, or nothing arrives from a pipe.
    """
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(file)
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(21, "is a folder", str(path))
        if stat.S_ISREG(status.st_mode):
            if status.st_size > most:
                raise _too_large(path, what, f"{status.st_size:,} bytes", most)
            return _read_all(file, path, what, most, wait=False)
        return _read_all(file, path, what, most, wait=True)
    finally:
        os.close(file)


def _read_all(file: int, path: Path, what: str, most: int, *, wait: bool) -> bytes:
    data = bytearray()
    deadline = time.monotonic() + _PIPE_S
    while True:
        if wait and not select.select([file], [], [], max(0.0, deadline - time.monotonic()))[0]:
            raise UsageError(
                f"cannot read {what} {path}: it is a pipe or device, and its end was not reached "
                f"within {_PIPE_S:g} s"
            )
        try:
            chunk = os.read(file, _CHUNK)
        except BlockingIOError:
            continue
        if not chunk:
            return bytes(data)
        data += chunk
        if len(data) > most:
            raise _too_large(path, what, f"more than {most:,} bytes", most)


def _too_large(path: Path, what: str, size: str, most: int) -> UsageError:
    return UsageError(f"{what} {path} has {size}; at most {most:,} are read")
