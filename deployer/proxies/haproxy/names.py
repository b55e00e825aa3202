"""The names that HAProxy serves.

HAProxy has no servers with names: a frontend tests the Host header, or the name of the TLS
handshake, in conditions and maps. Every name in such a test is one that it serves; what answers all
others is its default.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from deployer.proxies.haproxy.certificate_names import certificate_names
from deployer.proxies.haproxy.config import HaproxyConfig, Section, config_of
from deployer.proxies.haproxy.host_tests import Test, Tests, host_variables
from deployer.proxies.haproxy.path import binds_of
from deployer.proxies.inspect.model import ConfigFile, Directive, ProxyState
from deployer.proxies.inspect.names import (
    ANY_DOMAIN,
    ANY_LABEL,
    MOST_PATHS,
    Loopback,
    ServedName,
    each_once,
    from_glob,
    from_regex,
    is_any_address,
)
from deployer.text.numbers import is_number

#: The most ports of one range that are listed.
_MOST_PORTS = 16


@dataclass(slots=True)
class _Names:
    """The names of one frontend, each with its first place and its WebSocket paths."""

    places: dict[tuple[str, str], Directive] = field(default_factory=dict)
    paths: dict[tuple[str, str], dict[str, None]] = field(default_factory=dict)
    common: dict[str, None] = field(default_factory=dict)
    others: dict[tuple[str, str], list[Directive]] = field(default_factory=dict)
    is_plain: bool = False
    forwards: bool = False

    def add(self, hosts: Iterable[tuple[str, str]], by: Directive) -> None:
        for each in hosts:
            first = self.places.setdefault(each, by)
            named = first.words[:1] == by.words[:1] == ("acl",)
            if named and first.words[1:2] != by.words[1:2]:  # a site of its own, not a second rule
                self.others.setdefault(each, []).append(by)

    def include(self, more: _Names) -> None:
        """The names of a section that this one leads to."""
        for host, by in more.places.items():
            self.places.setdefault(host, by)
            self.add_paths((host,), more.paths_of(host))
        self.is_plain = self.is_plain or more.is_plain

    def add_paths(self, hosts: Iterable[tuple[str, str]], paths: Iterable[str]) -> None:
        """Paths that forward WebSockets for `hosts`; for all if there are none."""
        known = [self.paths.setdefault(each, {}) for each in hosts] or [self.common]
        for path in paths:
            for each in known:
                if len(each) < MOST_PATHS:
                    each.setdefault(path)

    def paths_of(self, host: tuple[str, str]) -> tuple[str, ...]:
        return tuple({**self.paths.get(host, {}), **self.common})[:MOST_PATHS]


def served_names(state: ProxyState) -> tuple[ServedName, ...]:
    """Every name on every address that the configuration serves."""
    config = config_of(state)
    sections = [
        (section, list(_bound(section)))
        for section in config.of_kind("frontend", "listen")
        if "disabled" not in {each.words[0] for each in section.directives}
    ]
    at = Loopback(
        (host, port)
        for _, bound in sections
        for _, host, port, socket in bound
        if not socket and not is_any_address(host)
    )
    reader = _Reader(config)
    found: list[ServedName] = []
    for section, bound in sections:
        found += _of_frontend(reader, section, bound, at)
    return each_once(found)


def with_files(state: ProxyState, config: tuple[ConfigFile, ...]) -> ProxyState:
    """`state` as if its files were these."""
    return replace(state, config=config)


def not_understood(state: ProxyState) -> str:
    """Files without any section that listens."""
    has_sections = any(config_of(state).of_kind("frontend", "listen"))
    return "" if has_sections else ", ".join(each.path for each in state.config)


def _of_frontend(
    reader: _Reader,
    section: Section,
    bound: Sequence[tuple[Directive, str, int, str]],
    at: Loopback,
) -> Iterator[ServedName]:
    names = reader.names(section)
    mode = section.setting("mode")
    is_tcp = mode is None or mode.words[1:2] != ("http",)
    for bind, host, port, socket in bound:
        address = "" if socket else at.of(host, port)
        if not address and not socket:
            continue
        tls = "ssl" in bind.words or (is_tcp and bool(names.places) and not names.is_plain)
        common = ServedName(
            proxy="haproxy",
            name="",
            asked="",
            port=port,
            address=address,
            socket=socket,
            tls=tls,
            websockets=tuple(names.common)[:MOST_PATHS],
            speaks_http=not is_tcp or bool(names.places) or "ssl" in bind.words,
            wants_proxy_line="accept-proxy" in bind.words,
            http2="ssl" in bind.words and _offers_http2(bind),
            file=section.file,
            line=section.line,
        )
        yield replace(common, forwards=names.forwards)
        tested = set()
        for (method, pattern), by in names.places.items():
            name, asked = _name(method, pattern)
            tested.add(name)
            paths = names.paths_of((method, pattern))
            also = tuple(each.where for each in names.others.get((method, pattern), ()))
            place = replace(common, file=by.file, line=by.line, also_at=also)
            yield replace(place, name=name, asked=asked, websockets=paths)
        for name, by in certificate_names(reader.config, bind) if tls else ():
            if name in tested:
                continue
            yield replace(common, name=name, asked=from_glob(name), file=by.file, line=by.line)


def _offers_http2(bind: Directive) -> bool:
    words = bind.words
    at = words.index("alpn") + 1 if "alpn" in words else len(words)
    return "h2" in "".join(words[at : at + 1]).split(",")


# --- addresses ------------------------------------------------------------------------------------


def _bound(section: Section) -> Iterator[tuple[Directive, str, int, str]]:
    """Each address of the ``bind`` lines: line, host, port, unix socket."""
    for directive, address in binds_of(section):
        kind, _, rest = address.rpartition("@")
        if kind.startswith(("abns", "fd", "quic", "rhttp", "udp", "sockpair")):
            continue
        if rest.startswith("/") or kind == "unix":
            yield directive, "", 0, rest
            continue
        host, _, ports = rest.rpartition(":")
        if kind.endswith("6") and host in ("", "*"):
            host = "::"
        low, _, high = ports.partition("-")
        if is_number(low):
            last = int(high) if is_number(high) else int(low)
            for port in range(int(low), min(last, int(low) + _MOST_PORTS - 1) + 1):
                yield directive, host, port, ""
                if host.strip("[]") == "::" and "v4v6" in directive.words:
                    yield directive, "*", port, ""


# --- names ----------------------------------------------------------------------------------------


class _Reader:
    """Collects the names of a frontend, also from the sections that it leads to."""

    def __init__(self, config: HaproxyConfig) -> None:
        self.config = config
        self._variables = frozenset(host_variables(config))
        self._tunnels = {
            each.name
            for each in config.of_kind("backend", "listen")
            if each.setting("timeout", "tunnel") is not None
        }
        self._backends = {each.name: each for each in config.of_kind("backend", "listen")}
        self._behind = dict(self._hidden())

    def _hidden(self) -> Iterator[tuple[str, tuple[Section, bool]]]:
        """The frontends that only this HAProxy reaches, by address, and whether they speak TLS."""
        for section in self.config.of_kind("frontend", "listen"):
            for bind, address in binds_of(section):
                if address.startswith("abns@"):
                    yield address, (section, "ssl" in bind.words)

    def names(self, section: Section, seen: frozenset[str] = frozenset()) -> _Names:
        """The names that a section and those after it test."""
        found = _Names()
        for by, tests in Tests(self.config, section, self._variables).rules():
            found.add((host for test in tests for host in test.hosts), by)
            if by.words[0] == "use_backend":
                self._add_paths(found, by, [each for each in tests if not each.is_negated])
                is_for_names = any(test.hosts for test in tests)
                found.forwards |= not is_for_names and self._has_servers(*by.words[1:2])
        usual = section.setting("default_backend")
        target = usual.words[1] if usual is not None and usual.words[1:] else ""
        found.forwards |= self._has_servers(target) or section.kind == "listen"
        if target in self._tunnels or (section.kind == "listen" and section.name in self._tunnels):
            found.add_paths((), ("/",))
        for backend in self._backends_of(section, target):
            if backend.name not in seen:
                self._add_backend(found, backend, seen | {backend.name})
        return found

    def _has_servers(self, name: str = "") -> bool:
        backend = self._backends.get(name)
        return "%[" in name or (backend is not None and any(backend.own("server")))

    def _backends_of(self, section: Section, usual: str) -> Iterator[Section]:
        chosen = [each.words[1] for each in section.own("use_backend") if each.words[1:]]
        if section.kind != "frontend":
            yield section
        for name in dict.fromkeys((*chosen, usual)):
            if name in self._backends:
                yield self._backends[name]

    def _add_backend(self, found: _Names, backend: Section, seen: frozenset[str]) -> None:
        """The names that a backend tests, or the frontend behind it."""
        if backend.kind == "backend":
            found.include(self.names(backend, seen))
        for server in backend.own("server"):
            address = "".join(server.words[2:3])
            inner, has_tls = self._behind.get(address, (None, False))
            if inner is not None and f"frontend {inner.name}" not in seen:
                found.include(self.names(inner, seen | {f"frontend {inner.name}"}))
                found.is_plain = not has_tls

    def _add_paths(self, names: _Names, by: Directive, tests: Sequence[Test]) -> None:
        """The paths of a rule whose backend, or whose condition, is for WebSockets."""
        wants_upgrade = any(test.wants_upgrade for test in tests)
        if not wants_upgrade and not set(by.words[1:2]) & self._tunnels:
            return
        paths = [path for test in tests for path in test.paths]
        names.add_paths((host for test in tests for host in test.hosts), paths or ("/",))


def _name(method: str, pattern: str) -> tuple[str, str | None]:
    """A tested name as it is shown, and one to request."""
    if "$" in pattern and method != "reg":
        return pattern, None  # a variable of the environment that is not known
    text = pattern.lower() if method == "beg" else pattern.lower().rstrip(".")
    if method == "reg":
        return f"~{pattern}", from_regex(pattern)
    bare = re.sub(r":\d+$", "", text) if text.count(":") == 1 else text
    if method == "beg":
        return f"{bare}*", f"{bare.rstrip('.')}.{ANY_DOMAIN}"
    if method == "end" and not bare.startswith("."):
        return f"*{bare}", bare
    if method == "end":
        return f"*{bare}", f"{ANY_LABEL}{bare}"
    return bare, bare
