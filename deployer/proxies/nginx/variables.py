"""Evaluate nginx's variables, maps and times for one request.

Source: nginx, ngx_http_map_module, ngx_http_core_module "Embedded Variables", "Measurement units".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from deployer.proxies.nginx.config import Directive

_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
_TIME = re.compile(r"(\d+)(ms|s|m|h|d|w|M|y)?")
_SECONDS = {
    "ms": 0.001,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
    "d": 86400.0,
    "w": 604800.0,
    "M": 2592000.0,
    "y": 31536000.0,
}
_DEEPEST = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Values:
    """The values of variables: those of the request, and those from maps and ``set``."""

    given: Mapping[str, str]
    maps: Mapping[str, tuple[Directive, ...]] = field(default_factory=dict)
    sets: Mapping[str, str] = field(default_factory=dict)

    def of(self, text: str, *, depth: int = 0) -> str | None:
        """`text` with its variables replaced; `None` if one is unknown here."""
        parts, end = [], 0
        for found in _VARIABLE.finditer(text):
            value = self._variable(found.group(1) or found.group(2), depth)
            if value is None:
                return None
            parts += [text[end : found.start()], value]
            end = found.end()
        return "".join([*parts, text[end:]])

    def _variable(self, name: str, depth: int) -> str | None:
        if depth > _DEEPEST:
            return None
        if name in self.sets:
            return self.of(self.sets[name], depth=depth + 1)
        if name in self.maps:
            return self.mapped(self.maps[name][-1], depth=depth + 1)  # the last one wins
        return self.given.get(name)

    def mapped(self, block: Directive, *, depth: int = 0) -> str | None:
        """The value of a ``map`` block for this request."""
        source = self.of(block.words[0], depth=depth)
        if source is None:
            return None
        value, groups = _entry(block, source)
        if value is None:
            return ""
        inside = replace(self, given={**self.given, **groups}) if groups else self
        return inside.of(value, depth=depth)


def _entry(block: Directive, source: str) -> tuple[str | None, dict[str, str]]:
    """Exact words first, then patterns in their order, then the default; and what ``$1`` is."""
    words = {each.name: each.words[0] for each in block.block or () if each.words}
    for word, value in words.items():
        bare = word.removeprefix("\\")
        if bare.lower() == source.lower() and word not in _PARAMETERS:
            return value, {}
    for word, value in words.items():
        found = _match(word, source) if word.startswith("~") else None
        if found is not None:
            numbered = {str(n): each or "" for n, each in enumerate(found.groups(), 1)}
            return value, {**numbered, **{n: each or "" for n, each in found.groupdict().items()}}
    return words.get("default"), {}


_PARAMETERS = frozenset({"default", "hostnames", "include", "volatile"})


def _match(word: str, source: str) -> re.Match[str] | None:
    flags = re.IGNORECASE if word.startswith("~*") else 0
    try:
        pattern = re.sub(r"\(\?<(?=[A-Za-z_])", "(?P<", word.lstrip("~").removeprefix("*"))
        return re.search(pattern, source, flags)
    except re.error:
        return None


def seconds_of(text: str) -> float | None:
    """``1h 30m`` or ``60`` in seconds; `None` if it is not a time."""
    total = 0.0
    for word in text.split():
        rest = word
        while rest:
            found = _TIME.match(rest)
            if found is None:
                return None
            total += int(found.group(1)) * _SECONDS[found.group(2) or "s"]
            rest = rest[found.end() :]
    return total


def maps_of(http: Directive) -> dict[str, tuple[Directive, ...]]:
    """The ``map`` blocks by the variable they define, without its ``$``, in order."""
    found: dict[str, list[Directive]] = {}
    for block in http.all("map"):
        if len(block.words) == 2:
            found.setdefault(block.words[1].lstrip("$"), []).append(block)
    return {name: tuple(blocks) for name, blocks in found.items()}
