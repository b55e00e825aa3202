"""How to inspect nginx: ``nginx -T`` tests the files and prints those it reads.

If the test fails it prints none; then the ``include`` lines are followed here.
Source: nginx, "Command-line parameters".
"""

from __future__ import annotations

import glob
import os
import re

from deployer.agent.files import read_text
from deployer.agent.proxies.files import FileReader, Hurry, beginning

TYPE_CHECKING = False
if TYPE_CHECKING:
    from deployer.agent.settings import Json


PROGRAMS = ("/usr/sbin/nginx", "/usr/local/nginx/sbin/nginx", "/usr/local/sbin/nginx")
_DEFAULT_FILE = "/etc/nginx/nginx.conf"
_HEADER = re.compile(r"^# configuration file (.+):$", re.MULTILINE)
_INCLUDE = re.compile(r"""^[^#"'\n]*?\binclude\s+["']?([^;"'\s]+)["']?\s*;""", re.MULTILINE)
_ERROR_LOG = re.compile(r"""^\s*error_log\s+["']?(/[^;"'\s]+)""", re.MULTILINE)
_DEFAULT_LOGS = ("/var/log/nginx/error.log", "/usr/local/nginx/logs/error.log")
_DEEPEST = 10
_MOST_INCLUDED = 1000


def ask(children: Hurry, program: str, main: int, reader: FileReader) -> Json:
    """Version, configuration, the result of its configuration test, and its log files."""
    options, path = _options(main)
    _, about = children.run([program, "-v"]) if program else (None, "")
    version = re.search(r"nginx/([\d.]+)", about)
    code, printed = children.run([program, "-T", *options]) if program else (None, "")
    first = _HEADER.search(printed)
    said = printed[: first.start()] if first else printed
    if code == 0 and first:
        paths = list(dict.fromkeys(_HEADER.findall(printed)))
    else:
        paths = _followed(path or _default_file())
    config = reader.read_all(paths)
    logs = [log for each in config for log in _ERROR_LOG.findall(each["text"])]
    return {
        "version": version.group(1) if version else "",
        "config": config,
        "dump": "",
        "test_ok": None if code is None or _is_ours(said) else code == 0,
        "test_output": said.strip()[-8000:],
        "logs": [*logs, *_DEFAULT_LOGS],
    }


def _is_ours(said: str) -> bool:
    """Whether the test failed for lack of rights, which says nothing about the configuration."""
    return os.geteuid() != 0 and "Permission denied" in said


def _options(main: int) -> tuple[list[str], str]:
    """The running nginx's ``-c`` and ``-p``, and its file; its title contains its command line."""
    title = read_text(f"/proc/{main}/cmdline").replace("\0", " ") if main else ""
    words = title.partition("master process ")[2].split() or title.split()
    options, path = [], ""
    for flag, value in zip(words, words[1:]):  # noqa: RUF007 - Python 3.8
        if flag in ("-c", "-p"):
            options += [flag, value]
            path = value if flag == "-c" else path
    return options, path


def _default_file() -> str:
    return _DEFAULT_FILE if os.path.exists(_DEFAULT_FILE) else "/usr/local/nginx/conf/nginx.conf"


def _followed(path: str) -> list[str]:
    """The files that `path` includes, itself first, as far as their lines show."""
    folder, found = os.path.dirname(path), [path]
    level = [path]
    for _ in range(_DEEPEST):
        below = []
        for each in level:
            for pattern in _INCLUDE.findall(beginning(each)):
                whole = os.path.join(folder, pattern)
                below += [name for name in sorted(glob.glob(whole)) if name not in found]
            if len(below) > _MOST_INCLUDED:
                break
        found += dict.fromkeys(below)
        level = list(dict.fromkeys(below))
        if not level or len(found) > _MOST_INCLUDED:
            break
    return found


def is_leaving(worker: Json, main: int, title: str) -> bool:
    """A worker with an earlier configuration shows it in its title; helpers are not workers."""
    return "shutting down" in title
