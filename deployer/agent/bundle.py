"""The agent as the bytes that are sent to a host: one zip file of this package.

The watchdog, the boot unit and the renewal timer run it (``python3 watchdog.pyz``), each commit
keeps a copy of it, and first contact sends it. It is the same on every controller: its members are
not compressed, and all have the same time.
Source: zipapp, https://docs.python.org/3/library/zipapp.html
"""

from __future__ import annotations

from functools import cache
from hashlib import sha256
from pathlib import Path

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
    folder = Path(__file__).parent
    top = folder.parent.parent
    found = {path.relative_to(top).as_posix(): path for path in folder.rglob("*.py")}
    paths = [_FIRST, *sorted(set(found) - _STAYS_HERE - {_FIRST})]
    return {path: found[path].read_bytes() for path in paths}


@cache
def digest() -> str:
    """The identity of this version: it changes if any module changes."""
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
