"""Faults in what the runner does to the disk: counted, and made at a chosen place.

Nothing in the runner knows of this. A prelude wraps, in the runner's own process, every function of
`os` that changes something or makes it durable, and gives each call a number. So the places where
a runner can be interrupted are listed by the runner itself, in a run that only counts them.

The copy of the runner that it leaves for the watchdog is the one without the prelude.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))

PRELUDE = r"""
import errno, json, os, signal, stat, threading, time

def wrap_all(plan):
    real = {name: getattr(os, name) for name in dir(os)}
    state = {"count": 0, "left": 0}
    lock = threading.RLock()
    makes = ("open", "write", "pwrite", "mkdir", "symlink", "link", "posix_fallocate", "setxattr")

    def path_of(target):
        if isinstance(target, int):
            try:
                return real["readlink"]("/proc/self/fd/%d" % target)
            except OSError:
                return "fd %d" % target
        return os.fsdecode(target) if isinstance(target, (str, bytes)) else str(target)

    def kill():
        real["kill"](real["getpid"](), signal.SIGKILL)
        time.sleep(60)

    def fails(name, path):
        number = {"eio": errno.EIO, "eio-forever": errno.EIO, "enospc": errno.ENOSPC}[plan["do"]]
        raise OSError(number, os.strerror(number), path)

    def count(name, path):
        state["count"] += 1
        if plan.get("log"):
            line = json.dumps([state["count"], name, path]) + "\n"
            fd = real["open"](plan["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            real["write"](fd, line.encode())
            real["close"](fd)
        return state["count"] == plan.get("at")

    def wrapped(name, function, is_counted):
        def call(*args, **kwargs):
            if "_keep" in threading.current_thread().name or not is_counted(*args):
                return function(*args, **kwargs)
            with lock:
                path = path_of(args[0])
                if name in ("rename", "link", "symlink"):
                    path = "%s -> %s" % (path, path_of(args[1]))
                if name == "posix_spawnp":
                    path = " ".join(map(str, args[1]))
                is_here = count(name, path)
                do = plan.get("do")
                if is_here and do == "kill":
                    kill()
                if is_here and do == "torn" and name in ("write", "pwrite"):
                    function(args[0], bytes(args[1])[: len(args[1]) // 2], *args[2:])
                    kill()
                if is_here and do == "clock":
                    really = time.time
                    time.time = lambda: really() + plan["jump_s"]
                if is_here and do == "eio":
                    fails(name, path)
                if is_here and do in ("enospc", "eio-forever"):
                    state["left"] = plan.get("times", 1)
                if state["left"] and (do == "eio-forever" or name in makes):
                    state["left"] -= 1
                    fails(name, path)
            result = function(*args, **kwargs)
            if is_here and do == "kill-after":
                kill()
            return result
        return call

    def always(*args):
        return True

    def to_a_file(fd, *args):
        return stat.S_ISREG(real["fstat"](fd).st_mode)

    def creates(path, flags, *args):
        return bool(flags & os.O_CREAT)

    for name in ("fsync", "rename", "link", "symlink", "unlink", "rmdir", "mkdir", "chmod", "chown",
                 "utime", "ftruncate", "posix_fallocate", "setxattr", "removexattr", "mkfifo",
                 "posix_spawnp"):
        setattr(os, name, wrapped(name, real[name], always))
    for name in ("write", "pwrite"):
        setattr(os, name, wrapped(name, real[name], to_a_file))
    os.open = wrapped("open", real["open"], creates)
"""

#: Like the bootstrap of the unit tests, with the prelude in front of what is started.
BOOTSTRAP = (
    "import sys,json\n"
    "i=sys.stdin.buffer\n"
    "n,s=json.loads(i.readline())\n"
    "b=i.read(n)\n"
    "w={}\n"
    "exec(s.pop('prelude'),w)\n"
    "w['wrap_all'](s.pop('faults'))\n"
    "exec(compile(b,'runner.py','exec'),"
    "{'__name__':'__main__','__source__':b,'__settings__':s})\n"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What happens at operation number `at` of a runner.

    `do` is ``kill`` (before it), ``kill-after``, ``torn`` (a write that is half done, and then
    killed), ``eio``, ``enospc`` and ``eio-forever`` (`times` operations in a row), or ``clock``
    (the wall clock jumps by `jump_s`); with neither, operations are only noted in the file `log`.
    """

    at: int = 0
    do: str = ""
    times: int = 1
    jump_s: float = 0.0
    log: str = ""

    def settings(self) -> dict[str, Any]:
        """What the bootstrap wants to be given for it."""
        return {"prelude": PRELUDE, "faults": asdict(self)}


@dataclass(frozen=True, slots=True)
class Operation:
    """One call that a runner has made; `number` counts from 1."""

    number: int
    name: str
    path: str

    def __str__(self) -> str:
        return f"{self.number} {self.name} {self.path}"


def operations(log: str) -> list[Operation]:
    """What a runner has noted, as the text of its log."""
    return [Operation(*json.loads(line)) for line in log.splitlines()]
