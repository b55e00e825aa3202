"""Which processes listen on a port."""

from __future__ import annotations

import os

from deployer.agent.cgroups import unit_of
from deployer.agent.files import names_in, read_text
from deployer.agent.proxies import BY_UNIT

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from deployer.agent.settings import Json


def listeners(ports: list[int] | None) -> list[Json]:
    """Which processes listen on TCP ports (`None`: all); one entry for each unit and port.

    Source: proc_pid_net(5), proc_pid_fd(5), proc_pid_cgroup(5).
    """
    sockets = {inode: port for _, port, inode in listening_tcp() if ports is None or port in ports}
    found: dict[tuple[int, str], Json] = {}
    for pid, inodes in _holders(set(sockets)):
        process = read_text(f"/proc/{pid}/comm").strip()
        unit = unit_of(pid)
        for inode in inodes:
            port = sockets[inode]
            about = {"port": port, "pid": pid, "process": process, "unit": unit}
            first = found.setdefault((port, unit or process), about)
            first["pid"] = min(first["pid"], pid)  # the main process is older than its workers
    return sorted(found.values(), key=lambda each: (each["port"], each["pid"]))


def listening_tcp(pid: int | str = "self") -> Iterator[tuple[str, int, str]]:
    """Each listening TCP socket in the network namespace of `pid`: address in hex, port, inode."""
    for table in ("tcp", "tcp6"):
        try:
            with open(f"/proc/{pid}/net/{table}", encoding="ascii") as lines:
                next(lines, None)
                for line in lines:
                    fields = line.split()
                    if fields[3] != "0A":
                        break  # listening sockets come first, before thousands of others
                    address, _, port = fields[1].rpartition(":")
                    yield address, int(port, 16), fields[9]
        except OSError:
            continue


def _holders(inodes: set[str]) -> Iterator[tuple[int, set[str]]]:
    """The processes that hold some of the sockets, proxies first, until each socket has one."""
    pids = [int(name) for name in names_in("/proc") if name.isdigit()] if inodes else []
    pids.sort(key=lambda pid: (read_text(f"/proc/{pid}/comm").strip() not in BY_UNIT, pid))
    missing = set(inodes)
    for pid in pids:
        if not missing:
            return
        held = sockets_of(pid) & inodes
        if held:
            missing -= held
            yield pid, held


def sockets_of(pid: int) -> set[str]:
    """The inodes of a process's open sockets."""
    return set(_sockets_of(pid))


def _sockets_of(pid: int) -> Iterator[str]:
    folder = f"/proc/{pid}/fd"
    for name in names_in(folder):
        try:
            target = os.readlink(os.path.join(folder, name))
        except OSError:
            continue  # closed by now
        if target.startswith("socket:["):
            yield target[8:-1]


def listening_sockets(pid: int) -> set[str]:
    """The inodes of all listening TCP sockets in the network namespace of `pid`."""
    return {inode for _, _, inode in listening_tcp(pid)}


def listens(pid: int, listening: set[str]) -> bool:
    """Whether a process holds one of the sockets `listening`; it opened them early."""
    return any(inode in listening for inode in _sockets_of(pid))
