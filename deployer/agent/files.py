"""Reading and writing files."""

from __future__ import annotations

import errno
import json
import os
import stat
import time

from deployer.agent.encoding import sha256
from deployer.agent.errors import Refusal, StepError, os_words
from deployer.agent.reach import Reached
from deployer.agent.settings import CHUNK_BYTES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from deployer.agent.settings import Json

_TYPES = (
    (stat.S_ISREG, "file"),
    (stat.S_ISDIR, "directory"),
    (stat.S_ISLNK, "link"),
    (stat.S_ISFIFO, "fifo"),
    (stat.S_ISSOCK, "socket"),
)


def type_of(info: os.stat_result) -> str:
    for is_type, word in _TYPES:
        if is_type(info.st_mode):
            return word
    return "device"


def look_at(path: str) -> os.stat_result | None:
    """lstat(2) of `path`; `None` if there is nothing."""
    try:
        return os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None


def check_path(path: Any) -> str:
    """`path`, absolute and normalised.

    Raises:
        Refusal: it is not.
    """
    if not isinstance(path, str) or not path.startswith("/") or "\0" in path:
        raise Refusal("bad-request", f"{path!r} is not an absolute path")
    if os.path.normpath(path) != path or path.startswith("//"):
        raise Refusal("bad-request", f"{path!r} is not a normalised path")
    return path


def open_regular(path: str) -> int:
    """Open a regular file for reading; fail if it is anything else by now."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file")
    return descriptor


def chunks_of(path: str) -> Iterator[bytes]:
    descriptor = open_regular(path)
    try:
        while True:
            data = os.read(descriptor, CHUNK_BYTES)
            if not data:
                return
            yield data
    finally:
        os.close(descriptor)


def hash_of(path: str) -> str:
    digest = sha256()
    for data in chunks_of(path):
        digest.update(data)
    return digest.hexdigest()


def read_text(path: str) -> str:
    """A small system file as text; empty if it is missing."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def names_in(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def read_record(folder: str, name: str, wanted: str | None) -> Json:
    """A file next to a journal; its hash must be the one in the journal.

    Raises:
        StepError: it is a different one, or cannot be read.
    """
    try:
        with open(os.path.join(folder, name), "rb") as file:
            text = file.read()
    except OSError as error:
        raise StepError(f"{name} cannot be read: {os_words(error)}") from None
    if sha256(text).hexdigest() != wanted:
        raise StepError(f"{name} does not match the journal")
    value: Json = json.loads(text)
    return value


def write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def sync_folder(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_synced(path: str, data: bytes, mode: int = 0o600) -> None:
    """Write a file atomically; its content is on the disk when this returns."""
    descriptor = os.open(path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        write_all(descriptor, data)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.rename(path + ".new", path)


def read_json(path: str) -> Json | None:
    try:
        with open(path, "rb") as file:
            value = json.load(file)
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def now_text() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def remove_tree(path: str) -> None:
    """Remove `path` and everything below it without following links; fail at a mount point."""
    if look_at(path) is None:
        return
    with Reached(path) as place:
        info = os.lstat(place.here)
        place.admit(info.st_uid)
        _remove_below(place.here, info, os.stat(place.folder).st_dev, path)


def _remove_below(here: str, info: os.stat_result, device: int, path: str) -> None:
    """Remove `here` with everything below; `path` is its name in messages."""
    if not stat.S_ISDIR(info.st_mode):
        os.unlink(here)
        return
    if info.st_dev != device:
        raise OSError(errno.EBUSY, f"a file system is mounted at {path}")
    folder = os.open(here, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        for name in os.listdir(folder):
            inner = f"/proc/self/fd/{folder}/{name}"
            _remove_below(inner, os.lstat(inner), info.st_dev, os.path.join(path, name))
    finally:
        os.close(folder)
    os.rmdir(here)


def overwrite(path: str, text: bytes) -> None:
    """Write a few bytes of JSON to `path` in /run with one write. Nothing depends on it."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        return
    try:
        os.pwrite(descriptor, text.ljust(512), 0)
    except OSError:
        pass
    finally:
        os.close(descriptor)
