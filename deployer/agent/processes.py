"""Processes, and which of a proxy's workers use the configuration that it loaded last."""

from __future__ import annotations

import os
import time

from deployer.agent.files import names_in, read_text
from deployer.agent.listeners import listening_sockets, listens
from deployer.agent.proxies import BY_UNIT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from deployer.agent.proxies import Proxy
    from deployer.agent.settings import Json


#: Programs that accept connections for a container; the unit of the container has other processes.
FORWARDERS = ("docker-proxy", "rootlessport", "slirp4netns", "pasta", "pasta.avx2", "conmon")


def started_at(pid: int) -> int:
    """When a process started, in ticks since boot; together with the PID it is unique."""
    fields = read_text(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return int(fields[19]) if len(fields) > 19 else 0


NS = 1_000_000_000
TICK_NS = NS // os.sysconf("SC_CLK_TCK")


def listening_children(main: int) -> Iterator[int]:
    """The children of a process that accept connections."""
    listening = listening_sockets(main)
    return (pid for pid in children_of(main) if listens(pid, listening))


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


def proxy_of(main: int) -> Proxy | None:
    """The supported proxy that this is the main process of, if any."""
    return BY_UNIT.get(read_text(f"/proc/{main}/comm").strip())


def is_proxy(main: int) -> bool:
    """Whether this is the main process of a supported proxy."""
    return proxy_of(main) is not None


def processes_of(main: int) -> Json | None:
    """A proxy's main process and current workers, each with its start in ticks since boot; `None`
    if it is not a supported proxy, or has no workers."""
    proxy = proxy_of(main)
    if proxy is None:
        return None
    workers = [[pid, started_at(pid)] for pid in sorted(proxy.workers.current_workers(main))]
    workers = [worker for worker in workers if worker[1]]  # the others have ended by now
    if not workers:
        return None
    running: Json = {"main": [main, started_at(main)], "workers": workers}
    read_ns = proxy.workers.read_ns(main)
    if read_ns is not None:
        running["read_ns"] = read_ns
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
