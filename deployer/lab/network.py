"""A separate bridge for each lab, on a subnet that is unused on this machine."""

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

#: A route to a larger network (such as a VPN's 10.0.0.0/8) does not block a subnet: the lab's route
#: is more specific, so it takes precedence and affects almost none of the other's addresses.
_WIDE = 15


@dataclass(frozen=True, slots=True)
class Network:
    """A lab's bridge; `number` is the third byte of its addresses, which start at .2."""

    bridge: str
    number: int

    def address(self, host: int) -> str:
        """The IPv4 address of a host, counted from 1; 0 is the bridge itself."""
        return f"10.213.{self.number}.{host + 1}"

    def address6(self, host: int) -> str:
        """The IPv6 address of a host, a unique local address (RFC 4193)."""
        return f"fd21:3000:{self.number:x}::{host + 1:x}"


def choose_network() -> Network:
    """An unused name and subnet; the caller holds the machine lock.

    Raises:
        LabError: all subnets are in use.
    """
    number = free_number(_networks_in_use())
    return Network(bridge=f"dl-{secrets.token_hex(3)}", number=number)


def free_number(taken: list[ipaddress.IPv4Network]) -> int:
    """The number of the first subnet that overlaps with none of `taken`.

    Raises:
        LabError: there is none.
    """
    narrow = [net for net in taken if net.prefixlen > _WIDE]
    for number, subnet in enumerate(_SUBNETS):
        if not any(subnet.overlaps(other) for other in narrow):
            return number
    raise LabError("All subnets for labs are in use.", hint="deployer lab down --all")


def make_bridge(network: Network) -> None:
    """Create the bridge, with this machine's addresses on it.

    Raises:
        LabError: bridges cannot be created on this machine.
    """
    bridge = network.bridge
    run(["ip", "link", "add", bridge, "type", "bridge"])
    run(["ip", "address", "add", f"{network.address(0)}/24", "dev", bridge])
    # Fails on a machine without IPv6: its labs have no IPv6 either.
    own6 = f"{network.address6(0)}/64"
    run(["ip", "address", "add", own6, "dev", bridge, "nodad"], quiet_failure=True)
    run(["ip", "link", "set", bridge, "up"])
    # By default, ARP requests for a host that is not up yet are sent once per second: arp(7).
    Path(f"/proc/sys/net/ipv4/neigh/{bridge}/retrans_time_ms").write_text("50")


def remove_link(name: str) -> None:
    """Remove a bridge or a host's link, if it exists."""
    if (Path("/sys/class/net") / name).exists():
        run(["ip", "link", "delete", name], quiet_failure=True)


def cut(link: str, *, namespace_of: int = 0) -> None:
    """Drop all packets sent into `link`, in the network namespace of process `namespace_of`.

    The links stay up: a bridge without an active port would report "no route to host" at once.
    """
    run([*_in_network_of(namespace_of), "tc", "qdisc", "replace", "dev", link, "root", "blackhole"])


def reconnect(link: str, *, namespace_of: int = 0) -> None:
    """Undo `cut`, if the link was cut."""
    argv = [*_in_network_of(namespace_of), "tc", "qdisc", "delete", "dev", link, "root"]
    run(argv, quiet_failure=True)


def remember(address: str, hardware_address: str, bridge: str) -> None:
    """Add a permanent ARP entry for `address`, so that it needs no answer to ARP requests."""
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
