"""Web servers whose configuration is not read: none of the proxies, or in containers.

Only their addresses are known. What runs in a network namespace of its own, as containers do, is
reached at the addresses of that namespace. Source: proc_pid_net(5), namespaces(7).
"""

from __future__ import annotations

import os

from deployer.agent.addresses import ipv4_of
from deployer.agent.cgroups import unit_of
from deployer.agent.files import names_in, read_text
from deployer.agent.listeners import sockets_of
from deployer.agent.processes import FORWARDERS, children_of
from deployer.agent.proxies import UNITS
from deployer.agent.proxies.connections import Tables

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from deployer.agent.settings import Json

#: Processes that answer HTTP, by the names of proc_pid_comm(5), which are cut after 15 characters;
#: some of them publish the ports of containers.
_WEB_SERVERS = frozenset(
    {
        *("caddy", "lighttpd", "traefik", "envoy", "varnishd", "h2o", "hitch", "pound", "angie"),
        *("litespeed", "lshttpd", "openlitespeed", "cherokee", "thttpd", "mini_httpd", "webfsd"),
        *("tinyproxy", "squid", *FORWARDERS, *UNITS),
    }
)
#: The most addresses that are returned, those of the host's own network first.
_MOST = 64


def other_servers(inspected: Iterable[int], notes: list[str]) -> list[Json]:
    """The addresses of web servers that are not among the main processes `inspected`.

    Each address once: ``{"process", "pid", "unit", "host", "port"}``. `notes` reports what is left
    out.
    """
    known = {pid for main in inspected for pid in (main, *children_of(main))}
    covered = {inode for pid in known for inode in sockets_of(pid)}
    spaces: dict[str, Tables] = {}
    found: dict[tuple[str, int], Json] = {}
    for pid in sorted(int(name) for name in names_in("/proc") if name.isdigit()):
        process = read_text(f"/proc/{pid}/comm").strip()
        if process not in _WEB_SERVERS or pid in known:
            continue
        space = _network(pid)
        if space not in spaces:
            spaces[space] = Tables(pid)
        listening = spaces[space].listening
        for inode in sorted(sockets_of(pid) - covered):
            if inode not in listening:
                continue
            for host, port in _reached(pid, *listening[inode]):
                about = {"process": process, "pid": pid, "unit": unit_of(pid)}
                found.setdefault((host, port), {**about, "host": host, "port": port})
    own = _network(os.getpid())
    every = sorted(found.values(), key=lambda each: (_network(each["pid"]) != own, each["port"]))
    if len(every) > _MOST:
        notes.append(f"{len(every) - _MOST} addresses of other web servers are not compared")
    return every[:_MOST]


def _network(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/ns/net")
    except OSError:
        return ""


def _reached(pid: int, host: str, port: int) -> Iterator[tuple[str, int]]:
    """Where the host reaches what listens on `host` in the network of a process."""
    if _network(pid) == _network(os.getpid()):
        yield {"": "127.0.0.1", "::": "::1"}.get(host, host), port
    elif host in ("", "::"):
        yield from ((address, port) for address in ipv4_of(pid))
    elif not (host.startswith("127.") or host == "::1"):
        yield host, port
