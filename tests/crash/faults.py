"""Faults in what the agent does to the disk: counted, and made at a chosen place.

Nothing in the agent knows of this. A prelude wraps, in the agent's own process, every function of
`os` that changes something or makes it durable, and gives each call a number. So the places where
an agent can be interrupted are listed by the agent itself, in a run that only counts them.

The copy of the agent that it leaves for the watchdog is the one without the prelude.
"""

from __future__ import annotations

import json
import marshal
import os
import random
from dataclasses import asdict, dataclass
from functools import cache
from importlib.util import MAGIC_NUMBER
from typing import Any

from deployer.agent.bundle import sources
from tests.support.agent.process import compiled, packed

PRELUDE = r"""
import errno, json, os, re, signal, stat, threading, time

def wrap_all(plan):
    real = {name: getattr(os, name) for name in dir(os)}
    state = {"count": 0, "left": 0}
    seen = {}
    lock = threading.RLock()
    makes = ("open", "write", "pwrite", "mkdir", "symlink", "link", "posix_fallocate", "setxattr")

    def path_of(target):
        if isinstance(target, int):
            try:
                return real["readlink"]("/proc/self/fd/%d" % target)
            except OSError:
                return "fd %d" % target
        return os.fsdecode(target) if isinstance(target, (str, bytes)) else str(target)

    def hold():
        real["write"](2, b"held\n")
        while True:
            time.sleep(60)

    def kill():
        real["kill"](real["getpid"](), signal.SIGKILL)
        time.sleep(60)

    def fails(name, path):
        number = {"eio": errno.EIO, "eio-forever": errno.EIO, "enospc": errno.ENOSPC}[plan["do"]]
        raise OSError(number, os.strerror(number), path)

    def count(name, path):
        state["count"] += 1
        # Commits have names of their own, and numbers grow from run to run.
        alike = re.sub("[0-9]+", "#", path.replace(plan["commit"] or "COMMIT", "COMMIT"))
        nth = seen[name, alike] = seen.get((name, alike), 0) + 1
        if plan["log"]:
            line = json.dumps([state["count"], name, alike, nth]) + "\n"
            fd = real["open"](plan["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            real["write"](fd, line.encode())
            real["close"](fd)
        return state["count"] == plan["at"] or [name, alike, nth] == plan["place"]

    def wrapped(name, function, is_counted):
        def call(*args, **kwargs):
            is_gated = plan.get("gate") and not os.path.exists(plan["gate"])
            if is_gated or threading.current_thread().name.endswith("(_keep)"):
                return function(*args, **kwargs)
            if not is_counted(*args):
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
                if is_here and do == "hold":
                    hold()
                if is_here and do == "torn" and name in ("write", "pwrite"):
                    function(args[0], bytes(args[1])[: len(args[1]) // 2], *args[2:])
                    kill()
                if is_here and do == "clock":
                    really, gmtime = time.time, time.gmtime
                    time.time = lambda: really() + plan["jump_s"]
                    time.gmtime = lambda at=None: gmtime(time.time() if at is None else at)
                if is_here and do == "eio":
                    fails(name, path)
                if is_here and do in ("enospc", "eio-forever"):
                    state["left"] = plan.get("times", 1)
                if state["left"] and (do == "eio-forever" or needs_room(name, args)):
                    state["left"] -= 1
                    fails(name, path)
            result = function(*args, **kwargs)
            if is_here and do == "kill-after":
                kill()
            return result
        return call

    def needs_room(name, args):
        if name == "open":
            return not os.path.exists(args[0])  # what is there already opens on a full disk, too
        return name in makes

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

#: The environment variable with which every place is tried, instead of a third of them.
EVERY_PLACE = "EVERY_PLACE"

#: Starts the agent, compiled if this Python's code fits, after the prelude that wraps `os`.
BOOTSTRAP = """
import sys, json, marshal
i = sys.stdin.buffer
n, s = json.loads(i.readline())
b = i.read(n)
w = {}
exec(s.pop("prelude"), w)
w["wrap_all"](s.pop("faults"))
about = marshal.loads(b)
fits = about["magic"] == __import__("importlib.util").util.MAGIC_NUMBER
g = {"__name__": "deployer.agent.start"}
exec(about["start"], g)
g["start"](about["packed"], about["codes"] if fits else {}, settings=s)
"""


@cache
def body() -> bytes:
    """What `BOOTSTRAP` reads."""
    start = sources()["deployer/agent/start.py"]
    about = {"magic": MAGIC_NUMBER, "start": start, "packed": packed(), "codes": compiled()}
    return marshal.dumps(about)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What happens at operation number `at` of an agent; or at the `place` of another run's.

    `do` is ``kill`` (before it), ``kill-after``, ``torn`` (a write that is half done, and then
    killed), ``hold`` (it says ``held`` on standard error, and stops), ``eio``, ``enospc`` and
    ``eio-forever`` (`times` operations in a row), or ``clock`` (the wall clock jumps by `jump_s`);
    with none, operations are only noted in the file `log`. `commit` is the name of the commit,
    a different one in every run. With a `gate`, nothing counts until that file exists.
    """

    at: int = 0
    place: tuple[str, str, int] | None = None
    do: str = ""
    times: int = 1
    jump_s: float = 0.0
    log: str = ""
    gate: str = ""
    commit: str = ""

    def settings(self) -> dict[str, Any]:
        """What the bootstrap wants to be given for it."""
        return {"prelude": PRELUDE, "faults": asdict(self)}


@dataclass(frozen=True, slots=True)
class Operation:
    """One call that an agent has made; `number` counts from 1, `nth` those that look the same."""

    number: int
    name: str
    path: str
    nth: int

    @property
    def place(self) -> tuple[str, str, int]:
        """What it is in any run."""
        return self.name, self.path, self.nth

    def __str__(self) -> str:
        return f"{self.number} {self.name} {self.path} ({self.nth})"


#: The operations that each kind of fault means something for; others are for all.
_MAKING = ("open", "write", "pwrite", "mkdir", "symlink", "link", "posix_fallocate")
_TAKEN_BY = {"torn": ("write", "pwrite"), "enospc": _MAKING}


def fits(place: Operation, do: str) -> bool:
    """Whether the fault `do` can happen at `place`."""
    return do not in _TAKEN_BY or place.name in _TAKEN_BY[do]


def operations(log: str) -> list[Operation]:
    """What an agent has noted, as the text of its log."""
    return [Operation(*json.loads(line)) for line in log.splitlines()]


def distinct(places: list[Operation]) -> list[Operation]:
    """Those at which a killed agent leaves something else behind than at the one before.

    An fsync changes nothing that the rest of the system sees: being killed before it and after it
    is the same.
    """
    return [
        place
        for before, place in zip([None, *places], places, strict=False)
        if before is None or before.name != "fsync"
    ]


def share(places: list[Operation]) -> list[Operation]:
    """Every third of `places`, beginning at random; all of them with `EVERY_PLACE` set."""
    if os.environ.get(EVERY_PLACE):
        return places
    return places[random.SystemRandom().randrange(min(3, len(places) or 1)) :: 3]


def thinned(places: list[Operation], *, packs: int = 6) -> list[Operation]:
    """All `places`, but of the hundreds that write contents into a pack only `packs`, evenly."""
    packed = [place for place in places if place.path.endswith(".pack")]
    kept = {packed[len(packed) * n // packs].number for n in range(packs)} if packed else set()
    kept.update(place.number for place in packed[-2:])
    return [place for place in places if not place.path.endswith(".pack") or place.number in kept]
