"""What a proxy's configuration test does not check: whether it can load the configuration now.

This runs after the configuration test and before the reload, restart or start. The proxies handle
these problems differently, and none of them well: nginx keeps its old configuration and only logs
it, HAProxy is unavailable for two seconds, Apache exits or accepts no more connections.
"""

from __future__ import annotations

import errno
import re
import socket
import time

from deployer.agent.children import Children
from deployer.agent.errors import StepError
from deployer.agent.files import look_at, read_text
from deployer.agent.listeners import listeners, sockets_of
from deployer.agent.processes import TICK_NS, children_of, main_pid, started_at, uptime_ns
from deployer.agent.proxies import configs
from deployer.agent.proxies.connections import Tables, worker_connections
from deployer.agent.services import Systemd, service_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Check = Callable[["Loading"], None]
    from deployer.agent.session import Session
    from deployer.agent.settings import Json


_HAPROXY_FILE = "/etc/haproxy/haproxy.cfg"
#: The files that HAProxy opens in addition to two sockets per connection: 40 in 2.6, 54 in 3.0.
_HAPROXY_OWN_FILES = 40
_CAP_SYS_RESOURCE = 1 << 24
_MANY = 1 << 30
#: The defaults of `ServerLimit`: of mpm_prefork, and of the others.
_PREFORK_SERVER_LIMIT, _SERVER_LIMIT = 256, 16


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
    if name in _CHECKS and action in ("reload", "restart", "start"):
        loading = Loading(children, name, action, say)
        if loading.has_effect:
            _CHECKS[name](loading)


# --- addresses ------------------------------------------------------------------------------------


def _refuse_taken(loading: Loading, name: str, addresses: list[configs.Address]) -> None:
    """Each address that is new to the proxy must be free; this is tested with bind(2).

    It keeps the addresses that it listens on. Its own sockets conflict with new ones too, such as
    ``80`` with ``127.0.0.1:80``: new ones are opened before old ones are closed.
    """
    own = _own_addresses(loading.main) if loading.is_reload else set()
    for address in addresses:
        if address.key in own:
            continue
        problem = _problem_of(address, shared=loading.unit == "haproxy")
        if problem == errno.EADDRNOTAVAIL:
            raise StepError(
                f"{name} cannot listen on {address} ({address.where}): "
                "no interface of this host has that address"
            )
        if problem == errno.EADDRINUSE:
            _refuse(loading, name, address, own=own)


def _refuse(
    loading: Loading, name: str, address: configs.Address, *, own: set[tuple[str, int]]
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
    if loading.unit == "haproxy" or not any(port == address.port for _, port in own):
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

    `shared`: with SO_REUSEPORT, as HAProxy does, whose processes listen at the same time.
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


# --- what differs from proxy to proxy -------------------------------------------------------------


def _check_nginx(loading: Loading) -> None:
    dump = loading.dump(["nginx", "-T", "-q"])
    _refuse_taken(loading, "nginx", configs.nginx_addresses(dump))
    numbers = configs.nginx_numbers(dump)
    wanted = numbers.get("worker_connections", 512)
    files = numbers.get("worker_rlimit_nofile") or _file_limit(loading, "soft")
    if files < wanted:
        loading.say(
            f"nginx: worker_connections is {wanted}, but a worker may open {files} files, enough "
            f"for {files // 2} WebSocket connections: set worker_rlimit_nofile"
        )


def _check_apache(loading: Loading) -> None:
    config = _apache_config(loading)
    _refuse_taken(loading, "Apache", config.addresses())
    if loading.is_reload:
        _refuse_full_scoreboard(loading, config)


def _apache_config(loading: Loading) -> configs.ApacheConfig:
    asked = ["DUMP_INCLUDES", "DUMP_MODULES", "DUMP_RUN_CFG"]
    options = [word for name in asked for word in ("-D", name)]
    return configs.ApacheConfig(loading.dump(["apachectl", "-t", *options]))


def _refuse_full_scoreboard(loading: Loading, config: configs.ApacheConfig) -> None:
    """Children with open connections stay after a reload, and each occupies a process slot. If no
    slot is left, Apache hangs without a message."""
    limit, stay = _places(loading, config)
    if len(stay) < limit:
        return
    held = sum(worker["websockets"] for worker in stay)
    raise StepError(
        f"Apache has room for {limit} processes (ServerLimit), and {len(stay)} of earlier "
        f"configurations would stay after this reload because of their connections ({held} "
        "WebSockets): none would be left to accept new ones. Wait until they have drained, or run "
        "`systemctl restart apache2`, which closes them; a larger ServerLimit takes effect at a "
        "restart too"
    )


def _places(loading: Loading, config: configs.ApacheConfig) -> tuple[int, list[Json]]:
    """How many process slots Apache has, and the children that would stay after a reload."""
    usual = _PREFORK_SERVER_LIMIT if config.has_module("mpm_prefork") else _SERVER_LIMIT
    limit, file = config.number("ServerLimit") or (usual, "")
    workers = worker_connections(loading.main, "apache2")
    if len(workers) <= usual < limit and _is_newer(file, loading.main):
        limit = usual  # the number of slots is that of the start, whatever the file says now
    stay = [
        worker
        for worker in workers
        if worker["websockets"] or (worker["is_old"] and worker["connections"])
    ]
    return limit, stay


def places(session: Session, request: Json) -> Json:
    """How many process slots Apache has, and how many would stay occupied after a reload."""
    loading = Loading(session.children, "apache2", "reload", lambda text: None)
    if not loading.is_reload:
        return {"places": 0, "stay": 0}
    limit, stay = _places(loading, _apache_config(loading))
    return {"places": limit, "stay": len(stay)}


def _is_newer(file: str, main: int) -> bool:
    """Whether a file has changed since a process started."""
    info = look_at(file) if file else None
    if info is None:
        return False
    changed_ns: int = info.st_ctime_ns - (time.time_ns() - uptime_ns())
    return changed_ns > started_at(main) * TICK_NS


def _check_haproxy(loading: Loading) -> None:
    _refuse_taken(loading, "HAProxy", configs.haproxy_addresses(_HAPROXY_FILE))
    maxconn = configs.haproxy_number(_HAPROXY_FILE, "maxconn") or 0
    needed, limit = 2 * maxconn + _HAPROXY_OWN_FILES, _file_limit(loading, "hard")
    limit = configs.haproxy_number(_HAPROXY_FILE, "fd-hard-limit") or limit
    if not maxconn or needed <= limit:
        return
    words = (
        f"maxconn {maxconn} in {_HAPROXY_FILE} needs {needed} open files, two per connection, but "
        f"HAProxy may open {limit}: lower it to {(limit - _HAPROXY_OWN_FILES) // 2}, or raise "
        "LimitNOFILE of haproxy.service"
    )
    version = re.search(r"version (\d+)\.(\d+)", loading.dump(["haproxy", "-v"]))
    if version and tuple(map(int, version.groups())) < (2, 3):
        loading.say(f"HAProxy: {words}")  # it starts anyway, and runs out of them later
    else:
        raise StepError(words)


def _file_limit(loading: Loading, kind: str) -> int:
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


_CHECKS: dict[str, Check] = {
    "nginx": _check_nginx,
    "apache2": _check_apache,
    "haproxy": _check_haproxy,
}
