"""The folder of labs and images, outside of all projects."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deployer.errors import LabError

#: One lock for all labs of this machine: they share its network links and subnets.
MACHINE_LOCK = Path("/run/deployer-lab.lock")


def cache_folder() -> Path:
    """``DEPLOYER_CACHE``, or ``/var/cache/deployer``; created if it is missing.

    Raises:
        LabError: its path cannot be used in the mount options of an overlay.
    """
    folder = Path(os.environ.get("DEPLOYER_CACHE") or "/var/cache/deployer").absolute()
    if set(str(folder)) & set(',:\\"\n'):
        raise LabError(
            f"DEPLOYER_CACHE is {str(folder)!r}: commas, colons and quotes are not allowed."
        )
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def images_folder() -> Path:
    """The folder of images, which has one folder for each."""
    return _created(cache_folder() / "images")


def labs_folder() -> Path:
    """The folder of running labs, which has one folder for each."""
    return _created(cache_folder() / "up")


def _created(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on the file at `path`."""
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
