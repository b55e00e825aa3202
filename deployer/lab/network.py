"""A bridge of its own for each lab, on a subnet that nothing on this machine uses."""

from __future__ import annotations

import ipaddress
import json
import secrets
from dataclasses import dataclass

from deployer.errors import LabError
from deployer.lab.shell import run

_SUBNETS = tuple(ipaddress.IPv4Network("10.213.0.0/16").subnets(new_prefix=24))


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


def make_network() -> Network:
    """Make a bridge on a free subnet; the caller holds the lock against other labs.

    Raises:
        LabError: all subnets are taken, or bridges cannot be made here.
    """
    taken = _networks_in_use()
    for number, subnet in enumerate(_SUBNETS):
        if not any(subnet.overlaps(other) for other in taken):
            network = Network(bridge=f"dl-{secrets.token_hex(3)}", number=number)
            run(["ip", "link", "add", network.bridge, "type", "bridge"])
            run(["ip", "address", "add", f"{network.address(0)}/24", "dev", network.bridge])
            run(
                [
                    "ip",
                    "-6",
                    "address",
                    "add",
                    f"{network.address6(0)}/64",
                    "dev",
                    network.bridge,
                    "nodad",
                ],
                quiet_failure=True,
            )
            run(["ip", "link", "set", network.bridge, "up"])
            return network
    raise LabError("Every subnet for labs is in use.", hint="deployer lab down --all")


def remove_network(bridge: str) -> None:
    """Take the bridge away; nothing where it is gone already."""
    run(["ip", "link", "delete", bridge], quiet_failure=True)


def _networks_in_use() -> list[ipaddress.IPv4Network]:
    found = []
    for link in json.loads(run(["ip", "-json", "-4", "address"])):
        for info in link.get("addr_info", ()):
            text = f"{info['local']}/{info['prefixlen']}"
            found.append(ipaddress.IPv4Network(text, strict=False))
    return found
