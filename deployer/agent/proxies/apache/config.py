"""What Apache's configuration requires of the host."""

from __future__ import annotations

import os
import re
import socket

from deployer.agent.files import read_text
from deployer.agent.proxies.configs import Address, address_of, each_once

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from deployer.agent.proxies.configs import Directive


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
        for number, text in joined_lines(read_text(file)):
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
        return each_once(found)

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


def joined_lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines without comments and blank lines; a trailing backslash joins the next line."""
    pending, begun = "", 0
    for number, line in enumerate(text.splitlines(), 1):
        begun = begun if pending else number
        if line.endswith("\\"):
            pending += line[:-1] + " "
            continue
        whole, pending = (pending + line).strip(), ""
        if whole and not whole.startswith("#"):
            yield begun, whole
