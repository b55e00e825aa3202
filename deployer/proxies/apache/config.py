"""Apache's configuration as a tree of directives, each with its file and line.

Read from Apache's own output (DUMP_CONFIG of mod_info), which resolves conditional sections,
variables and includes. Without it, the files are read, and sections that depend on modules apply
according to the loaded modules.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from deployer.proxies.apache.files import read
from deployer.proxies.apache.tree import Directive, Tree
from deployer.proxies.inspect.model import ConfigFile, ProxyState

_FILE = re.compile(r"# In file: (.+)")
_USED = re.compile(r"^macro .* used on line (\d+) of \"(.+)\"$")
_LINE = re.compile(r"#\s*(\d+):")
_MODULE = re.compile(r"^ (\w+)_module \((?:static|shared)\)$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApacheConfig:
    """The directives and sections at the top level, and the names of the modules."""

    directives: tuple[Directive, ...]
    modules: frozenset[str]
    is_whole: bool

    def sections(self, name: str) -> Iterator[Directive]:
        """The outermost sections of one kind, in order."""
        return (each for each in self.directives if each.is_section and each.name == name)

    def setting(self, name: str, *levels: Directive | None) -> Directive | None:
        """The directive that applies: of the last of `levels` that has one, else of the server."""
        for level in reversed(levels):
            found = last_of(name, level.children) if level is not None else None
            if found is not None:
                return found
        return last_of(name, self.directives)

    def all_of(self, name: str, *levels: Directive | None) -> Iterator[Directive]:
        """Every directive of that name: the server's, and then those of each of `levels`."""
        for group in (self.directives, *(level.children for level in levels if level)):
            yield from (each for each in group if each.name == name and not each.is_section)


def last_of(name: str, directives: tuple[Directive, ...] | list[Directive]) -> Directive | None:
    """The last directive of that name, which is the one that applies."""
    found = None
    for each in directives:
        if each.name == name and not each.is_section:
            found = each
    return found


def config_of(state: ProxyState) -> ApacheConfig:
    """Apache's configuration, from its own output if there is any."""
    modules = frozenset(_MODULE.findall(state.dump))
    printed = _printed(state.dump)
    if printed:
        return ApacheConfig(directives=tuple(printed), modules=modules, is_whole=True)
    modules = modules or _loaded(state.config)
    directives = tuple(read(state.config, modules))
    return ApacheConfig(directives=directives, modules=modules, is_whole=False)


def _used_at(file: str) -> tuple[str, int]:
    """A file, and where a macro is used in it if the directives are those of the macro."""
    used = _USED.search(file)
    return (used[2], int(used[1])) if used else (file, 0)


def _printed(dump: str) -> list[Directive]:
    """The tree of DUMP_CONFIG: one line each for file, number and directive."""
    tree, file, line, fixed = Tree(), "", 0, 0
    for raw in dump.splitlines():
        text = raw.strip()
        in_file, numbered = _FILE.fullmatch(text), _LINE.fullmatch(text)
        if in_file:
            file, fixed = _used_at(in_file.group(1))
        elif numbered:
            line = fixed or int(numbered.group(1))
        elif file and text and not text.startswith("#"):
            tree.take(text, file=file, line=line)
    return tree.top


def _loaded(files: tuple[ConfigFile, ...]) -> frozenset[str]:
    found = re.findall(
        r"^\s*LoadModule\s+(\w+)_module\s",
        "\n".join(each.text for each in files),
        re.MULTILINE | re.IGNORECASE,
    )
    return frozenset(found)
