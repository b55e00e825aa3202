"""Downloads that tests share: each is made once a machine."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

from deployer.lab.folders import cache_folder, locked

TIME_LIMIT_S = 900.0


def downloaded(kind: str, what: str, download: Callable[[Path], object]) -> Path:
    """The folder of a download of that kind, made by ``download(folder)`` if it is missing."""
    key = hashlib.sha256(what.encode()).hexdigest()[:12]
    above = cache_folder() / kind
    above.mkdir(exist_ok=True)
    folder, unfinished = above / key, above / f"{key}.unfinished"
    with locked(above / f"{key}.lock"):
        if not folder.is_dir():
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir()
            download(unfinished)
            unfinished.rename(folder)
    return folder
