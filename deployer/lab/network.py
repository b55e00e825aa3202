"""A bridge of its own for each lab, on a subnet that nothing on this machine uses."""

from __future__ import annotations

import ipaddress
import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from deployer.errors import LabError
from deployer.lab.shell import run

_SUBNETS = tuple(ipaddress.IPv4Network("10.213.0.0/16").subnets(new_prefix=24))

#: A route to a net that is wider than this (a VPN's 10.0.0.0/8, say) does not keep us out: ours are
#: narrower, so they win on this machine and take next to nothing from it.
_WIDE = 15


@dataclass(frozen=True, slots=True)
class Network:
    """A lab's bridge; `number` is the third byte of its addresses, which begin at .2."""

    bridge: str
    number: int

    def address(self, host: int) -> str:
        """The IPv4 address of host `host`, which counts from 1; 0 is the bridge itself."""
        return f"10.213.{self.number}.{host + 1}"

    def address6(self, host: int) -> str:
        """Its IPv6 address, a unique local one (RFC 4193)."""
        return f"fd21:3000:{self.number:x}::{host + 1:x}"


def choose_network() -> Network:
    """A name and a subnet that are free; the caller holds the lock against other labs.

    Raises:
        LabError: all subnets are taken.
    """
    number = free_number(_networks_in_use())
    return Network(bridge=f"dl-{secrets.token_hex(3)}", number=number)


def free_number(taken: list[ipaddress.IPv4Network]) -> int:
    """The first subnet's number that overlaps with none of `taken`.

    Raises:
        LabError: there is none.
    """
    narrow = [net for net in taken if net.prefixlen > _WIDE]
    for number, subnet in enumerate(_SUBNETS):
        if not any(subnet.overlaps(other) for other in narrow):
            return number
    raise LabError("Every subnet for labs is in use.", hint="deployer lab down --all")


def make_bridge(network: Network) -> None:
    """Make the bridge, with this machine's own addresses on it.

    Raises:
        LabError: bridges cannot be made here.
    """
    bridge = network.bridge
    run(["ip", "link", "add", bridge, "type", "bridge"])
    run(["ip", "address", "add", f"{network.address(0)}/24", "dev", bridge])
    # A machine without IPv6 has labs without IPv6.
    own6 = f"{network.address6(0)}/64"
    run(["ip", "address", "add", own6, "dev", bridge, "nodad"], quiet_failure=True)
    run(["ip", "link", "set", bridge, "up"])
    # A host that is not up yet is asked for once a second by default, see arp(7); too slow for us.
    Path(f"/proc/sys/net/ipv4/neigh/{bridge}/retrans_time_ms").write_text("50")


def remove_link(name: str) -> None:
    """Take a bridge or a host's link away; nothing where it is gone already."""
    if (Path("/sys/class/net") / name).exists():
        run(["ip", "link", "delete", name], quiet_failure=True)


def cut(link: str, *, namespace_of: int = 0) -> None:
    """Lose what is sent into `link`, and tell nobody; in the network of process `namespace_of`.

    The links stay up: a bridge without a live port would say "no route to host" at once.
    """
    run([*_in_network_of(namespace_of), "tc", "qdisc", "replace", "dev", link, "root", "blackhole"])


def mend(link: str, *, namespace_of: int = 0) -> None:
    """Undo `cut`; nothing where nothing was cut."""
    argv = [*_in_network_of(namespace_of), "tc", "qdisc", "delete", "dev", link, "root"]
    run(argv, quiet_failure=True)


def remember(address: str, hardware_address: str, bridge: str) -> None:
    """Keep this machine from asking who has `address`, and from giving up when nobody says so."""
    entry = [address, "lladdr", hardware_address, "dev", bridge]
    run(["ip", "neighbour", "replace", *entry, "nud", "permanent"])


def _in_network_of(pid: int) -> list[str]:
    return ["nsenter", f"--target={pid}", "--net"] if pid else []


def _networks_in_use() -> list[ipaddress.IPv4Network]:
    return [*_addresses(), *_routes()]


def _addresses() -> Iterator[ipaddress.IPv4Network]:
    for link in json.loads(run(["ip", "-json", "-4", "address"])):
        for info in link.get("addr_info", ()):
            yield ipaddress.IPv4Network(f"{info['local']}/{info['prefixlen']}", strict=False)


def _routes() -> Iterator[ipaddress.IPv4Network]:
    for route in json.loads(run(["ip", "-json", "-4", "route", "show", "table", "all"])):
        if route["dst"] != "default":
            yield ipaddress.IPv4Network(route["dst"], strict=False)
