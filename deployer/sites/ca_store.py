"""The folder of the internal CA: one user at a time, whole files or none, closed to others."""

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


class CaStore:
    """Files in `folder`, which is made with mode 0700. All but `broken` may be used when locked."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other threads and processes out, and waits for them for `LOCK_TIMEOUT_S` at most.

        Raises:
            UsageError: the folder cannot be made or is open to others, or the wait was too long.
        """
        try:
            self._make_folder()
            lock = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise self._failed(error) from error
        try:
            self._wait_for(lock)
            yield
        finally:
            os.close(lock)

    def read(self, name: str) -> bytes | None:
        """A file's content, or `None` where there is no such file."""
        path = self._folder / name
        try:
            content = path.read_bytes()
            others = stat.S_IMODE(path.stat().st_mode) & 0o077
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._failed(error) from error
        if others and b"PRIVATE KEY" in content:
            raise self.broken(name, "holds a private key that others on this machine may read")
        return content

    def write(self, name: str, content: bytes, *, mode: int) -> None:
        """Puts a whole file in its place, durably. It has its mode from the beginning."""
        path = self._folder / name
        temporary = self._folder / f".{name}.new"
        try:
            temporary.unlink(missing_ok=True)  # of a run that was cut short; the lock is ours
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            with os.fdopen(os.open(temporary, flags, mode), "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
            folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise self._failed(error) from error

    def remove(self, name: str) -> None:
        """Removes a file, if it is there."""
        try:
            (self._folder / name).unlink(missing_ok=True)
        except OSError as error:
            raise self._failed(error) from error

    def has_leaves(self) -> bool:
        """Whether any site's certificate is kept here."""
        return any(path.name != "root.pem" for path in self._folder.glob("[!.]*.pem"))

    def broken(self, name: str, what: str) -> UsageError:
        """The error for a file that is not as we left it."""
        root = name in ("root.key", "root.pem")
        hint = (
            f"Restore {self._folder} from a backup. Or remove the folder: the next apply makes a "
            "new authority, which every client must then be told to trust."
            if root
            else "Remove that file: the next apply issues a new certificate."
        )
        if "others on this machine" in what:
            hint = f"If nobody else can have read it: chmod 600 {self._folder / name}"
        return UsageError(
            f"the internal CA is broken: {self._folder / name} {what}; no host was touched",
            hint=hint,
        )

    def _make_folder(self) -> None:
        if not self._folder.exists():
            self._folder.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                self._folder.mkdir(mode=0o700)
            # Keys do not belong into anybody's repository.
            ignored = self._folder / ".gitignore"
            with contextlib.suppress(FileExistsError), ignored.open("x") as file:
                file.write("*\n")
        mode = stat.S_IMODE(self._folder.stat().st_mode)
        if mode & 0o077:
            raise UsageError(
                f"{self._folder} has mode {mode:04o}: others on this machine could read the keys "
                "of the internal CA; no host was touched",
                hint=f"If nobody else can have been there: chmod 700 {self._folder}",
            )

    def _wait_for(self, lock: int) -> None:
        deadline = time.monotonic() + LOCK_TIMEOUT_S
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise UsageError(
                        f"{self._folder} has been in use by another process for "
                        f"{LOCK_TIMEOUT_S:g} s; no host was touched",
                        hint="Wait until the other deployer has ended, then try again.",
                    ) from None
                time.sleep(0.02)
            else:
                return

    def _failed(self, error: OSError) -> UsageError:
        return UsageError(
            f"cannot use the internal CA in {self._folder}: "
            f"{error.filename or ''}: {error.strerror or error}; no host was touched",
            hint="It needs a folder of its own, which belongs to you, on a disk with some space.",
        )
