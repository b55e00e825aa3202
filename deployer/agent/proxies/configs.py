"""What a proxy's configuration requires of the host: addresses to listen on, and limits.

The files are parsed as far as necessary: unknown parts are skipped, since the proxy's own test has
passed before.
"""

from __future__ import annotations

import re
import socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    #: A directive: its file, its line, its words, and the block that contains it.
    Directive = tuple[str, int, list[str], str]


class Address:
    """A TCP address that a configuration listens on; `host` is empty for all IPv4 addresses."""

    def __init__(self, host: str, port: int, *, where: str, only_v6: bool = False) -> None:
        self.family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.host = host
        self.port = port
        self.where = where
        self.only_v6 = only_v6

    @property
    def is_any(self) -> bool:
        return self.host in ("", "0.0.0.0", "::")  # noqa: S104 - compared, not listened on

    @property
    def key(self) -> tuple[str, int]:
        """Equal for two spellings of one address."""
        any_one = "::" if self.family == socket.AF_INET6 else ""
        if self.is_any:
            return any_one, self.port
        packed = socket.inet_pton(self.family, self.host)
        return socket.inet_ntop(self.family, packed), self.port

    def __str__(self) -> str:
        if self.family == socket.AF_INET6:
            return f"[{self.host}]:{self.port}"
        return f"{self.host or '*'}:{self.port}"


def address_of(text: str, *, where: str, default_port: int, only_v6: bool) -> Address | None:
    """An address as proxies write it; `None` for a name or a different kind."""
    bracketed = re.fullmatch(r"\[([0-9a-fA-F:.]+)\](?::(\d+))?", text)
    plain = re.fullmatch(r"(?:(\*|\d+\.\d+\.\d+\.\d+)?(?::|$))?(\d+)?", text)
    if bracketed:
        host, port = bracketed.group(1), bracketed.group(2)
    elif plain and text:
        host, port = (plain.group(1) or "").replace("*", ""), plain.group(2)
    else:
        return None
    address = Address(host, int(port or default_port), where=where, only_v6=only_v6)
    try:
        return address if address.key and 0 < address.port < 65536 else None
    except OSError:
        return None


def each_once(found: list[Address | None]) -> list[Address]:
    """The addresses without repetitions, in order."""
    first: dict[tuple[str, int], Address] = {}
    for address in found:
        if address is not None:
            first.setdefault(address.key, address)
    return list(first.values())
