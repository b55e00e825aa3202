"""How HAProxy is asked what it has: the files of its command line, and its own check.

Source: HAProxy's management guide, 3, "Starting HAProxy".
"""

from __future__ import annotations

import os
import re

from deployer.remote import runner
from deployer.remote.inspection_files import FileReader, Hurry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Json = dict[str, Any]

PROGRAMS = ("/usr/sbin/haproxy", "/usr/local/sbin/haproxy")
_DEFAULT_FILE = "/etc/haproxy/haproxy.cfg"


def ask(children: Hurry, program: str, main: int, reader: FileReader) -> Json:
    """Version, configuration, its own check's words, and where it logs."""
    _, about = children.run([program, "-v"]) if program else (None, "")
    version = re.search(r"version (\d+(?:\.\d+)*)", about)
    paths = _files(main)
    options = [word for path in paths for word in ("-f", path)]
    code, said = children.run([program, "-c", *options]) if program else (None, "")
    return {
        "version": version.group(1) if version else "",
        "config": reader.read_all(paths),
        "dump": "",
        "test_ok": None if code is None else code == 0,
        "test_output": said.strip()[-8000:],
        "logs": ["/var/log/haproxy.log"],
    }


def _files(main: int) -> list[str]:
    """The files after ``-f``, those of folders in their order."""
    words = runner.read_text(f"/proc/{main}/cmdline").split("\0") if main else []
    pairs = zip(words, words[1:])  # noqa: RUF007 - Python 3.8
    paths = [value for flag, value in pairs if flag == "-f"] or [_DEFAULT_FILE]
    found = []
    for path in paths:
        if os.path.isdir(path):
            names = sorted(name for name in os.listdir(path) if name.endswith(".cfg"))
            found += [os.path.join(path, name) for name in names]
        else:
            found.append(path)
    return found


def is_leaving(worker: Json, main: int, title: str) -> bool:
    """A worker that finishes what it has, and takes nothing new."""
    return bool(worker["is_old"])
