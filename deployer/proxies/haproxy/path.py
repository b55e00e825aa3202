"""The path of one request through HAProxy: its frontend, the rules that apply, its backend."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from deployer.proxies.haproxy.config import (
    HaproxyConfig,
    Section,
    config_of,
    seconds,
)
from deployer.proxies.haproxy.samples import (
    UNKNOWN,
    Matched,
    Request,
    Unknown,
    evaluated,
    predefined,
    tested,
    websocket_request,
)
from deployer.proxies.inspect.model import Directive, ProxyState
from deployer.sites.model import Upstream
from deployer.text.numbers import is_number

_ENDS = {"deny": "deny", "tarpit": "deny", "reject": "deny", "redirect": "redirect"}
_ENDS |= {"return": "return", "use-service": "return", "auth": "deny", "silent-drop": "deny"}


@dataclass(slots=True, kw_only=True)
class Server:
    """A ``server`` line with the options of ``default-server``."""

    upstream: Upstream
    options: tuple[str, ...]
    directive: Directive

    def value(self, option: str) -> str:
        """The word after an option; empty if it is missing."""
        if option not in self.options[:-1]:
            return ""
        return self.options[self.options.index(option) + 1]


@dataclass(slots=True, kw_only=True)
class Trace:
    """One request for the path `asked`; `end` is a rule that answers it before a service.

    `touched` are the rules that change a header, by its name in lower case, in their order;
    `unsure` are rules that may apply, depending on the client.
    """

    state: ProxyState
    config: HaproxyConfig
    asked: str
    request: Request
    frontend: Section
    backend: Section | None = None
    chosen_by: Directive | None = None
    matched: Matched | None = None
    end: Directive | None = None
    end_kind: str = ""
    location: str = ""
    servers: tuple[Server, ...] = ()
    touched: dict[str, list[Directive]] = field(default_factory=dict)
    unsure: list[Directive] = field(default_factory=list)
    is_certain: bool = True

    @property
    def is_tcp(self) -> bool:
        """Whether HAProxy only forwards bytes: HTTP rules do not apply, and TLS passes through."""
        mode = self.frontend.setting("mode")
        return mode is not None and mode.words[1:2] == ("tcp",)

    def idle(self) -> tuple[float | None, str, Directive | None]:
        """The idle timeout, its directive and its place."""
        tunnel = self.backend.setting("timeout", "tunnel") if self.backend else None
        if tunnel is not None:
            return _limit(tunnel), _text(tunnel), tunnel
        client = self.frontend.setting("timeout", "client")
        server = self.backend.setting("timeout", "server") if self.backend else None
        limits = [(_limit(each) or 0.0, each) for each in (client, server) if each is not None]
        if not limits:
            return None, "no timeout is set", None
        limit, by = min(limits, key=lambda pair: pair[0])
        return limit, _text(by), by


def _limit(directive: Directive) -> float | None:
    return seconds(directive.words[2]) if len(directive.words) > 2 else None


def _text(directive: Directive) -> str:
    return f"{directive}, {directive.where}"


def trace_of(
    state: ProxyState, *, name: str, port: int, path: str, tls: bool, upgrade: str = "websocket"
) -> Trace | None:
    """Trace a WebSocket request; `None` if nothing listens there, as far as can be read."""
    config = config_of(state)
    frontend = next((each for each in _frontends(config) if bind_of(each, port)), None)
    if frontend is None:
        return None
    counts = {each.name: len(list(each.own("server"))) for each in config.of_kind("backend")}
    request = websocket_request(
        name=name, port=port, path=path, tls=tls, files=config.files, servers=counts
    )
    request.headers["upgrade"] = upgrade
    trace = Trace(state=state, config=config, asked=path, request=request, frontend=frontend)
    if not trace.is_tcp:
        _follow(trace, frontend)
    if trace.end is None:
        _choose(trace)
    if (
        trace.end is None
        and not trace.is_tcp
        and trace.backend is not None
        and trace.backend is not frontend
    ):
        _follow(trace, trace.backend)
    if trace.backend is not None:
        trace.servers = tuple(_servers(trace.backend, port))
        bind = bind_of(frontend, port)
        if trace.is_tcp and tls and bind is not None and "ssl" not in bind.words:
            trace.servers = tuple(_with_tls(each) for each in trace.servers)
    return trace


def _frontends(config: HaproxyConfig) -> Iterator[Section]:
    return config.of_kind("frontend", "listen")


def binds_of(section: Section) -> Iterator[tuple[Directive, str]]:
    """The ``bind`` lines with each of their addresses."""
    for each in section.own("bind"):
        for address in each.words[1].split(",") if len(each.words) > 1 else ():
            yield each, address


def bind_of(section: Section, port: int) -> Directive | None:
    """The line that listens on `port`."""
    for directive, address in binds_of(section):
        low, _, high = address.rpartition(":")[2].partition("-")
        if is_number(low) and int(low) <= port <= int(high if is_number(high) else low):
            return directive
    return None


# --- rules ----------------------------------------------------------------------------------------


def _follow(trace: Trace, section: Section) -> None:
    """Apply the section's rules to the request, up to one that ends it."""
    levels = [section.defaults] if section.defaults is not None else []
    for level in (*levels, section):
        for each in level.directives:
            if each.words[0] == "http-request" and len(each.words) > 1:
                _apply(trace, section, each, each.words[1:])
            elif each.words[0] in ("redirect", "block"):
                _apply(trace, section, each, each.words)
            if trace.end is not None:
                return


