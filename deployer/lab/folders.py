"""Where labs and their images lie: one folder outside of every project."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def cache_folder() -> Path:
    """``DEPLOYER_CACHE``, or ``/var/cache/deployer``; made if it is not there."""
    folder = Path(os.environ.get("DEPLOYER_CACHE", "/var/cache/deployer"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def images_folder() -> Path:
    """The images, one folder each."""
    return _made(cache_folder() / "images")


def labs_folder() -> Path:
    """The labs that are up, one folder each."""
    return _made(cache_folder() / "labs")


def _made(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file at `path`, so that two processes do one thing after the other."""
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
