"""The names that a host's proxies serve, regardless of who set them up: values, and shared parts.

Each proxy has a module `names` that lists them from its configuration (`NameReader`). An entry is
one name on one address; a default server, which answers every other name, has an empty name.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import ClassVar, Protocol

from deployer.model import Proxy
from deployer.proxies.inspect.model import ConfigFile, ProxyState
from deployer.text.numbers import is_number

#: A label for patterns such as ``*.example.com``, which no one has as a site of its own.
ANY_LABEL = "any-name"
#: A domain for patterns such as ``www.*`` (RFC 2606).
ANY_DOMAIN = "example.test"
#: The most WebSocket paths of one name that are tried.
MOST_PATHS = 8
_WILD = frozenset({"", "*", "0.0.0.0", "_default_"})  # noqa: S104 - compared, not listened on
_LOOPBACKS = tuple(f"127.0.0.{number}" for number in range(1, 10))


@dataclass(frozen=True, slots=True, kw_only=True)
class Answering:
    """What answers on one address of the host.

    Attributes:
        name: as configured, in lower case: may be a pattern; empty for the default server.
        asked: a name to request that matches; empty to request the bare address, `None` if no
            matching name could be derived.
        address: where to connect on the host; empty for the unix socket `socket`.
        of_site: the names of the server that answers, for a default server or a wildcard's site.
        websockets: the paths that forward WebSockets.
        speaks_http: otherwise it only accepts connections.
        forwards: a default server passes some requests on, whatever its first page is.
        file, line: where it is configured.
    """

    name: str
    asked: str | None
    port: int
    address: str = ""
    socket: str = ""
    tls: bool = False
    of_site: tuple[str, ...] = ()
    websockets: tuple[str, ...] = ()
    speaks_http: bool = True
    wants_proxy_line: bool = False
    forwards: bool = False
    file: str = ""
    line: int = 0

    @property
    def is_default(self) -> bool:
        """Whether this is what answers requests for no known name."""
        return not self.name

    @property
    def host(self) -> str:
        """Its host in a URL."""
        return self.asked or self.name or self.address or f"unix:{self.socket}"

    @property
    def details(self) -> str:
        """What its URL does not show."""
        return "any other name" if self.is_default and self.speaks_http else ""

    @property
    def where(self) -> str:
        """``/etc/nginx/sites-enabled/intern.conf:3``."""
        return f"{self.file}:{self.line}" if self.line else self.file

    @property
    def url(self) -> str:
        """``https://intern.example.com:8443``, ``http://127.0.0.1``, ``tcp://127.0.0.1:5432``."""
        scheme = ("https" if self.tls else "http") if self.speaks_http else "tcp"
        usual = {"https": 443, "http": 80}.get(scheme)
        host = f"[{self.host}]" if self.host.count(":") > 1 else self.host
        return f"{scheme}://{host}" + (f":{self.port}" if self.port not in (0, usual) else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedName(Answering):
    """One name that a proxy serves on one address.

    Attributes:
        http2: clients of the address are offered HTTP/2.
        also_at: other places that configure the same name and address, to no effect.
    """

    proxy: Proxy
    http2: bool = False
    also_at: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherServer(Answering):
    """A web server whose names are not known, on one address; `name` is that of its process."""

    pid: int
    unit: str = ""

    @property
    def host(self) -> str:
        """Its address: its names are not known."""
        return self.address

    @property
    def details(self) -> str:
        """``caddy, process 812 of caddy.service``."""
        of_unit = f" of {self.unit}.service" if self.unit else ""
        return f"{self.name}, process {self.pid}{of_unit}"


def belongs_to(served: Answering, names: Collection[str]) -> bool:
    """Whether a name is one of `names`, or its server has one of them.

    A server with a wildcard in `names` may have a name of its own that it covers.
    """
    if served.name in names or (served.asked or "").lower() in names:
        return True
    shared = [name for name in served.of_site if name in names]
    if served.is_default:
        return bool(shared)
    return any(name.startswith("*.") and fnmatchcase(served.name, name) for name in shared)


class NameReader(Protocol):
    """The interface of the module `names` of each proxy."""

    def served_names(self, state: ProxyState) -> tuple[ServedName, ...]:
        """Every name on every address that the configuration serves; each once."""

    def with_files(self, state: ProxyState, config: tuple[ConfigFile, ...]) -> ProxyState:
        """`state` as if its files were these."""

    def not_understood(self, state: ProxyState) -> str:
        """Which part of the configuration could not be read, so that names in it are missing."""


def served_names(states: Iterable[ProxyState]) -> tuple[ServedName, ...]:
    """Every name that these proxies serve."""
    from deployer.proxies import PROXIES

    found: list[ServedName] = []
    for state in states:
        found += PROXIES[state.proxy].names.served_names(state)
    return tuple(found)


def each_once(names: Iterable[ServedName]) -> tuple[ServedName, ...]:
    """The first of several entries for one name and address: it is the one that answers."""
    found: dict[tuple[str, str, str, int], ServedName] = {}
    for each in names:
        key = (each.name, each.address, each.socket, each.port)
        first = found.setdefault(key, each)
        if each.where != first.where and each.where not in first.also_at:
            found[key] = replace(first, also_at=(*first.also_at, each.where))
    return tuple(found.values())


# --- addresses ------------------------------------------------------------------------------------


def is_any_address(host: str) -> bool:
    """Whether a proxy that listens on `host` listens on all IPv4 or IPv6 addresses."""
    return host in _WILD or host.strip("[]") == "::"


class Loopback:
    """Addresses of the host at which a proxy that listens on all addresses can be reached.

    A proxy chooses the server by address before it looks at names: ``127.0.0.1`` reaches the
    servers for all addresses only if none is configured for ``127.0.0.1`` itself, as status pages
    often are. Linux accepts connections to each address of 127.0.0.0/8.
    """

    def __init__(self, explicit: Iterable[tuple[str, int]]) -> None:
        self._taken = {(host.strip("[]"), port) for host, port in explicit}

    def of(self, host: str, port: int) -> str:
        """The address that reaches what listens on `host`; empty if none does."""
        if not is_any_address(host):
            bare = host.strip("[]")
            return "127.0.0.1" if bare == "localhost" else bare
        if host.strip("[]") == "::":
            return "" if ("::1", port) in self._taken else "::1"
        free = (each for each in _LOOPBACKS if (each, port) not in self._taken)
        return next(free, "")


def listened(state: ProxyState) -> dict[int, set[str]]:
    """By port, the addresses on which the proxy's processes listen."""
    found: dict[int, set[str]] = {}
    for each in state.listeners:
        host, _, port = each.rpartition(":")
        if is_number(port):
            found.setdefault(int(port), set()).add(host.strip("[]"))
    return found


# --- names that match a pattern -------------------------------------------------------------------


def from_glob(pattern: str) -> str:
    """A name that matches a pattern with ``*`` and ``?``."""
    if pattern.startswith("*."):
        pattern = ANY_LABEL + pattern[1:]
    if pattern.endswith(".*"):
        pattern = pattern[:-1] + "test"
    return pattern.replace("*", ANY_LABEL).replace("?", "x")


def from_regex(pattern: str, *, text_before: str = "") -> str | None:
    """A text that matches a regular expression; `None` if none could be derived.

    `text_before` begins each text, as the slash of a path does.
    """
    pattern = re.sub(r"\(\?<(?=[A-Za-z_])", "(?P<", pattern)
    sample = _Sample(pattern, is_shortest=bool(text_before))
    made = text_before + "".join(sample.alternative()).removeprefix(text_before)
    try:
        return made if made and re.search(pattern, made, re.IGNORECASE) else None
    except re.error:
        return None


class _Sample:
    """Derives a matching text from a regular expression: its first alternative, each part once.

    With `is_shortest`, parts that may be missing are left out.
    """

    _CLASSES: ClassVar[dict[str, str]] = {"d": "1", "w": "x", "s": " ", **dict.fromkeys("bBAZ", "")}
    _DEEPEST = 50

    def __init__(self, pattern: str, *, is_shortest: bool = False) -> None:
        self._pattern = pattern
        self._is_shortest = is_shortest
        self._at = 0
        self._depth = 0

    def alternative(self) -> Iterator[str]:
        """The text of the alternative at the current position; ends after the group."""
        is_chosen = True
        while self._at < len(self._pattern):
            sign = self._next()
            if sign == ")":
                return
            if sign == "|":
                is_chosen = False
                continue
            part = self._part(sign)
            is_needed = not (self._skip_quantifier().startswith(("*", "?")) and self._is_shortest)
            if is_chosen and is_needed:
                yield part

    def _next(self) -> str:
        self._at += 1
        return self._pattern[self._at - 1]

    def _rest(self) -> str:
        return self._pattern[self._at :]

    def _part(self, sign: str) -> str:
        if sign in "^$":
            return ""
        if sign == ".":
            return "x"
        if sign == "\\" and self._rest():
            escaped = self._next()
            return self._CLASSES.get(escaped, escaped)
        if sign == "[":
            return self._class()
        if sign == "(":
            return self._group()
        return sign

    def _class(self) -> str:
        end = self._pattern.find("]", self._at + 1)
        body, self._at = self._pattern[self._at : end], end + 1 if end >= 0 else len(self._pattern)
        if body.startswith("^"):
            return next((sign for sign in "x1-_" if sign not in body), "x")
        if body.startswith("\\") and len(body) > 1:
            return self._CLASSES.get(body[1], body[1])
        return body[:1]

    def _group(self) -> str:
        opening = re.match(r"\?(?:P?<\w+>|[:>]|[a-zA-Z]*:)", self._rest())
        if opening is not None:
            self._at += opening.end()
        is_looking = opening is None and self._rest().startswith("?")
        self._depth += 1
        text = "" if self._depth > self._DEEPEST else "".join(self.alternative())
        self._depth -= 1
        return "" if is_looking else text

    def _skip_quantifier(self) -> str:
        found = re.match(r"(?:[*+?]|\{\d*,?\d*\})[?+]?", self._rest())
        if found is None:
            return ""
        self._at += found.end()
        return found[0]
