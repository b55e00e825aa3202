"""What HAProxy's one file has to keep: the sites of other playbooks, and hand-written sections.

Each site has a file of its own with its values, from which the whole configuration is made.
Sections below a certain line of the configuration are the administrator's.
"""

from __future__ import annotations

import errno
import os
import stat

from deployer.agent.files import names_in

TYPE_CHECKING = False
if TYPE_CHECKING:
    from deployer.agent.settings import Json

FOLDER = "/etc/haproxy/deployer/sites"
#: Also in ``roles/haproxy/templates/haproxy.cfg.j2``.
LINE = "# Sections below this line are yours: deployer keeps them."
_LARGEST_BYTES = 16 << 20


def read(file: str) -> Json:
    """The sites that have files, and the text below `LINE` in `file`.

    Raises:
        OSError: one of them cannot be read.
    """
    sites = None
    if os.path.isdir(FOLDER):
        names = sorted(name for name in names_in(FOLDER) if name.endswith(".json"))
        paths = [os.path.join(FOLDER, name) for name in names]
        sites = {path: _text(path) for path in paths}
    try:
        lines = _text(file).splitlines(keepends=True)
    except FileNotFoundError:
        lines = []
    marks = [number for number, line in enumerate(lines) if line.strip() == LINE]
    return {"sites": sites, "kept": "".join(lines[marks[0] + 1 :]) if marks else ""}


def _text(path: str) -> str:
    """A file as text. Bytes that are not UTF-8 become surrogates, which no template prints."""
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
        info = os.fstat(file.fileno())
        if not stat.S_ISREG(info.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", path)
        if info.st_size > _LARGEST_BYTES:
            raise OSError(errno.EFBIG, f"larger than {_LARGEST_BYTES >> 20} MiB", path)
        return file.read(_LARGEST_BYTES).decode("utf-8", "surrogateescape")