def _apply(trace: Trace, section: Section, by: Directive, words: tuple[str, ...]) -> None:
    action, rest, condition = split(words)
    answer = holds(condition, section, trace.request).answer
    if answer is False:
        return
    name = action.partition("(")[0]
    if answer is UNKNOWN:
        if name in _ENDS or name.startswith(("set-", "replace-", "del-", "add-")):
            trace.unsure.append(by)
        if name not in ("set-header", "del-header", "replace-header", "add-header"):
            return
    if name in _ENDS:
        trace.end, trace.end_kind = by, _ENDS[name]
        trace.location = _location(rest, trace.request) if name == "redirect" else ""
    elif name in ("set-var", "set-var-fmt"):
        variable = action.partition("(")[2].rstrip(")").split(",")[0]
        if name == "set-var":
            trace.request.variables[variable] = evaluated("".join(rest[:1]), trace.request)
        else:
            trace.request.variables[variable] = filled(" ".join(rest), trace.request)
    elif name.endswith("-header") and rest:
        _touch(trace, by, name, rest, is_sure=answer is True)
    elif name in ("set-path", "set-pathq", "set-uri", "replace-path", "replace-pathq"):
        _new_path(trace, name, rest)


def _touch(trace: Trace, by: Directive, name: str, rest: Sequence[str], *, is_sure: bool) -> None:
    header = rest[0].lower()
    trace.touched.setdefault(header, []).append(by)
    if not is_sure:
        trace.request.headers[header] = UNKNOWN
    elif name == "del-header":
        trace.request.headers[header] = None
    elif name == "set-header":
        trace.request.headers[header] = filled(" ".join(rest[1:]), trace.request)


def _new_path(trace: Trace, name: str, rest: Sequence[str]) -> None:
    if name.startswith("set-") and rest:
        value = filled(rest[0], trace.request)
        if isinstance(value, str) and value.startswith("/"):
            trace.request.path = value.partition("?")[0]
        else:
            trace.is_certain = False
        return
    if len(rest) > 1:
        try:
            turned = re.sub(rest[0], _python_turns(rest[1]), trace.request.path, count=1)
        except (re.error, IndexError):
            trace.is_certain = False
            return
        trace.request.path = turned.partition("?")[0]


def _python_turns(text: str) -> str:
    return re.sub(r"\\(\d)", r"\\g<\1>", text)


def filled(text: str, request: Request) -> str | Unknown:
    """A text with its ``%[…]`` evaluated."""
    parts = re.split(r"%\[((?:[^\[\]]|\[[^\]]*\])*)\]", text)
    for index in range(1, len(parts), 2):
        value = evaluated(parts[index], request)
        if value is UNKNOWN:
            return UNKNOWN
        parts[index] = "" if value is None else str(value)
    return "".join(parts)


def _location(rest: Sequence[str], request: Request) -> str:
    words = dict(zip(rest[::2], rest[1::2], strict=False))
    if "scheme" in words:
        query = f"?{request.query}" if request.query else ""
        return f"{words['scheme']}://{request.header('host')}{request.path}{query}"
    value = filled(words.get("location", words.get("prefix", "")), request)
    return value if isinstance(value, str) else ""


def split(words: tuple[str, ...]) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """An action, its arguments, and its condition with ``if`` or ``unless``."""
    for index, word in enumerate(words):
        if word in ("if", "unless") and index:
            return words[0], words[1:index], words[index:]
    return words[0], words[1:], ()


# --- conditions -----------------------------------------------------------------------------------


