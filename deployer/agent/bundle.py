"""The agent as the bytes that are sent to a host: one zip file of this package.

The watchdog, the boot unit and the renewal timer run it (``python3 watchdog.pyz``), each commit
keeps a copy of it, and first contact sends it. It is the same on every controller: its members are
not compressed, and all have the same time.
Source: zipapp, https://docs.python.org/3/library/zipapp.html
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache
from hashlib import sha256
from threading import Lock

__all__ = ["archive", "digest", "sources", "zip_of"]

#: Modules that only the controller or a type checker needs.
_STAYS_HERE = {
    "deployer/agent/bundle.py",
    "deployer/agent/proxies/parts.py",
    "deployer/agent/replies.py",
    "deployer/agent/session.py",
}
#: The first member of the zip file: what runs first on a host.
_FIRST = "deployer/agent/start.py"

_one_at_a_time = Lock()

_MAIN = b"""\
import sys

if sys.argv[1:2] == ["renew"]:
    from deployer.agent.certificates.requests import main
else:
    from deployer.agent.standalone import main

sys.exit(main(sys.argv[1:]))
"""


@cache
def sources() -> dict[str, bytes]:
    """The agent's modules by path, the first one first."""
    folder = os.path.dirname(__file__)  # pathlib would take three times as long
    top = os.path.dirname(os.path.dirname(folder))
    found = {path[len(top) + 1 :]: path for path in _modules_in(folder)}
    paths = [_FIRST, *sorted(set(found) - _STAYS_HERE - {_FIRST})]
    return {path: _content(found[path]) for path in paths}


def _modules_in(folder: str) -> Iterator[str]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(".py"):
                yield entry.path
            elif entry.is_dir() and entry.name != "__pycache__":
                yield from _modules_in(entry.path)


def _content(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def digest() -> str:
    """The identity of this version: it changes if any module changes.

    Computed once, even if many hosts are connected to at the same time.
    """
    with _one_at_a_time:
        return _digest()


@cache
def _digest() -> str:
    total = sha256()
    for path, source in sources().items():
        total.update(b"%s %d\n" % (path.encode(), len(source)) + source)
    return total.hexdigest()


@cache
def archive() -> bytes:
    """The agent as a zip file."""
    return zip_of({**sources(), "deployer/__init__.py": b"", "__main__.py": _MAIN})


def zip_of(files: dict[str, bytes]) -> bytes:
    """A zip file of `files`, by path, in their order."""
    from io import BytesIO
    from zipfile import ZIP_STORED, ZipFile, ZipInfo

    packed = BytesIO()
    with ZipFile(packed, "w", ZIP_STORED) as zip_file:
        for name, content in files.items():
            about = ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            about.create_system = 3
            zip_file.writestr(about, content)
    return packed.getvalue()
