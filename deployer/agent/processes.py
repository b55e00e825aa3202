"""Processes, and which of a proxy's workers use the configuration that it loaded last."""

from __future__ import annotations

import os
import time

from deployer.agent.files import look_at, names_in, read_text
from deployer.agent.listeners import listening_sockets, listens

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from deployer.agent.settings import Json


def started_at(pid: int) -> int:
    """When a process started, in ticks since boot; together with the PID it is unique."""
    fields = read_text(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return int(fields[19]) if len(fields) > 19 else 0


NS = 1_000_000_000
TICK_NS = NS // os.sysconf("SC_CLK_TCK")


def _current_workers_of_nginx(main: int) -> Iterator[int]:
    """Workers with an earlier configuration that still have connections show it in their title."""
    for pid in children_of(main):
        title = read_text(f"/proc/{pid}/cmdline")
        if title.startswith("nginx: worker process") and "shutting down" not in title:
            yield pid


def current_workers(main: int) -> Iterator[int]:
    """Workers of Apache or HAProxy: those with an earlier configuration have stopped listening."""
    listening = listening_sockets(main)
    return (pid for pid in children_of(main) if listens(pid, listening))


def current_workers_of_haproxy(main: int) -> Iterator[int]:
    """The same; if none listens, as with the configuration that Debian installs, the newest one."""
    found = list(current_workers(main)) or sorted(children_of(main), key=started_at)[-1:]
    return iter(found)


#: By the name of the main process: its children that use the configuration loaded last.
_CURRENT_WORKERS = {
    "nginx": _current_workers_of_nginx,
    "apache2": current_workers,
    "haproxy": current_workers_of_haproxy,
}
#: Apache rewrites it whenever it has read its configuration. Source: `ap_log_pid`.
_APACHE_PID_FILE = "/run/apache2/apache2.pid"


def children_of(pid: int) -> set[int]:
    path = f"/proc/{pid}/task/{pid}/children"
    if os.path.exists(path):  # CONFIG_PROC_CHILDREN; much faster than reading all processes
        return set(map(int, read_text(path).split()))
    found = set()
    for name in names_in("/proc"):
        if name.isdigit():
            # pid (comm) state ppid …; the name may contain anything and ends at the last bracket
            fields = read_text(f"/proc/{name}/stat").rpartition(")")[2].split()
            if len(fields) > 1 and int(fields[1]) == pid:
                found.add(int(name))
    return found


def is_proxy(main: int) -> bool:
    """Whether this is the main process of a supported proxy."""
    return read_text(f"/proc/{main}/comm").strip() in _CURRENT_WORKERS


def apache_read_ns(main: int) -> int:
    """When this Apache last read its configuration, by the wall clock; 0 if unknown.

    Its children do not show it: it ends some and starts others as the load changes.
    """
    if read_text(_APACHE_PID_FILE).strip() != str(main):
        return 0
    info = look_at(_APACHE_PID_FILE)
    return info.st_mtime_ns if info else 0


def processes_of(main: int) -> Json | None:
    """A proxy's main process and current workers, each with its start in ticks since boot; `None`
    if it is not a supported proxy, or has no workers."""
    proxy = read_text(f"/proc/{main}/comm").strip()
    current = _CURRENT_WORKERS.get(proxy)
    if current is None:
        return None
    workers = [[pid, started_at(pid)] for pid in sorted(current(main))]
    workers = [worker for worker in workers if worker[1]]  # the others have ended by now
    if not workers:
        return None
    running: Json = {"main": [main, started_at(main)], "workers": workers}
    if proxy == "apache2":
        running["read_ns"] = apache_read_ns(main)
    return running


def start_ns(running: Json) -> int:
    """When the workers started, since boot: files up to this moment may be loaded.

    A crashed worker is restarted without reading the files, so the oldest one counts. It started
    somewhere within its tick. A file's time is that of the clock's last interrupt before the
    change, so never late. With the end of the tick, what existed before the start never seems
    newer; what came within 10 ms (and an interrupt) after it may be taken for loaded.
    """
    if running.get("read_ns"):
        read_ns: int = running["read_ns"] - (time.time_ns() - uptime_ns())
        return read_ns + TICK_NS
    oldest: int = min(started for _, started in running["workers"])
    return (oldest + 1) * TICK_NS


def uptime_ns() -> int:
    """Time since boot including suspension, as in the start times of processes; nothing sets it."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def main_pid(shown: Json) -> int:
    return int(shown.get("MainPID") or 0)


def boot_id() -> str:
    """The ID of this boot."""
    return read_text("/proc/sys/kernel/random/boot_id").strip()
