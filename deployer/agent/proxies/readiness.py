"""What a proxy's configuration test does not check: whether it can load the configuration now.

This runs after the configuration test and before the reload, restart or start. The proxies handle
these problems differently, and none of them well: nginx keeps its old configuration and only logs
it, HAProxy is unavailable for two seconds, Apache exits or accepts no more connections.
"""

from __future__ import annotations

import errno
import re
import socket

from deployer.agent.children import Children
from deployer.agent.errors import StepError
from deployer.agent.files import read_text
from deployer.agent.listeners import listeners, sockets_of
from deployer.agent.processes import children_of, main_pid
from deployer.agent.proxies import BY_UNIT, PROXIES, configs
from deployer.agent.proxies.connections import Tables
from deployer.agent.services import Systemd, service_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from deployer.agent.session import Session
    from deployer.agent.settings import Json


_CAP_SYS_RESOURCE = 1 << 24
_MANY = 1 << 30


class Loading:
    """A proxy that is about to load its configuration; `say` reports what is not an error."""

    def __init__(
        self, children: Children, unit: str, action: str, say: Callable[[str], None]
    ) -> None:
        self.children = children
        self.unit = unit
        self.say = say
        shown = Systemd(children).show([unit])[unit]
        is_active = shown.get("ActiveState") in ("active", "reloading")
        self.main = main_pid(shown) if is_active else 0
        #: It keeps its sockets and processes, and reads its files.
        self.is_reload = bool(self.main) and action == "reload"
        self.has_effect = action != "start" or not self.main

    def dump(self, argv: list[str]) -> str:
        """The output of a program; empty if it fails, although the test has passed."""
        parts: list[str] = []
        code, _ = self.children.run(argv, on_output=parts.append)
        return "".join(parts) if code == 0 else ""


def check(children: Children, unit: str, action: str, say: Callable[[str], None]) -> None:
    """Check that a proxy can load its configuration; other units pass.

    Raises:
        StepError: it could not; the running proxy is unchanged.
    """
    name = service_name(unit)
    proxy = BY_UNIT.get(name)
    if proxy and action in ("reload", "restart", "start"):
        loading = Loading(children, name, action, say)
        if loading.has_effect:
            proxy.readiness.check(loading)


# --- addresses ------------------------------------------------------------------------------------


def refuse_taken(
    loading: Loading, name: str, addresses: list[configs.Address], *, shares: bool = False
) -> None:
    """Each address that is new to the proxy must be free; this is tested with bind(2).

    `shares`: its former processes and the new ones listen at the same time, with SO_REUSEPORT.

    It keeps the addresses that it listens on. Its own sockets conflict with new ones too, such as
    ``80`` with ``127.0.0.1:80``: new ones are opened before old ones are closed.
    """
    own = _own_addresses(loading.main) if loading.is_reload else set()
    for address in addresses:
        if address.key in own:
            continue
        problem = _problem_of(address, shared=shares)
        if problem == errno.EADDRNOTAVAIL:
            raise StepError(
                f"{name} cannot listen on {address} ({address.where}): "
                "no interface of this host has that address"
            )
        if problem == errno.EADDRINUSE:
            _refuse(loading, name, address, own=own, shares=shares)


def _refuse(
    loading: Loading,
    name: str,
    address: configs.Address,
    *,
    own: set[tuple[str, int]],
    shares: bool,
) -> None:
    wish = f"{name} cannot listen on {address} ({address.where})"
    holders = [each for each in listeners([address.port]) if _is_at(each["pid"], address)]
    others = [each for each in holders if each["unit"] != loading.unit]
    if others:
        words = " and ".join(map(_holder_words, others))
        listens = "listens" if len(others) == 1 else "listen"
        raise StepError(
            f"{wish}: {words} {listens} there; stop that, or choose a different address"
        )
    if shares or not any(port == address.port for _, port in own):
        return  # it pauses its former process, or has none; or the process is unknown
    raise StepError(
        f"{wish}, while it still has a different address on that port: a reload opens the new one "
        f"before it closes the old one; `systemctl restart {loading.unit}` would work, but close "
        "all open connections"
    )


def _holder_words(holder: Json) -> str:
    of_unit = " of {}.service".format(holder["unit"]) if holder["unit"] else ""
    return "{} (process {}{})".format(holder["process"] or "something", holder["pid"], of_unit)


def _problem_of(address: configs.Address, *, shared: bool) -> int:
    """The error of bind(2) and listen(2) for an address; 0 if there is none.

    `shared`: with SO_REUSEPORT.
    """
    try:
        probe = socket.socket(address.family, socket.SOCK_STREAM)
    except OSError:
        return 0  # no IPv6 on this host
    with probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if address.family == socket.AF_INET6:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(address.only_v6))
        try:
            probe.bind((address.host, address.port))
        except OSError as error:
            return error.errno or 0
    return 0


def _own_addresses(main: int) -> set[tuple[str, int]]:
    """The addresses that the proxy's processes listen on, as `Address.key`."""
    tables = Tables(main)
    own: set[tuple[str, int]] = set()
    for pid in (main, *children_of(main)):
        own.update(tables.listening[i] for i in sockets_of(pid) if i in tables.listening)
    return own


def _is_at(pid: int, address: configs.Address) -> bool:
    """Whether a process listens on `address`."""
    for host, port in _own_addresses(pid):
        if port == address.port and (host in ("", "::", address.key[0]) or address.is_any):
            return True
    return False


# --- limits ---------------------------------------------------------------------------------------


def file_limit(loading: Loading, kind: str) -> int:
    """How many files a process of the unit may open: its ``soft`` limit, or a higher one."""
    pid = loading.main or 1
    limits = read_text(f"/proc/{pid}/limits")
    found = re.search(r"^Max open files +(\d+) +(\d+)", limits, re.M)
    soft, hard = map(int, found.groups()) if found else (_MANY, _MANY)
    capable = re.search(r"^CapEff:\t(\w+)", read_text(f"/proc/{pid}/status"), re.M)
    if kind == "hard" and capable and int(capable.group(1), 16) & _CAP_SYS_RESOURCE:
        return int(read_text("/proc/sys/fs/nr_open") or _MANY)
    if not loading.main:
        name = "LimitNOFILESoft" if kind == "soft" else "LimitNOFILE"
        shown = loading.dump(["systemctl", "show", "-p", name, "--value", loading.unit]).strip()
        return min(int(shown) if shown.isdigit() else _MANY, hard)
    return soft if kind == "soft" else hard


def places(session: Session, request: Json) -> Json:
    """How many process slots the proxy has that has them, and how many would stay occupied after a
    reload."""
    proxy = next(each for each in PROXIES.values() if each.has_slots)
    loading = Loading(session.children, proxy.unit, "reload", lambda text: None)
    if not loading.is_reload:
        return {"places": 0, "stay": 0}
    limit, stay = proxy.slots.places(loading)
    return {"places": limit, "stay": len(stay)}
