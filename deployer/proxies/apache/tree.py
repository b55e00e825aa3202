"""Apache's configuration as a tree of directives."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from deployer.proxies.inspect import model

_WORD = re.compile(r'"((?:[^"\\]|\\.)*)"|\'((?:[^\'\\]|\\.)*)\'|(\S+)')


@dataclass(frozen=True, slots=True, kw_only=True)
class Directive(model.Directive):
    """One directive, or a section with its children; `name` is in lower case."""

    children: list[Directive] = field(default_factory=list)
    is_section: bool = False


def words_of(text: str) -> tuple[str, ...]:
    """Arguments as Apache splits them: quotes group, and a backslash escapes within quotes."""
    found = []
    for double, single, bare in _WORD.findall(text):
        quoted = double or single
        found.append(re.sub(r"\\([\"'\\])", r"\1", quoted) if quoted else bare)
    return tuple("" if word in ('""', "''") else word for word in found)


class Tree:
    """Builds the tree, line by line."""

    def __init__(self) -> None:
        self.top: list[Directive] = []
        self._open: list[Directive] = []

    def take(self, text: str, *, file: str, line: int) -> None:
        if text.startswith("</"):
            self._open = self._open[:-1]
            return
        is_section = text.startswith("<")
        name, _, rest = text.strip("<").partition(" ")
        if is_section:
            name, rest = name.rstrip(">"), rest.strip().removesuffix(">")
        made = Directive(
            name=name.lower(), words=words_of(rest), file=file, line=line, is_section=is_section
        )
        (self._open[-1].children if self._open else self.top).append(made)
        if is_section:
            self._open.append(made)
