"""The connections of a running proxy: those that a reload leaves, and a restart closes.

A WebSocket is a client's connection and one to the service, held by the same process; so is a
request in progress, for a moment. All other connections are idle: clients that may send a request,
and connections to services that are kept for the next one. Each proxy's module counts its own.

Source: proc_pid_fd(5), proc_pid_fdinfo(5), proc_net(5), sock_diag(7).
"""

from __future__ import annotations

import os
import re
import socket
import struct

from deployer.agent.errors import check_name
from deployer.agent.files import names_in, read_text
from deployer.agent.processes import children_of, main_pid, proxy_of
from deployer.agent.proxies import BY_UNIT
from deployer.agent.services import Systemd

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from deployer.agent.session import Session
    from deployer.agent.settings import Json


_LISTEN, _ESTABLISHED = "0A", "01"
_FIRST_EPHEMERAL = 32768
_SOCKET_LIMIT_S = 3.0


class Tables:
    """The TCP sockets of a process's network namespace, by their inodes.

    The addresses in `listening` are those of `configs.Address.key`.
    """

    def __init__(self, pid: int) -> None:
        self.listening: dict[str, tuple[str, int]] = {}
        self._ports: dict[str, int] = {}  # the local port of each established connection
        self._ends: dict[str, str] = {}  # both addresses of each, in the kernel's notation
        for table, size in (("tcp", 4), ("tcp6", 16)):
            for line in read_text(f"/proc/{pid}/net/{table}").splitlines()[1:]:
                fields = line.split(None, 10)
                if fields[3] == _ESTABLISHED:
                    self._ports[fields[9]] = int(fields[1][-4:], 16)
                    self._ends[fields[9]] = f"{fields[2]}-{fields[1]}"
                elif fields[3] == _LISTEN:
                    self.listening[fields[9]] = _address(fields[1], size)
        self._served = {port for _, port in self.listening.values()}

    def side_of(self, inode: str) -> str:
        """``client`` or ``service``, by who has connected; empty for other sockets."""
        port = self._ports.get(inode)
        if port is None:
            return ""
        return "client" if port in self._served or port < _FIRST_EPHEMERAL else "service"

    def ends_of(self, inode: str) -> str:
        """Remote and local address of an established connection, which identify it."""
        return self._ends.get(inode, "")


def _address(text: str, size: int) -> tuple[str, int]:
    """Parse ``0100007F:1F90``, an address in words of the host's byte order, and a port."""
    host, _, port = text.partition(":")
    words = struct.unpack(f">{size // 4}I", bytes.fromhex(host))
    packed = struct.pack(f"={size // 4}I", *words)
    family = socket.AF_INET if size == 4 else socket.AF_INET6
    name = socket.inet_ntop(family, packed)
    return ("" if name == "0.0.0.0" else name), int(port, 16)  # noqa: S104 - compared


class Worker:
    """One process of a proxy, with its sockets."""

    def __init__(self, pid: int, tables: Tables, unix_clients: set[str]) -> None:
        self.pid = pid
        self.clients: set[int] = set()
        self.services: set[int] = set()
        self.is_old = True  # it has stopped listening
        self._waits: list[int] = []
        self._ends: dict[int, str] = {}  # of clients
        for number, target in _open_files(pid):
            if target.startswith("socket:["):
                inode = target[8:-1]
                side = tables.side_of(inode) or ("service" if inode in unix_clients else "")
                if side == "client":
                    self.clients.add(number)
                    self._ends[number] = tables.ends_of(inode)
                elif side == "service":
                    self.services.add(number)
                elif inode in tables.listening:
                    self.is_old = False
            elif target == "anon_inode:[eventpoll]":
                self._waits.append(number)

    def pairs(self) -> int:
        """The number of pairs of a client and a service."""
        return min(len(self.clients), len(self.services))

    def tunnels(self) -> int:
        """Tunnels that each wait with their own epoll(7) for a service and a client."""
        return sum(1 for watched in self._watched() if watched & self.services)

    def ends(self, *, of_tunnels: bool) -> list[str]:
        """The addresses of each client's connection, or only of tunnels."""
        numbers = set(self.clients)
        if of_tunnels:
            numbers &= set().union(*(each for each in self._watched() if each & self.services))
        return sorted(self._ends[number] for number in numbers)

    def _watched(self) -> Iterator[set[int]]:
        for wait in self._waits:
            about = read_text(f"/proc/{self.pid}/fdinfo/{wait}")
            yield {int(found) for found in re.findall(r"^tfd: +(\d+)", about, re.M)}


