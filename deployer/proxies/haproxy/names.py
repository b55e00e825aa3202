"""The names that HAProxy serves.

HAProxy has no servers with names: a frontend tests the Host header, or the name of the TLS
handshake, in conditions and maps. Every name in such a test is one that it serves; what answers all
others is its default.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from deployer.proxies.haproxy.config import HaproxyConfig, Section, config_of
from deployer.proxies.haproxy.path import binds_of, split
from deployer.proxies.haproxy.samples import split_calls
from deployer.proxies.inspect.model import ConfigFile, Directive, ProxyState
from deployer.proxies.inspect.names import (
    ANY_DOMAIN,
    ANY_LABEL,
    MOST_PATHS,
    Loopback,
    ServedName,
    each_once,
    from_regex,
    is_any_address,
)

_HOST_CALL = re.compile(
    r"(?:req\.|capture\.req\.)?f?hdr(?:_(\w+))?\(\s*host\s*(?:,[^)]*)?\)", re.IGNORECASE
)
_SNI_CALL = re.compile(r"(?:req[._])?ssl(?:_fc)?_sni(?:_(\w+))?")
_BASE_CALL = re.compile(r"base(?:_(\w+))?")
_VARIABLE = re.compile(r"(?:req\.|txn\.)?var\(([\w.]+)\)")
_PATH_CALL = re.compile(r"(?:path|pathq|url)(?:_(\w+))?")
_MAP = re.compile(r"\bmap(?:_(\w+))?\((/[^,)\s]+)")
_FLAGS_WITH_VALUE = frozenset({"-m", "-f", "-M", "-u"})
_METHODS = frozenset({"beg", "end", "sub", "dir", "dom", "reg", "str", "len", "found"})
#: The most ports of one range that are listed.
_MOST_PORTS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class _Test:
    """What one test is about: host names, or paths."""

    hosts: tuple[tuple[str, str], ...] = ()  # the method and the pattern
    paths: tuple[str, ...] = ()
    wants_upgrade: bool = False


@dataclass(slots=True)
class _Names:
    """The names of one frontend, each with its first place and its WebSocket paths."""

    places: dict[tuple[str, str], Directive] = field(default_factory=dict)
    paths: dict[tuple[str, str], dict[str, None]] = field(default_factory=dict)
    common: dict[str, None] = field(default_factory=dict)
    others: dict[tuple[str, str], list[Directive]] = field(default_factory=dict)

    def add(self, hosts: Iterable[tuple[str, str]], by: Directive) -> None:
        for each in hosts:
            first = self.places.setdefault(each, by)
            named = first.words[:1] == by.words[:1] == ("acl",)
            if named and first.words[1:2] != by.words[1:2]:  # a site of its own, not a second rule
                self.others.setdefault(each, []).append(by)

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
    tunnels = {each.name for each in config.of_kind("backend") if _has_tunnel(each)}
    found: list[ServedName] = []
    for section, bound in sections:
        found += _of_frontend(config, section, bound, at, tunnels)
    return each_once(found)


def with_files(state: ProxyState, config: tuple[ConfigFile, ...]) -> ProxyState:
    """`state` as if its files were these."""
    return replace(state, config=config)


def not_understood(state: ProxyState) -> str:
    """Files without any section that listens."""
    has_sections = any(config_of(state).of_kind("frontend", "listen"))
    return "" if has_sections else ", ".join(each.path for each in state.config)


def _of_frontend(
    config: HaproxyConfig,
    section: Section,
    bound: Sequence[tuple[Directive, str, int, str]],
    at: Loopback,
    tunnels: set[str],
) -> Iterator[ServedName]:
    names = _names(config, section, tunnels)
    mode = section.setting("mode")
    is_tcp = mode is None or mode.words[1:2] != ("http",)
    for bind, host, port, socket in bound:
        address = "" if socket else at.of(host, port)
        if not address and not socket:
            continue
        tls = "ssl" in bind.words or (is_tcp and bool(names.places))
        common = ServedName(
            proxy="haproxy",
            name="",
            asked="",
            port=port,
            address=address,
            socket=socket,
            tls=tls,
            websockets=tuple(names.common)[:MOST_PATHS],
            speaks_http=not is_tcp or tls,
            wants_proxy_line="accept-proxy" in bind.words,
            http2="ssl" in bind.words and _offers_http2(bind),
            file=section.file,
            line=section.line,
        )
        yield common
        for (method, pattern), by in names.places.items():
            name, asked = _name(method, pattern)
            paths = names.paths_of((method, pattern))
            also = tuple(each.where for each in names.others.get((method, pattern), ()))
            place = replace(common, file=by.file, line=by.line, also_at=also)
            yield replace(place, name=name, asked=asked, websockets=paths)


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
        if low.isdigit():
            last = int(high) if high.isdigit() else int(low)
            for port in range(int(low), min(last, int(low) + _MOST_PORTS - 1) + 1):
                yield directive, host, port, ""
                if host.strip("[]") == "::" and "v4v6" in directive.words:
                    yield directive, "*", port, ""


# --- names ----------------------------------------------------------------------------------------


def _names(config: HaproxyConfig, section: Section, tunnels: set[str]) -> _Names:
    reader = _Tests(config, section)
    found = _Names()
    levels = [section.defaults, section] if section.defaults is not None else [section]
    for level in levels:
        for each in level.directives:
            word = each.words[0]
            if word == "acl" and len(each.words) > 2:
                found.add(reader.of_words(each.words[2:]).hosts, each)
            elif word in ("use_backend", "http-request", "redirect", "tcp-request", "block"):
                found.add(reader.of_maps(each), each)
                condition = split(each.words)[2]
                tests = list(reader.of_condition(condition))
                found.add((host for test in tests for host in test.hosts), each)
                if word == "use_backend":
                    _add_paths(found, each, tests, tunnels)
    usual = section.setting("default_backend")
    if usual is not None and set(usual.words[1:2]) & tunnels:
        found.add_paths((), ("/",))
    return found


def _add_paths(names: _Names, by: Directive, tests: Sequence[_Test], tunnels: set[str]) -> None:
    """The paths of a rule whose backend, or whose condition, is for WebSockets."""
    wants_upgrade = any(test.wants_upgrade for test in tests)
    if not wants_upgrade and not set(by.words[1:2]) & tunnels:
        return
    paths = [path for test in tests for path in test.paths]
    names.add_paths((host for test in tests for host in test.hosts), paths or ("/",))


def _has_tunnel(backend: Section) -> bool:
    return any(True for _ in backend.own("timeout", "tunnel"))


class _Tests:
    """Reads tests in conditions and ACLs of one section."""

    def __init__(self, config: HaproxyConfig, section: Section) -> None:
        self._config = config
        self._acls: dict[str, list[Directive]] = {}
        levels = [section.defaults] if section.defaults is not None else []
        for level in (*levels, section):
            for each in level.own("acl"):
                if len(each.words) > 2:
                    self._acls.setdefault(each.words[1], []).append(each)
        self._variables = set(self._host_variables((*levels, section)))
        self._named: dict[str, tuple[_Test, ...]] = {}

    def _host_variables(self, levels: Sequence[Section]) -> Iterator[str]:
        """The variables that hold the name in the request."""
        for level in levels:
            for each in level.own("http-request"):
                found = re.match(r"set-var\(([\w.]+)", each.words[1] if each.words[1:] else "")
                if found and any(_HOST_CALL.search(word) for word in each.words[2:]):
                    yield found[1]

    def of_condition(self, condition: Sequence[str]) -> Iterator[_Test]:
        """The tests in ``if …`` or ``unless …``; a negated one selects nothing."""
        words = list(condition[1:])
        while words:
            word = words.pop(0)
            is_negated, word = word.startswith("!"), word.removeprefix("!")
            if word == "{":
                end = words.index("}") if "}" in words else len(words)
                if not is_negated and end:
                    yield self.of_words(words[:end])
                words = words[end + 1 :]
            elif not is_negated:
                yield from self._of_acl(word)

    def _of_acl(self, name: str) -> tuple[_Test, ...]:
        if name not in self._named:
            lines = self._acls.get(name, ())
            self._named[name] = tuple(self.of_words(each.words[2:]) for each in lines)
        return self._named[name]

    def of_maps(self, by: Directive) -> Iterator[tuple[str, str]]:
        """The keys of maps that a line looks the name up in."""
        for word in by.words:
            if not self._is_about_hosts(word):
                continue
            if by.words[0] == "use_backend" and "map" not in word:
                yield from self._backends_by_name(word)
            for method, path in _MAP.findall(word):
                for key in _first_words(self._config.files.get(path, "")):
                    yield method if method in _METHODS else "str", key

    def _backends_by_name(self, word: str) -> Iterator[tuple[str, str]]:
        """The names that select a backend of the same name: ``use_backend site_%[hdr(host)]``."""
        before, _, rest = word.partition("%[")
        after = rest.rpartition("]")[2]
        for each in self._config.of_kind("backend"):
            middle = each.name[len(before) : len(each.name) - len(after)]
            if each.name == f"{before}{middle}{after}" and "." in middle:
                yield "str", middle

    def of_words(self, words: Sequence[str]) -> _Test:
        """One test, such as ``hdr(host) -i a.example.com``."""
        expression, *rest = words
        first = split_calls(expression)[0] if split_calls(expression) else ""
        options, patterns = self._options(rest)
        method = options.get("-m", "")
        host = _HOST_CALL.fullmatch(first) or _SNI_CALL.fullmatch(first)
        base = _BASE_CALL.fullmatch(first)
        path = _PATH_CALL.fullmatch(first)
        variable = _VARIABLE.fullmatch(first)
        suffix = (host[1] or "") if host else ""
        if host and suffix and suffix not in _METHODS:
            return _Test()  # a count, a number or an address
        if host or (variable and variable[1] in self._variables):
            method = method or suffix or "str"
            return _Test(hosts=tuple((method, each) for each in patterns if method != "found"))
        if base:
            return _Test(hosts=tuple(("str", each.partition("/")[0]) for each in patterns))
        if path:
            method = method or path[1] or "str"
            made = (_path(method, each) for each in patterns)
            return _Test(paths=tuple(each for each in made if each))
        is_upgrade = re.match(r"(?:req\.)?f?hdr(?:_\w+)?\(upgrade", first, re.IGNORECASE)
        return _Test(wants_upgrade=bool(is_upgrade))

    def _is_about_hosts(self, word: str) -> bool:
        variables = _VARIABLE.findall(word)
        is_variable = any(each in self._variables for each in variables)
        return is_variable or bool(_HOST_CALL.search(word) or re.search(r"ssl(?:_fc)?_sni", word))

    def _options(self, words: Sequence[str]) -> tuple[dict[str, str], list[str]]:
        options: dict[str, str] = {}
        patterns: list[str] = []
        rest = list(words)
        while rest and rest[0].startswith("-") and len(rest[0]) > 1:
            flag = rest.pop(0)
            if flag == "--":
                break
            if flag in _FLAGS_WITH_VALUE and rest:
                value = rest.pop(0)
                if flag == "-f":
                    patterns += _first_words(self._config.files.get(value, ""))
                else:
                    options[flag] = value
        return options, patterns + rest


def _first_words(text: str) -> list[str]:
    lines = (line.split(None, 1) for line in text.splitlines())
    return [words[0] for words in lines if words and not words[0].startswith("#")]


def _name(method: str, pattern: str) -> tuple[str, str | None]:
    """A tested name as it is shown, and one to request."""
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


def _path(method: str, pattern: str) -> str:
    """A path that a test matches; empty if none is evident."""
    if method == "reg":
        return from_regex(pattern, text_before="/") or ""
    if method in ("end", "sub", "dir"):
        pattern = f"/{pattern.lstrip('/')}"
    return pattern if pattern.startswith("/") else ""
