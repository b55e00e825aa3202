"""Which sockets accept the connections to an address of this host, and which processes hold them.

An endpoint is ``{"host", "port"}``, ``{"port"}`` (on any address), or ``{"socket"}``. Source:
proc_pid_net(5), proc_pid_fd(5), unix(7), tcp(7).
"""

from __future__ import annotations

import socket
import struct
import sys

from deployer.agent.files import names_in, read_text
from deployer.agent.listeners import listening_tcp, sockets_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from deployer.agent.settings import Json

_ANY4, _ANY6 = bytes(4), bytes(16)
_MAPPED = bytes(10) + b"\xff\xff"
_LISTENS = 0x00010000  # __SO_ACCEPTCON
_CONNECT_LIMIT_S = 1.0


class Sockets:
    """One look at the listening sockets of this host, each identified by its inode."""

    def __init__(self) -> None:
        self._tcp = [(_unpacked(address), port, inode) for address, port, inode in listening_tcp()]
        self._unix = list(_listening_unix())
        self._holders: dict[str, list[int]] | None = None

    def at(self, endpoint: Json) -> list[str]:
        """The sockets that accept connections to `endpoint`; none if it is on another machine."""
        if endpoint.get("socket"):
            return self._at_path(endpoint["socket"])
        port = int(endpoint["port"])
        of_port = [(address, inode) for address, each, inode in self._tcp if each == port]
        if not endpoint.get("host"):
            return sorted({inode for _, inode in of_port})
        found: set[str] = set()
        for address in addresses_here(endpoint["host"]):
            found.update(_acceptors(address, of_port))
        return sorted(found)

    def _at_path(self, path: str) -> list[str]:
        """A path that was bound again is still the name of the former socket too, so the process
        at the other end of a connection decides."""
        inodes = sorted({inode for each, inode in self._unix if each == path})
        if len(inodes) < 2:
            return inodes
        pid = _listener_behind(path)
        exact = [inode for inode in inodes if pid in self.holders(inode)]
        return exact or inodes

    def address(self, inode: str) -> str:
        """Where a socket is bound, as systemd writes it: ``127.0.0.1:80``, ``[::]:80``, a path."""
        for bound, port, each in self._tcp:
            if each == inode:
                family = socket.AF_INET if len(bound) == 4 else socket.AF_INET6
                text = socket.inet_ntop(family, bound)
                return f"{text}:{port}" if len(bound) == 4 else f"[{text}]:{port}"
        return next((path for path, each in self._unix if each == inode), "")

    def holders(self, inode: str) -> list[int]:
        """The processes that hold a socket, the oldest ID first."""
        if self._holders is None:
            self._holders = _holders(self._inodes())
        return self._holders.get(inode, [])

    def all_holders(self) -> list[tuple[str, list[int]]]:
        """Every listening socket with its processes."""
        return [(inode, self.holders(inode)) for inode in sorted(self._inodes())]

    def _inodes(self) -> set[str]:
        return {inode for _, _, inode in self._tcp} | {inode for _, inode in self._unix}


def addresses_here(host: str) -> list[bytes]:
    """The addresses of this host that `host` means, packed; none if it is another machine.

    Names are looked up in /etc/hosts only: a lookup by DNS could take longer than an apply.
    """
    packed = _packed(host)
    found = [packed] if packed else _from_hosts_file(host)
    return [address for address in map(_connected_to, found) if _is_here(address)]


def _packed(text: str) -> bytes:
    family = socket.AF_INET6 if ":" in text else socket.AF_INET
    try:
        return socket.inet_pton(family, text.partition("%")[0])
    except OSError:
        return b""


def _from_hosts_file(name: str) -> list[bytes]:
    found = [b"\x7f\x00\x00\x01", bytes(15) + b"\x01"] if name.lower() == "localhost" else []
    for line in read_text("/etc/hosts").splitlines():
        words = line.partition("#")[0].lower().split()
        if name.lower() in words[1:]:
            packed = _packed(words[0])
            found += [packed] if packed and packed not in found else []
    return found


def _connected_to(address: bytes) -> bytes:
    """The address that a connection to `address` has at its other end."""
    if address.startswith(_MAPPED):
        address = address[12:]
    if address == _ANY4:
        return b"\x7f\x00\x00\x01"
    return bytes(15) + b"\x01" if address == _ANY6 else address


def _is_here(address: bytes) -> bool:
    family = socket.AF_INET if len(address) == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((socket.inet_ntop(family, address), 0))
    except OSError:
        return False
    return True


def _acceptors(address: bytes, sockets: list[tuple[bytes, str]]) -> list[str]:
    """As the kernel chooses: the exact address first, then IPv4's wildcard, then IPv6's."""
    exact = {address, _MAPPED + address} if len(address) == 4 else {address}
    wildcards = [{_ANY4, _MAPPED + _ANY4}, {_ANY6}] if len(address) == 4 else [{_ANY6}]
    for group in (exact, *wildcards):
        found = [inode for bound, inode in sockets if bound in group]
        if found:
            return found
    return []


def _unpacked(address: str) -> bytes:
    """The kernel prints each word of an address in the order of this machine."""
    raw = bytes.fromhex(address)
    if sys.byteorder == "big":
        return raw
    return b"".join(raw[start : start + 4][::-1] for start in range(0, len(raw), 4))


def _listening_unix() -> Iterator[tuple[str, str]]:
    for line in read_text("/proc/self/net/unix").splitlines()[1:]:
        fields = line.split(None, 7)
        if len(fields) == 8 and int(fields[3], 16) & _LISTENS:
            yield fields[7], fields[6]


def _listener_behind(path: str) -> int:
    """The process that made the socket at `path` listen; 0 if it cannot be found out."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(_CONNECT_LIMIT_S)
            connection.connect(path)
            size = struct.calcsize("3i")
            peer = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    except (OSError, ValueError):
        return 0
    return int(struct.unpack("3i", peer)[0])


def _holders(inodes: set[str]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for pid in sorted(int(name) for name in names_in("/proc") if name.isdigit()):
        for inode in sockets_of(pid) & inodes:
            found.setdefault(inode, []).append(pid)
    return found


def answers(endpoint: Json) -> bool:
    """Whether something accepts connections at `endpoint`, such as a container behind NAT."""
    try:
        if endpoint.get("socket"):
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(_CONNECT_LIMIT_S)
                connection.connect(endpoint["socket"])
        else:
            where = (endpoint.get("host") or "127.0.0.1", int(endpoint["port"]))
            socket.create_connection(where, timeout=_CONNECT_LIMIT_S).close()
    except OSError:
        return False
    return True


def endpoint_text(endpoint: Json) -> str:
    """``port 8000``, ``127.0.0.1:8000``, ``unix:/run/chat.sock``."""
    if endpoint.get("socket"):
        return "unix:" + str(endpoint["socket"])
    if not endpoint.get("host"):
        return "port {}".format(endpoint["port"])
    host = "[{}]".format(endpoint["host"]) if ":" in endpoint["host"] else endpoint["host"]
    return "{}:{}".format(host, endpoint["port"])
