"""HAProxy's configuration: sections of directives with their defaults.

A ``defaults`` section applies to the sections after it, up to the next one; a section with
``from NAME`` uses that one. Source: HAProxy's configuration manual, 2.2 "Quoting and escaping", 4.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from deployer.proxies.inspect.model import ConfigFile, Directive, ProxyState
from deployer.text.numbers import is_number

_SECTIONS = frozenset(
    (
        *("global", "defaults", "frontend", "backend", "listen", "peers", "resolvers", "userlist"),
        *("mailers", "program", "cache", "ring", "http-errors", "log-forward", "fcgi-app"),
        *("traces", "crt-store", "log-profile", "acme"),
    )
)
_SETS = frozenset({"setenv", "presetenv"})
_VARIABLE = re.compile(r"\$(?:(\w+)|\{(\w+)(?:-([^}]*))?(?:\[\*\])?\})")
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
_ESCAPED = " #\\\"'"
_UNITS = {"us": 1e-6, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A section, and the defaults for what it does not set."""

    kind: str
    name: str
    file: str
    line: int
    defaults: Section | None = None
    directives: list[Directive] = field(default_factory=list)
    _by_start: dict[tuple[str, ...], list[Directive]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def add(self, directive: Directive) -> None:
        """Append a line. Its first words lead to it: rules by the thousand name their ACLs."""
        self.directives.append(directive)
        for count in (1, 2):
            if len(directive.words) >= count:
                self._by_start.setdefault(directive.words[:count], []).append(directive)

    @property
    def where(self) -> str:
        """Its first line."""
        return f"{self.file}:{self.line}"

    def own(self, *words: str) -> Iterator[Directive]:
        """Its own lines that start with `words`, of which there are one or two."""
        return iter(self._by_start.get(words, ()))

    def setting(self, *words: str) -> Directive | None:
        """The line that applies for `words`: its own last one, else that of its defaults."""
        found = None
        for each in self.own(*words):
            found = each
        if found is None and self.defaults is not None:
            return self.defaults.setting(*words)
        return found

    def has_option(self, name: str) -> Directive | None:
        """The line that sets ``option NAME``, if it is on."""
        found = None
        for each in self.directives:
            if each.words[:2] == ("option", name):
                found = each
            elif each.words[:3] == ("no", "option", name):
                return None
        if found is None and self.defaults is not None:
            return self.defaults.has_option(name)
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class HaproxyConfig:
    """All sections in order, and the files with maps and lists of patterns."""

    sections: tuple[Section, ...]
    files: dict[str, str]

    def of_kind(self, *kinds: str) -> Iterator[Section]:
        """The sections of these kinds."""
        return (each for each in self.sections if each.kind in kinds)

    def backend(self, name: str) -> Section | None:
        """The backend or listen section of that name."""
        found = (each for each in self.of_kind("backend", "listen") if each.name == name)
        return next(found, None)

    def setting(self, name: str) -> Directive | None:
        """A directive of the section ``global``."""
        found = None
        for section in self.of_kind("global"):
            found = next(section.own(name), found)
        return found


def config_of(state: ProxyState) -> HaproxyConfig:
    """HAProxy's files as sections; other files are kept for maps and pattern lists."""
    return _read(state.config)


@lru_cache(maxsize=4)
def _read(files: tuple[ConfigFile, ...]) -> HaproxyConfig:
    """The same for each request to one proxy, so the files are read once."""
    configs = [each for each in files if _is_configuration(each)]
    others = [each for each in files if not _is_configuration(each)]
    return HaproxyConfig(
        sections=tuple(_sections(configs)), files={each.path: each.text for each in others}
    )


def _is_configuration(file: ConfigFile) -> bool:
    for line in file.text.splitlines():
        words = words_of(line)
        if words:
            return words[0] in _SECTIONS or words[0].startswith(".")
    return False


def _sections(files: list[ConfigFile]) -> list[Section]:
    found: list[Section] = []
    usual: Section | None = None
    by_name: dict[str, Section] = {}
    environment: dict[str, str] = {}
    for file in files:
        for number, line in enumerate(file.text.splitlines(), 1):
            words = words_of(_expanded(line, environment))
            if not words or words[0].startswith("."):
                continue
            if words[0] not in _SECTIONS:
                if words[0] in _SETS and len(words) > 2:
                    environment[words[1]] = words[2]
                if found:
                    made = Directive(words=words, file=file.path, line=number)
                    found[-1].add(made)
                continue
            kind, name = words[0], words[1] if len(words) > 1 and words[1] != "from" else ""
            source = by_name.get(words[words.index("from") + 1]) if "from" in words[:-1] else None
            inherits = source if kind == "defaults" else source or usual
            if kind in ("global", "peers", "resolvers", "userlist"):
                inherits = None
            section = Section(kind=kind, name=name, file=file.path, line=number, defaults=inherits)
            found.append(section)
            if kind == "defaults":
                usual = section
                by_name[name] = section
    return found


def _expanded(line: str, environment: Mapping[str, str]) -> str:
    """`line` with the values of variables of the environment; HAProxy reads "$NAME" in quotes."""
    if not environment or "$" not in line:
        return line

    def value(found: re.Match[str]) -> str:
        return environment.get(found[1] or found[2], found[3] or found[0])

    return _QUOTED.sub(lambda part: _VARIABLE.sub(value, part[0]), line)


def words_of(line: str) -> tuple[str, ...]:
    """A line's words: quotes group, a backslash escapes, ``#`` starts a comment."""
    if not any(sign in line for sign in "\\\"'#"):
        return tuple(line.split())
    words: list[str] = []
    word, quote, is_open, position = "", "", False, 0
    while position < len(line):
        sign = line[position]
        if sign == "\\" and quote != "'" and position + 1 < len(line):
            position += 1
            escaped = line[position]
            kept = "" if escaped in _ESCAPED else sign  # part of a pattern, as in \\1 and \\.
            word, is_open = word + kept + escaped, True
        elif quote:
            quote = "" if sign == quote else quote
            word += sign if quote else ""
        elif sign in "\"'":
            quote, is_open = sign, True
        elif sign == "#":
            break
        elif sign.isspace():
            if is_open:
                words.append(word)
            word, is_open = "", False
        else:
            word, is_open = word + sign, True
        position += 1
    if is_open:
        words.append(word)
    return tuple(words)


def seconds(text: str, *, unit: str = "ms") -> float | None:
    """An HAProxy time: milliseconds unless it has a unit."""
    number = text.rstrip("abcdefghijklmnopqrstuvwxyz")
    suffix = text[len(number) :] or unit
    return float(number) * _UNITS[suffix] if is_number(number) and suffix in _UNITS else None
