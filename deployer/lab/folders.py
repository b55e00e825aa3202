"""Where labs and their images lie: one folder outside of every project."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deployer.errors import LabError

#: For all labs of this machine, wherever their folders are: they share its links and subnets.
MACHINE_LOCK = Path("/run/deployer-lab.lock")


def cache_folder() -> Path:
    """``DEPLOYER_CACHE``, or ``/var/cache/deployer``; made if it is not there.

    Raises:
        LabError: its path cannot be part of an overlay's mount options.
    """
    folder = Path(os.environ.get("DEPLOYER_CACHE") or "/var/cache/deployer").absolute()
    if set(str(folder)) & set(',:\\"\n'):
        raise LabError(f"DEPLOYER_CACHE is {str(folder)!r}: it must have no comma, colon or quote.")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def images_folder() -> Path:
    """The images, one folder each."""
    return _made(cache_folder() / "images")


def labs_folder() -> Path:
    """The labs that are up, one folder each."""
    return _made(cache_folder() / "up")


def _made(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file at `path`, so that two processes do one thing after the other."""
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
