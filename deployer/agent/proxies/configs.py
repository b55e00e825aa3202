"""What a proxy's configuration requires of the host: addresses to listen on, and limits.

The files are parsed as far as necessary: unknown parts are skipped, since the proxy's own test has
passed before.
"""

from __future__ import annotations

import os
import re
import socket

from deployer.agent.files import read_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

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
    """An address as the three proxies write it; `None` for a name or a different kind."""
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


# --- nginx ----------------------------------------------------------------------------------------

#: Comments, quoted words, punctuation, ends of lines, other words.
_OF_NGINX = re.compile(
    r"""#[^\n]*|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[{};]|\n"""
    r"""|(?:\\.|[^\s{};"'#])(?:\\.|[^\s{};])*""",
    re.DOTALL,
)
_NGINX_FILE = re.compile(r"# configuration file (.+):")


def nginx_directives(dump: str) -> Iterator[Directive]:
    """The directives in the output of ``nginx -T``, with the name of the innermost block."""
    file, line = "", 0
    words: list[str] = []
    blocks: list[str] = []
    for part in _OF_NGINX.findall(dump):
        if part == "\n":
            line += 1
        elif part.startswith("#"):
            header = _NGINX_FILE.fullmatch(part)
            if header and not words:
                file, line, blocks = header.group(1), 0, []
        elif part == "{":
            blocks.append(words[0] if words else "")
            yield file, line, [*words, "{"], blocks[-1]
            words = []
        elif part == "}":
            yield file, line, ["}"], blocks.pop() if blocks else ""
            words = []
        elif part == ";":
            if words:
                yield file, line, words, blocks[-1] if blocks else ""
            words = []
        else:
            line += part.count("\n")
            words.append(part[1:-1] if part[0] in "\"'" else part)


def nginx_addresses(dump: str) -> list[Address]:
    """The addresses that nginx listens on; a wildcard address covers all others of its port.

    A server without a ``listen`` uses port 80. Source: ngx_http_core_module, "listen".
    """
    found: list[Address | None] = []
    has_listen = False
    for file, line, words, block in nginx_directives(dump):
        if block != "server":
            continue
        where = f"{file}:{line}"
        if words == ["server", "{"]:
            has_listen = False
        elif words == ["}"] and not has_listen:
            found.append(Address("", 80, where=where))
        elif words[0] == "listen" and len(words) > 1:
            has_listen = True
            if not {"udp", "quic"}.intersection(words):
                only_v6 = "ipv6only=off" not in words
                found.append(address_of(words[1], where=where, default_port=80, only_v6=only_v6))
    addresses = _each_once(found)
    all_at = {(each.family, each.port) for each in addresses if each.is_any}
    return [each for each in addresses if each.is_any or (each.family, each.port) not in all_at]


def nginx_numbers(dump: str) -> dict[str, int]:
    """``worker_connections`` and ``worker_rlimit_nofile``, if they are set."""
    wanted = ("worker_connections", "worker_rlimit_nofile")
    return {
        words[0]: int(words[1])
        for _, _, words, _ in nginx_directives(dump)
        if words[0] in wanted and len(words) == 2 and words[1].isdigit()
    }


# --- Apache ---------------------------------------------------------------------------------------


