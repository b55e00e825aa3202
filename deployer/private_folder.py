"""A folder for the controller's secrets: locked, with atomic writes, closed to other users."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from deployer.errors import UsageError

LOCK_TIMEOUT_S = 30.0


class PrivateFolder:
    """Files in `folder`, which is created with mode 0700. Use them only while it is locked.

    Args:
        owner: the user of the folder, for messages: ``the internal CA``.
    """

    def __init__(self, folder: Path, *, owner: str) -> None:
        self.path = folder
        self._owner = owner

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Locks out other threads and processes; waits for them for up to `LOCK_TIMEOUT_S`.

        Raises:
            UsageError: the folder cannot be created, is open to others, or stays locked.
        """
        try:
            self._make()
            lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise self._failed(error) from error
        try:
            self._wait_for(lock)
            yield
        finally:
            os.close(lock)

    def read(self, name: str) -> bytes | None:
        """A file's content, or `None` if it does not exist."""
        try:
            return (self.path / name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._failed(error) from error

    def is_open_to_others(self, name: str) -> bool:
        """Whether other users of this machine may read or write an existing file."""
        try:
            return bool(stat.S_IMODE((self.path / name).stat().st_mode) & 0o077)
        except OSError as error:
            raise self._failed(error) from error

    def write(self, name: str, content: bytes, *, mode: int) -> None:
        """Write a file atomically and durably. It has its mode from the start."""
        temporary = self.path / f".{name}.new"
        try:
            temporary.unlink(
                missing_ok=True
            )  # left by a run that was cut short; this one holds the lock
            write_atomically(self.path / name, content, mode=mode, temporary=temporary)
        except OSError as error:
            raise self._failed(error) from error

    def remove(self, name: str) -> None:
        """Remove a file, if it exists."""
        try:
            (self.path / name).unlink(missing_ok=True)
        except OSError as error:
            raise self._failed(error) from error

    def _make(self) -> None:
        if not self.path.exists():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                self.path.mkdir(mode=0o700)
            # Keys do not belong in a repository.
            ignored = self.path / ".gitignore"
            with contextlib.suppress(FileExistsError), ignored.open("x") as file:
                file.write("*\n")
        mode = stat.S_IMODE(self.path.stat().st_mode)
        if mode & 0o077:
            raise UsageError(
                f"{self.path} has mode {mode:04o}: others on this machine could read the keys "
                f"of {self._owner}; no host was touched",
                hint=f"If no one else can have used it: chmod 700 {self.path}",
            )

    def _wait_for(self, lock: int) -> None:
        deadline = time.monotonic() + LOCK_TIMEOUT_S
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise UsageError(
                        f"{self.path} has been in use by another process for "
                        f"{LOCK_TIMEOUT_S:g} s; no host was touched",
                        hint="Wait until the other deployer has ended, then try again.",
                    ) from None
                time.sleep(0.02)
            else:
                return

    def _failed(self, error: OSError) -> UsageError:
        return UsageError(
            f"cannot use {self._owner} in {self.path}: "
            f"{error.filename or ''}: {error.strerror or error}; no host was touched",
            hint="It needs a folder that you own, on a disk with free space.",
        )


def write_atomically(path: Path, content: bytes, *, mode: int, temporary: Path) -> None:
    """Write a file atomically and durably: no process sees a part of it, or a different mode.

    Args:
        temporary: an unused name in the same folder.

    Raises:
        OSError: the former file is unchanged.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    descriptor = os.open(temporary, flags, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
