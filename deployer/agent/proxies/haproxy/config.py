"""What HAProxy's configuration requires of the host."""

from __future__ import annotations

import re

from deployer.agent.files import read_text
from deployer.agent.proxies.configs import Address, address_of, each_once

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from deployer.agent.proxies.configs import Directive

FILE = "/etc/haproxy/haproxy.cfg"
_SECTIONS = (
    *("global", "defaults", "frontend", "backend", "listen", "peers", "resolvers", "userlist"),
    *("mailers", "program", "cache", "ring", "http-errors", "log-forward"),
)


def directives(file: str) -> Iterator[Directive]:
    """The directives of one file; the block is the kind of section."""
    section = ""
    for number, line in enumerate(read_text(file).splitlines(), 1):
        words = re.sub(r"(?<!\\)#.*", "", line).split()
        if not words:
            continue
        if words[0] in _SECTIONS:
            section = words[0]
        yield file, number, words, section


def addresses(file: str) -> list[Address]:
    """The addresses that HAProxy's frontends listen on."""
    found: list[Address | None] = []
    for _, line, words, section in directives(file):
        if words[0] != "bind" or section not in ("frontend", "listen") or len(words) < 2:
            continue
        only_v6 = "v6only" in words
        for text in words[1].split(","):
            found.append(_address(text, where=f"{file}:{line}", only_v6=only_v6))
    return each_once(found)


def _address(text: str, *, where: str, only_v6: bool) -> Address | None:
    kind, _, rest = text.rpartition("@")
    if kind not in ("", "ipv4", "ipv6", "tcp", "tcp4", "tcp6"):
        return None
    host, _, port = rest.rpartition(":")
    host = host.strip("[]")
    if kind.endswith("6") and host in ("", "*"):
        host = "::"
    host = f"[{host}]" if ":" in host else host
    return address_of(f"{host}:{port}", where=where, default_port=0, only_v6=only_v6)


def number(file: str, directive: str) -> int | None:
    """The value of a directive of the section ``global``."""
    for _, _, words, section in directives(file):
        if section == "global" and words[0] == directive and words[1:2] and words[1].isdigit():
            return int(words[1])
    return None
