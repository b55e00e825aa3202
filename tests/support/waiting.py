"""Waiting for events, and limits that a busy machine keeps.

A test waits for the event itself. A limit is there for what never happens, so it is long: it costs
nothing as long as all goes well. Where a test shows that something takes little time, its limit
grows with the load of the machine.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

#: Far longer than anything takes that works, on a machine with ten times as much to do.
PATIENCE_S = 600.0
#: Between two looks: the first soon, the later ones seldom, since a look costs time as well.
_FIRST_PAUSE_S, _LAST_PAUSE_S = 0.01, 0.25


def until(condition: Callable[[], object], *, within_s: float = PATIENCE_S) -> None:
    """Wait until `condition` holds."""
    deadline = time.monotonic() + within_s
    pause_s = _FIRST_PAUSE_S
    while not condition():
        assert time.monotonic() < deadline, f"it did not happen within {within_s:.0f} s"
        time.sleep(pause_s)
        pause_s = min(1.3 * pause_s, _LAST_PAUSE_S)


def at_most(seconds: float) -> float:
    """The limit for something that takes `seconds` at most on an idle machine."""
    return seconds * max(1.0, _processes_per_core())


def stretched(seconds: float) -> float:
    """A limit that a test waits out, while something else has to happen within it.

    It is longer than `seconds` on a machine that does more than these tests alone.
    """
    return seconds * max(1.0, _processes_per_core() / 4)


def _processes_per_core() -> float:
    """Of the last minute, or of this moment where that is more."""
    now = int(Path("/proc/loadavg").read_text().split()[3].partition("/")[0])
    return max(os.getloadavg()[0], now) / (os.cpu_count() or 1)
