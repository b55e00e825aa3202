"""The addresses of this host at which others reach it.

Source: proc(5), the kernel's net/ipv4/fib_trie.c and net/ipv6/addrconf.c.
"""

from __future__ import annotations

import re

from deployer.agent.facts import ipv6_addresses, own_address
from deployer.agent.files import read_text

_LOCAL = re.compile(r"\|-- (\d+\.\d+\.\d+\.\d+)\n\s+/32 host LOCAL")


def ipv4_of(process: object) -> list[str]:
    """The IPv4 addresses in the network of a process, without those of its loopback."""
    found = _LOCAL.findall(read_text(f"/proc/{process}/net/fib_trie"))
    return [each for each in dict.fromkeys(found) if not each.startswith("127.")]


def host_addresses() -> list[str]:
    """IPv4, the one that connections leave from first, and then IPv6; none of a single link."""
    first = own_address()
    found = [first] if first else []
    found += ipv4_of("self")
    four = [each for each in dict.fromkeys(found) if not each.startswith("169.254.")]
    return four + [each for each in ipv6_addresses() if not each.startswith("fe80:")]