def _open_files(pid: int) -> Iterator[tuple[int, str]]:
    folder = f"/proc/{pid}/fd/"
    for name in names_in(folder):
        try:
            yield int(name), os.readlink(folder + name)
        except OSError:
            continue  # closed by now


def worker_connections(main: int, unit: str, *, with_clients: bool = False) -> list[Json]:
    """For each child of a proxy's main process: ``pid``, ``websockets``, ``connections`` of
    clients, and whether it ``is_old``; optionally ``clients``, their addresses."""
    tables, unix_clients = Tables(main), _unix_clients()
    workers = [Worker(pid, tables, unix_clients) for pid in sorted(children_of(main))]
    counts = BY_UNIT[unit].connections
    return [
        {
            "pid": worker.pid,
            "websockets": counts.websockets(worker, main),
            "connections": len(worker.clients),
            "is_old": worker.is_old,
            **({"clients": counts.clients(worker)} if with_clients else {}),
        }
        for worker in workers
    ]


# --- unix sockets ---------------------------------------------------------------------------------

_NETLINK_SOCK_DIAG, _SOCK_DIAG_BY_FAMILY, _NLMSG_DONE = 4, 20, 3
_REQUEST_ALL = 0x301
_SHOW_NAME, _SHOW_PEER = 1, 4
_UNIX_NAME, _UNIX_PEER = 0, 2


def _unix_clients() -> set[str]:
    """The inodes of Unix sockets connected to a service: their peer has the service's name."""
    names: set[int] = set()
    peers: dict[int, int] = {}
    try:
        for inode, attributes in _unix_sockets():
            if _UNIX_NAME in attributes:
                names.add(inode)
            if len(attributes.get(_UNIX_PEER, b"")) == 4:
                peers[inode] = struct.unpack("=I", attributes[_UNIX_PEER])[0]
    except (OSError, struct.error):
        return set()
    return {str(inode) for inode, peer in peers.items() if peer in names and inode not in names}


def _unix_sockets() -> Iterator[tuple[int, dict[int, bytes]]]:
    """Inode and attributes of each connected stream socket."""
    body = struct.pack("=BBHIIIII", socket.AF_UNIX, 0, 0, 1 << 1, 0, _SHOW_NAME | _SHOW_PEER, 0, 0)
    head = struct.pack("=IHHII", 16 + len(body), _SOCK_DIAG_BY_FAMILY, _REQUEST_ALL, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as line:
        line.settimeout(_SOCKET_LIMIT_S)
        line.sendall(head + body)
        while True:
            data = line.recv(1 << 20)
            while data:
                length, kind = struct.unpack_from("=IH", data)
                if kind != _SOCK_DIAG_BY_FAMILY:
                    return  # the end, or an error
                message, data = data[16:length], data[(length + 3) & ~3 :]
                if message[1] == socket.SOCK_STREAM:
                    yield struct.unpack_from("=I", message, 4)[0], _attributes(message[16:])


def _attributes(data: bytes) -> dict[int, bytes]:
    found = {}
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        if length < 4:
            break
        found[kind] = data[4:length]
        data = data[(length + 3) & ~3 :]
    return found


# --- the request ----------------------------------------------------------------------------------


def connections(session: Session, request: Json) -> Json:
    """The connections of each of the proxies ``units``, without those that are not running."""
    units = [check_name(unit) for unit in request["units"]]
    shown = Systemd(session.children).show(units) if units else {}
    found = {}
    for unit in units:
        main = main_pid(shown[unit])
        proxy = proxy_of(main)
        if proxy:
            found[unit] = {
                "workers": worker_connections(
                    main, proxy.unit, with_clients=bool(request.get("clients"))
                ),
                "drain_s": proxy.connections.drain_s(),
            }
    return {"units": found}


_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def time_set(paths: tuple[str, ...], pattern: str, *, default_unit: str = "s") -> float | None:
    """The time in seconds that a directive sets, in the first of `paths` with it.

    `pattern` matches its line: the number, and the unit, which is optional.
    """
    for path in paths:
        found = re.search(pattern, read_text(path), re.M)
        if found:
            return int(found.group(1)) * _SECONDS[found.group(2) or default_unit]
    return None