class ApacheConfig:
    """Apache's effective directives in the files that ``apachectl -t -D DUMP_INCLUDES …`` lists."""

    def __init__(self, dump: str) -> None:
        self.files = re.findall(r"^\s+\([*\d]+\) (/.+)$", dump, re.MULTILINE)
        self._modules = set(
            re.findall(r"^ (\w+)_module \((?:static|shared)\)$", dump, re.MULTILINE)
        )
        self._defined = set(re.findall(r"^Define: (\w+)", dump, re.MULTILINE))

    def directives(self) -> Iterator[Directive]:
        """The directives outside of virtual hosts, in sections that apply."""
        for file in self.files:
            yield from self._of_file(file)

    def _of_file(self, file: str) -> Iterator[Directive]:
        sections: list[tuple[str, bool]] = []
        for number, text in _joined_lines(read_text(file)):
            opened = re.match(r"<(\w+)\s*(.*?)>?$", text)
            if text.startswith("</"):
                sections = sections[:-1]
            elif opened:
                sections.append((opened.group(1).lower(), self._applies(*opened.groups())))
            elif all(applies for _, applies in sections):
                words = [word.strip("\"'") for word in text.split()]
                yield file, number, words, ""

    def _applies(self, section: str, argument: str) -> bool:
        name = argument.strip("\"' ")
        is_negated, name = name.startswith("!"), name.lstrip("!")
        kind = section.lower()
        if kind == "ifmodule":
            module = re.sub(r"^mod_|\.c$|_module$", "", name)
            module = f"mpm_{module}" if module in ("event", "worker", "prefork") else module
            return (module in self._modules) is not is_negated
        if kind == "ifdefine":
            return (name in self._defined) is not is_negated
        if kind == "iffile":
            return os.path.exists(name) is not is_negated
        return kind == "ifversion"

    def has_module(self, name: str) -> bool:
        """Whether a module is loaded: ``mpm_event``, ``ssl``."""
        return name in self._modules

    def addresses(self) -> list[Address]:
        """The addresses that Apache listens on; without an address, all of IPv6 and IPv4."""
        any_one = "::" if _has_ipv6() else ""
        found: list[Address | None] = []
        for file, line, words, _ in self.directives():
            if words[0].lower() != "listen" or len(words) < 2:
                continue
            where = f"{file}:{line}"
            if words[1].isdigit():
                found.append(Address(any_one, int(words[1]), where=where))
            else:
                found.append(address_of(words[1], where=where, default_port=80, only_v6=True))
        return _each_once(found)

    def number(self, directive: str) -> tuple[int, str] | None:
        """The effective value of a directive, and its file."""
        found = None
        for file, _, words, _ in self.directives():
            if words[0].lower() == directive.lower() and len(words) > 1 and words[1].isdigit():
                found = int(words[1]), file
        return found


def _has_ipv6() -> bool:
    """As Apache determines it. Source: `find_default_family` of its `listen.c`."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::", 0))
    except OSError:
        return False
    return True


def _joined_lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines without comments and blank lines, with continuation lines joined."""
    pending, begun = "", 0
    for number, line in enumerate(text.splitlines(), 1):
        begun = begun if pending else number
        if line.endswith("\\"):
            pending += line[:-1] + " "
            continue
        whole, pending = (pending + line).strip(), ""
        if whole and not whole.startswith("#"):
            yield begun, whole


# --- HAProxy --------------------------------------------------------------------------------------

_SECTIONS = (
    *("global", "defaults", "frontend", "backend", "listen", "peers", "resolvers", "userlist"),
    *("mailers", "program", "cache", "ring", "http-errors", "log-forward"),
)


def haproxy_directives(file: str) -> Iterator[Directive]:
    """The directives of one file; the block is the kind of section."""
    section = ""
    for number, line in enumerate(read_text(file).splitlines(), 1):
        words = re.sub(r"(?<!\\)#.*", "", line).split()
        if not words:
            continue
        if words[0] in _SECTIONS:
            section = words[0]
        yield file, number, words, section


def haproxy_addresses(file: str) -> list[Address]:
    """The addresses that HAProxy's frontends listen on."""
    found: list[Address | None] = []
    for _, line, words, section in haproxy_directives(file):
        if words[0] != "bind" or section not in ("frontend", "listen") or len(words) < 2:
            continue
        only_v6 = "v6only" in words
        for text in words[1].split(","):
            found.append(_haproxy_address(text, where=f"{file}:{line}", only_v6=only_v6))
    return _each_once(found)


def _haproxy_address(text: str, *, where: str, only_v6: bool) -> Address | None:
    kind, _, rest = text.rpartition("@")
    if kind not in ("", "ipv4", "ipv6", "tcp", "tcp4", "tcp6"):
        return None
    host, _, port = rest.rpartition(":")
    host = host.strip("[]")
    if kind.endswith("6") and host in ("", "*"):
        host = "::"
    host = f"[{host}]" if ":" in host else host
    return address_of(f"{host}:{port}", where=where, default_port=0, only_v6=only_v6)


def haproxy_number(file: str, directive: str) -> int | None:
    """The value of a directive of the section ``global``."""
    for _, _, words, section in haproxy_directives(file):
        if section == "global" and words[0] == directive and words[1:2] and words[1].isdigit():
            return int(words[1])
    return None


def _each_once(found: list[Address | None]) -> list[Address]:
    first: dict[tuple[str, int], Address] = {}
    for address in found:
        if address is not None:
            first.setdefault(address.key, address)
    return list(first.values())
