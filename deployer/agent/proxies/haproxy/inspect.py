"""How to inspect HAProxy: the files of its command line, its configuration test, and its counters.

Source: HAProxy's management guide, 3 "Starting HAProxy", 9.3 "Unix Socket commands".
"""

from __future__ import annotations

import os
import re

from deployer.agent.files import read_text
from deployer.agent.processes import children_of, started_at
from deployer.agent.proxies.files import FileReader, Hurry
from deployer.agent.proxies.haproxy import connections
from deployer.agent.proxies.haproxy.config import FILE
from deployer.agent.proxies.haproxy.referenced import referenced

TYPE_CHECKING = False
if TYPE_CHECKING:
    from deployer.agent.settings import Json


PROGRAMS = ("/usr/sbin/haproxy", "/usr/local/sbin/haproxy")


def ask(children: Hurry, program: str, main: int, reader: FileReader) -> Json:
    """Version, configuration, the result of its configuration test, and its log files."""
    _, about = children.run([program, "-v"]) if program else (None, "")
    version = re.search(r"version (\d+(?:\.\d+)*)", about)
    paths = _files(main)
    options = [word for path in paths for word in ("-f", path)]
    code, said = children.run([program, "-c", *options]) if program else (None, "")
    config = reader.read_all(paths)
    return {
        "version": version.group(1) if version else "",
        "config": [*config, *referenced(config, main, reader)],
        "dump": _counts(main, config),
        "test_ok": None if code is None else code == 0,
        "test_output": said.strip()[-8000:],
        "logs": ["/var/log/haproxy.log"],
    }


def _files(main: int) -> list[str]:
    """The files after ``-f``; those in folders in alphabetical order."""
    words = read_text(f"/proc/{main}/cmdline").split("\0") if main else []
    pairs = zip(words, words[1:])  # noqa: RUF007 - Python 3.8
    paths = [value for flag, value in pairs if flag == "-f"] or [FILE]
    found = []
    for path in paths:
        if os.path.isdir(path):
            names = sorted(name for name in os.listdir(path) if name.endswith(".cfg"))
            found += [os.path.join(path, name) for name in names]
        else:
            found.append(path)
    return found


def _counts(main: int, config: list[Json]) -> str:
    """``show info`` and ``show stat`` of the newest worker; empty if there is no socket.

    The master forwards commands if it has a socket; otherwise the worker may have one.
    """
    words = read_text(f"/proc/{main}/cmdline").split("\0") if main else []
    workers = children_of(main) if main else set()
    if "-S" in words[:-1] and workers:
        path = words[words.index("-S") + 1].partition(",")[0]
        before = f"@!{max(workers, key=started_at)} "
    else:
        text = "\n".join(each["text"] for each in config)
        found = re.search(r"^\s*stats\s+socket\s+(?:unix@)?(/\S+)", text, re.MULTILINE)
        path, before = found.group(1) if found and main else "", ""
    if not path:
        return ""
    asked = ("show info", "show stat -1 7 -1")
    answers = (connections.ask_socket(path, f"{before}{command}\n") for command in asked)
    return "\n".join(f"# {command}\n{said}" for command, said in zip(asked, answers) if said)


def is_leaving(worker: Json, main: int, title: str) -> bool:
    """A worker that finishes its connections and accepts no new ones."""
    return bool(worker["is_old"])
