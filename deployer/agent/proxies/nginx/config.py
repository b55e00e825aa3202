"""What nginx's configuration requires of the host, by the output of ``nginx -T``."""

from __future__ import annotations

import re

from deployer.agent.proxies.configs import Address, address_of, each_once

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from deployer.agent.proxies.configs import Directive

#: Comments, quoted words, punctuation, ends of lines, other words.
_PART = re.compile(
    r"""#[^\n]*|"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|[{};]|\n"""
    r"""|(?:\\.|[^\s{};"'#])(?:\\.|[^\s{};])*""",
    re.DOTALL,
)
_FILE = re.compile(r"# configuration file (.+):")


def directives(dump: str) -> Iterator[Directive]:
    """The directives in the output of ``nginx -T``, with the name of the innermost block."""
    file, line = "", 0
    words: list[str] = []
    blocks: list[str] = []
    for part in _PART.findall(dump):
        if part == "\n":
            line += 1
        elif part.startswith("#"):
            header = _FILE.fullmatch(part)
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


def addresses(dump: str) -> list[Address]:
    """The addresses that nginx listens on; a wildcard address covers all others of its port.

    A server without a ``listen`` uses port 80. Source: ngx_http_core_module, "listen".
    """
    found: list[Address | None] = []
    has_listen = False
    for file, line, words, block in directives(dump):
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
    unique = each_once(found)
    all_at = {(each.family, each.port) for each in unique if each.is_any}
    return [each for each in unique if each.is_any or (each.family, each.port) not in all_at]


def numbers(dump: str) -> dict[str, int]:
    """``worker_connections`` and ``worker_rlimit_nofile``, if they are set."""
    wanted = ("worker_connections", "worker_rlimit_nofile")
    return {
        words[0]: int(words[1])
        for _, _, words, _ in directives(dump)
        if words[0] in wanted and len(words) == 2 and words[1].isdigit()
    }