def holds(condition: tuple[str, ...], section: Section, request: Request) -> Matched:
    """Whether ``if …`` or ``unless …`` is met; without any, it is."""
    if not condition:
        return Matched(answer=True)
    alternatives: list[list[Matched]] = [[]]
    words = list(condition[1:])
    while words:
        word = words.pop(0)
        if word in ("or", "||"):
            alternatives.append([])
            continue
        is_negated = word.startswith("!")
        word = word.removeprefix("!") if is_negated else word
        if is_negated and not word and words:
            word = words.pop(0)
        if word == "{":
            end = words.index("}") if "}" in words else len(words)
            found = tested(words[:end], request) if words[:end] else Matched(answer=UNKNOWN)
            words = words[end + 1 :]
        else:
            found = _named(word, section, request)
        alternatives[-1].append(_negated(found) if is_negated else found)
    return _settled([_all(terms) for terms in alternatives], condition[0] == "unless")


def _named(name: str, section: Section, request: Request) -> Matched:
    found: Matched | None = None
    for each in section.own("acl", name):
        one = tested(each.words[2:], request) if len(each.words) > 2 else Matched(answer=UNKNOWN)
        if one.answer is True:
            return one
        if found is None or one.answer is UNKNOWN:
            found = one
    if found is None:
        known = predefined(name)
        return Matched(answer=UNKNOWN if known is None else known)
    return found


def _negated(found: Matched) -> Matched:
    return Matched(answer=UNKNOWN if found.answer is UNKNOWN else not found.answer)


def _all(terms: list[Matched]) -> Matched:
    if any(term.answer is False for term in terms):
        return Matched(answer=False)
    if any(term.answer is UNKNOWN for term in terms):
        return Matched(answer=UNKNOWN)
    by_path = [term for term in terms if term.pattern]
    return by_path[0] if by_path else Matched(answer=True)


def _settled(found: list[Matched], is_unless: bool) -> Matched:
    best = next((each for each in found if each.answer is True), None)
    if best is None:
        unknown = any(each.answer is UNKNOWN for each in found)
        best = Matched(answer=UNKNOWN if unknown else False)
    return _negated(best) if is_unless else best


# --- the backend ----------------------------------------------------------------------------------


def _choose(trace: Trace) -> None:
    for each in trace.frontend.own("use_backend"):
        _, rest, condition = split(each.words)
        found = holds(condition, trace.frontend, trace.request)
        if found.answer is False or not rest:
            continue
        if found.answer is UNKNOWN:
            trace.unsure.append(each)
            trace.is_certain = False
            continue
        name = filled(rest[0], trace.request)
        backend = trace.config.backend(name) if isinstance(name, str) else None
        if backend is not None:
            trace.backend, trace.chosen_by, trace.matched = backend, each, found
            return
        if name is UNKNOWN:
            trace.is_certain = False
            trace.unsure.append(each)
            return
    usual = trace.frontend.setting("default_backend")
    if usual is not None and len(usual.words) > 1:
        trace.backend, trace.chosen_by = trace.config.backend(usual.words[1]), usual
    elif trace.frontend.kind == "listen":
        trace.backend = trace.frontend


def _servers(section: Section, port: int) -> Iterator[Server]:
    usual: tuple[str, ...] = ()
    inherited = section.defaults.setting("default-server") if section.defaults else None
    if inherited is not None:
        usual = inherited.words[1:]
    for each in section.directives:
        if each.words[0] == "default-server":
            usual += each.words[1:]
        elif each.words[0] == "server" and len(each.words) > 2:
            options = (*usual, *each.words[3:])
            upstream = _upstream(each.words[2], port, tls=_is_tls(options))
            yield Server(upstream=upstream, options=options, directive=each)


def _with_tls(server: Server) -> Server:
    """The client's TLS passes through unchanged."""
    upstream = replace(server.upstream, tls=True)
    return Server(upstream=upstream, options=server.options, directive=server.directive)


def _is_tls(options: tuple[str, ...]) -> bool:
    last = [word for word in options if word in ("ssl", "no-ssl")]
    return bool(last) and last[-1] == "ssl"


def _upstream(address: str, port: int, *, tls: bool) -> Upstream:
    if address.startswith(("/", "unix@")):
        return Upstream(socket=address.removeprefix("unix@"), tls=tls)
    address = re.sub(r"^(?:ipv4|ipv6|tcp4?|tcp6)@", "", address)
    host, _, number = address.rpartition(":")
    if not is_number(number[1:] if number[:1] in ("+", "-") else number) or (
        ":" in host and not host.endswith("]")
    ):
        return Upstream(host=address.strip("[]"), port=port, tls=tls)
    shown = port + int(number) if number[0] in "+-" else int(number)
    return Upstream(host=host.strip("[]"), port=shown, tls=tls)
