"""Whether a service itself accepts the connections to its port, and who does if it does not."""

from __future__ import annotations

import os
import re
import time

from deployer.agent.cgroups import cgroup_of, is_in, place_in
from deployer.agent.commit.unit_states import sockets_of_unit
from deployer.agent.files import names_in, read_text
from deployer.agent.processes import FORWARDERS, TICK_NS, started_at
from deployer.agent.socket_units import SYSTEMD_PID, SocketUnits
from deployer.agent.sockets import Sockets, addresses_here, answers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from deployer.agent.services import Systemd
    from deployer.agent.settings import Json

#: Programs in a unit that runs a container, which may have its network somewhere else.
_RUNTIMES = ("docker", "podman", "nerdctl", "conmon", "crun", "runc", "systemd-nspawn", "lxc-start")


class PortOwners:
    """One look at who accepts connections; `units` are the services, as systemctl shows them."""

    def __init__(self, systemd: Systemd, units: dict[str, Json]) -> None:
        self._units = units
        self._socket_units = SocketUnits(systemd)
        self._sockets = Sockets()
        self._offset_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - time.monotonic_ns()

    def is_accepted(self, endpoint: Json) -> bool:
        """Whether a socket of this host accepts connections to `endpoint`."""
        return bool(self._sockets.at(endpoint))

    def is_silent(self, endpoint: Json) -> bool:
        """Whether `endpoint` is on this host, and nothing accepts connections there."""
        is_here = bool(endpoint.get("socket") or addresses_here(endpoint["host"]))
        return is_here and not self.is_accepted(endpoint) and not answers(endpoint)

    def strangers(self, unit: str, endpoint: Json) -> list[int] | None:
        """The processes other than those of `unit` that accept connections to `endpoint`.

        `None` if nothing does. A socket that a process of the unit holds is the unit's; one that
        systemd holds is, if it starts the unit; and one of a container's forwarder, if that is not
        older than the unit. A process that cannot be seen is 0.
        """
        inodes = self._sockets.at(endpoint)
        if not inodes:
            if not answers(endpoint):
                return None
            return [] if self._may_be_a_container(unit) else [0]
        found: list[int] = []
        for inode in inodes:
            pids = self._sockets.holders(inode)
            if not any(self._is_of(unit, pid, inode) for pid in pids):
                found += pids or [0]
        return sorted(set(found))

    def _may_be_a_container(self, unit: str) -> bool:
        """Whether connections that no process of this network accepts may reach the unit: it runs a
        container, or has started one and has no processes itself."""
        pids = unit_processes(self._units[unit].get("ControlGroup", ""))
        own = _network_of("self")
        return not pids or any(
            _name_of(pid) in _RUNTIMES or _network_of(pid) != own for pid in pids
        )

    def _is_of(self, unit: str, pid: int, inode: str) -> bool:
        shown = self._units[unit]
        if pid == SYSTEMD_PID:
            return self._socket_units.at(self._sockets.address(inode))[0] in _socket_units(
                unit, shown
            )
        if is_in(cgroup_of(pid), shown.get("ControlGroup", "")):
            return not self._is_left_over(pid, shown)
        return _name_of(pid) in FORWARDERS and not self._is_older(pid, _started_us(shown))

    def _is_left_over(self, pid: int, shown: Json) -> bool:
        """Whether a process in the cgroup of a unit existed when the unit was last inactive: its
        stop left it running.

        The time of the start does not decide alone: systemd notes it after it created the process,
        on a busy host by more than a tick. A one-shot unit may be inactive again by now.
        """
        inactive_us = int(shown.get("InactiveEnterTimestampMonotonic") or 0)
        return self._is_older(pid, min(inactive_us, _started_us(shown)))

    def _is_older(self, pid: int, moment_us: int) -> bool:
        """Whether a process existed before a moment of the monotonic clock."""
        return (started_at(pid) + 1) * TICK_NS <= moment_us * 1000 + self._offset_ns

    def listens(self, unit: str) -> bool:
        """Whether any process of `unit` accepts connections, on any port or path."""
        top = self._units[unit].get("ControlGroup", "")
        pids = {pid for _, held in self._sockets.all_holders() for pid in held}
        return any(is_in(cgroup_of(pid), top) for pid in pids)

    def words(self, pids: list[int], endpoint: Json) -> str:
        """``python3 (process 812 of old.service)``."""
        shown = [f"{_name_of(pid)} ({self._place_of(pid, endpoint)})" for pid in pids[:3] if pid]
        return " and ".join(shown) or "a process that cannot be seen"

    def _place_of(self, pid: int, endpoint: Json) -> str:
        """``process 812 of old.service``."""
        unit = place_in(cgroup_of(pid))
        if pid == SYSTEMD_PID:
            addresses = map(self._sockets.address, self._sockets.at(endpoint))
            unit = next(filter(None, (self._socket_units.at(each)[0] for each in addresses)), unit)
        return f"process {pid} of {unit}" if unit else f"process {pid}"


def _started_us(shown: Json) -> int:
    return int(shown.get("InactiveExitTimestampMonotonic") or 0)


def _network_of(pid: int | str) -> str:
    try:
        return os.readlink(f"/proc/{pid}/ns/net")
    except OSError:
        return ""


def _socket_units(unit: str, shown: Json) -> list[str]:
    return [unit] if unit.endswith(".socket") else sockets_of_unit(shown)


def _name_of(pid: int) -> str:
    return read_text(f"/proc/{pid}/comm").strip() or "a process"


def mentions(pids: list[int], endpoint: Json) -> bool:
    """Whether the command line or environment of a process name `endpoint`."""
    for pid in pids:
        argv = read_text(f"/proc/{pid}/cmdline").split("\0")
        around = read_text(f"/proc/{pid}/environ").split("\0")
        if _in_arguments(argv, endpoint) or _in_environment(around, endpoint):
            return True
    return False


#: URLs of services that a program uses rather than offers.
_URLS = re.compile(r"\b(?!tcp|unix|ssl)[a-z][a-z0-9+.-]*://\S*", re.IGNORECASE)
_NAMES_PORT = re.compile(r"port|bind|listen|addr|socket|host|^-[pbl]$", re.IGNORECASE)


def _in_arguments(argv: list[str], endpoint: Json) -> bool:
    path, port = endpoint.get("socket"), str(endpoint.get("port", ""))
    for number, word in enumerate(argv):
        text = _URLS.sub("", word)
        if path:
            if path in text:
                return True
            continue
        before = argv[number - 1] if number else ""
        if text == port and (not before.startswith("-") or _NAMES_PORT.search(before)):
            return number > 0
        if re.search(rf":{port}(?![0-9])", text):
            return True
        name, _, value = text.partition("=")
        if value == port and _NAMES_PORT.search(name):
            return True
    return False


def _in_environment(around: list[str], endpoint: Json) -> bool:
    path, port = endpoint.get("socket"), str(endpoint.get("port", ""))
    for word in around:
        name, _, value = word.partition("=")
        text = _URLS.sub("", value)
        if path and path in text:
            return True
        if not path and _NAMES_PORT.search(name) and re.search(rf"(^|:){port}$", text):
            return True
    return False


def unit_processes(top: str) -> list[int]:
    """The processes in a cgroup and below it."""
    pids = (int(name) for name in names_in("/proc") if name.isdigit())
    return sorted(pid for pid in pids if is_in(cgroup_of(pid), top))
