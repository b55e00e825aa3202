"""Apache's configuration as a tree of directives, each with its file and line.

Read from Apache's own output (DUMP_CONFIG of mod_info), which resolves conditional sections,
variables and includes. Without it, the files are read, and sections that depend on modules apply
according to the loaded modules.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from deployer.agent.proxies.apache.config import joined_lines
from deployer.proxies.inspect import model
from deployer.proxies.inspect.model import ConfigFile, ProxyState

_FILE = re.compile(r"# In file: (.+)")
_LINE = re.compile(r"#\s*(\d+):")
_MODULE = re.compile(r"^ (\w+)_module \((?:static|shared)\)$", re.MULTILINE)
_WORD = re.compile(r'"((?:[^"\\]|\\.)*)"|\'((?:[^\'\\]|\\.)*)\'|(\S+)')
_VARIABLE = re.compile(r"\$\{([\w-]+)\}")
_CONDITIONAL = frozenset({"ifmodule", "ifdefine", "ifversion", "iffile", "ifdirective"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Directive(model.Directive):
    """One directive, or a section with its children; `name` is in lower case."""

    children: list[Directive] = field(default_factory=list)
    is_section: bool = False


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
    read = _read(state.config, modules)
    return ApacheConfig(directives=tuple(read), modules=modules, is_whole=False)


def words_of(text: str) -> tuple[str, ...]:
    """Arguments as Apache splits them: quotes group, and a backslash escapes within quotes."""
    found = []
    for double, single, bare in _WORD.findall(text):
        quoted = double or single
        found.append(re.sub(r"\\([\"'\\])", r"\1", quoted) if quoted else bare)
    return tuple("" if word in ('""', "''") else word for word in found)


class _Tree:
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


def _printed(dump: str) -> list[Directive]:
    """The tree of DUMP_CONFIG: one line each for file, number and directive."""
    tree, file, line = _Tree(), "", 0
    for raw in dump.splitlines():
        text = raw.strip()
        in_file, numbered = _FILE.fullmatch(text), _LINE.fullmatch(text)
        if in_file:
            file = in_file.group(1)
        elif numbered:
            line = int(numbered.group(1))
        elif file and text and not text.startswith("#"):
            tree.take(text, file=file, line=line)
    return tree.top


# --- from the files, without output of Apache -----------------------------------------------------


def _loaded(files: tuple[ConfigFile, ...]) -> frozenset[str]:
    found = re.findall(
        r"^\s*LoadModule\s+(\w+)_module\s",
        "\n".join(each.text for each in files),
        re.MULTILINE | re.IGNORECASE,
    )
    return frozenset(found)


def _read(files: tuple[ConfigFile, ...], modules: frozenset[str]) -> list[Directive]:
    tree, defined = _Tree(), dict[str, str]()
    for each in files:
        conditions: list[bool] = []
        for number, text in joined_lines(each.text):
            name = text.lstrip("</").partition(" ")[0].rstrip(">").lower()
            if name in _CONDITIONAL and text.startswith("</"):
                conditions = conditions[:-1]
            elif name in _CONDITIONAL and text.startswith("<"):
                conditions.append(_applies(name, text, modules, defined))
            elif all(conditions):
                text = _VARIABLE.sub(lambda found: defined.get(found[1], found[0]), text)
                if name == "define" and not text.startswith("<"):
                    words = words_of(text)
                    defined[words[1]] = words[2] if len(words) > 2 else ""
                else:
                    tree.take(text, file=each.path, line=number)
    return tree.top


def _applies(name: str, text: str, modules: frozenset[str], defined: dict[str, str]) -> bool:
    words = words_of(text.strip("<>").partition(" ")[2])
    argument = words[0] if words else ""
    is_negated, argument = argument.startswith("!"), argument.lstrip("!")
    if name == "ifmodule":
        module = re.sub(r"^mod_|\.c$|_module$", "", argument)
        return (module in modules) is not is_negated
    if name == "ifdefine":
        return (argument in defined) is not is_negated
    return True
