"""The path of one WebSocket handshake through nginx: its destination and its headers.

Source: nginx, ngx_http_proxy_module (`proxy_pass`, `proxy_set_header`, `proxy_http_version`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from deployer.proxies.inspect.model import ProxyState
from deployer.proxies.nginx.config import Directive, http_of, tree_of
from deployer.proxies.nginx.match import PASSING, Match, match_of, modifier_of
from deployer.proxies.nginx.variables import Values, maps_of, seconds_of
from deployer.sites.model import Upstream
from deployer.text.numbers import is_number

#: Since this version, nginx speaks HTTP/1.1 to services by default, without ``Connection: close``.
HTTP_1_1_BY_DEFAULT = (1, 29, 7)
_DEFAULT_READ_TIMEOUT_S = 60.0
_CLIENT_ADDRESS = "203.0.113.7"  # RFC 5737: a documentation address, for any client
_CONDITION = re.compile(r"^(=|!=|~\*?|!~\*?)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The target of ``proxy_pass``; `uri` is `None` without a path, `note` what is unclear."""

    directive: Directive
    upstreams: tuple[Upstream, ...] = ()
    uri: str | None = None
    host: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """One effective ``proxy_set_header``; `value` is `None` if it is unknown."""

    value: str | None
    directive: Directive

    def joined(self, other: Header) -> Header:
        """Both: nginx sends a line for each that is not empty."""
        if self.value is None or other.value is None:
            return Header(value=None, directive=other.directive)
        value = ", ".join(filter(None, (self.value, other.value)))
        return Header(value=value, directive=other.directive if other.value else self.directive)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """One handshake in nginx. `http` is the whole HTTP configuration."""

    http: Directive
    match: Match
    values: Values
    version: tuple[int, ...]
    name: str
    port: int

    # --- where to ---------------------------------------------------------------------------------

    @property
    def passing(self) -> Directive | None:
        """The directive that forwards the request: the location's own, it is not inherited."""
        block = self.match.innermost
        found = next(iter(block.all(*PASSING)), None)
        if found is None and block.name == "if":
            found = next(iter(self.match.blocks[-2].all(*PASSING)), None)
        return found

    @property
    def answering(self) -> Directive | None:
        """A ``return`` that answers every request before anything else does."""
        for block in (self.match.server, self.match.innermost):
            for each in block.all("return"):
                if block.name != "if":
                    return each
        return None

    @property
    def refusing(self) -> tuple[Directive, Directive] | None:
        """The first ``if`` that matches this handshake and answers it, and its ``return``."""
        for block in (
            self.match.server,
            *(each for each in self.match.blocks if each.name == "location"),
        ):
            for condition in block.all("if"):
                for each in condition.all("return"):
                    if _holds(condition.words, self.values):
                        return condition, each
        return None

    @property
    def target(self) -> Target | None:
        """The target of ``proxy_pass``."""
        passing = self.passing
        if passing is None or passing.name != "proxy_pass" or not passing.words:
            return None
        return _target(self.http, passing, self.values)

    @property
    def path_at_service(self) -> str:
        """The path requested from the service."""
        target, path = self.target, self.values.given["uri"]
        rewriting = self.rewriting
        if rewriting is not None:
            return rewriting[1]
        if target is None or target.uri is None:
            return path
        location = self._plain_location()
        if location is None or "$" in target.directive.words[0]:
            return target.uri if "$" in target.directive.words[0] else path
        prefix = modifier_of(location)[1]
        return target.uri + self.match.path[len(prefix) :]

    def _plain_location(self) -> Directive | None:
        blocks = [block for block in self.match.blocks if block.name == "location"]
        if not blocks or modifier_of(blocks[-1])[0] in ("~", "~*"):
            return None
        return blocks[-1]

    @property
    def rewriting(self) -> tuple[Directive, str] | None:
        """The first matching ``rewrite … break`` of the location, and its result."""
        path = self.values.given["uri"]
        for each in self.match.innermost.all("rewrite"):
            if len(each.words) < 3 or each.words[2] != "break":
                continue
            try:
                found = re.search(each.words[0], path)
            except re.error:
                continue
            if found is not None:
                groups = [group or "" for group in found.groups()]
                return each, _substituted(each.words[1], groups)
        return None

    # --- with which headers -----------------------------------------------------------------------

    @property
    def headers(self) -> dict[str, Header]:
        """The headers that are set, by name in lower case: of the innermost level with any."""
        level = self.match.level("proxy_set_header")
        return self._headers_of(level) if level is not None else {}

    def headers_above(self) -> dict[str, Header]:
        """The headers that would be inherited if the innermost level had none."""
        level = self.match.level("proxy_set_header")
        if level is None:
            return {}
        above = self.match.blocks[: self.match.blocks.index(level)]
        return replace(self, match=replace(self.match, blocks=above)).headers if above else {}

    def _headers_of(self, level: Directive) -> dict[str, Header]:
        found: dict[str, Header] = {}
        for each in level.all("proxy_set_header"):
            if len(each.words) == 2:
                name = each.words[0].lower()
                header = Header(value=self.values.of(each.words[1]), directive=each)
                found[name] = found[name].joined(header) if name in found else header
        return found

    def asking_for(self, protocol: str) -> Trace:
        """The same for a request with a different ``Upgrade``."""
        given = {**self.values.given, "http_upgrade": protocol}
        return replace(self, values=replace(self.values, given=given))

    @property
    def http_version(self) -> tuple[str, Directive | None]:
        """The HTTP version for the service, and the directive that sets it."""
        said = self.match.value("proxy_http_version")
        if said is not None and said.words:
            return said.words[0], said
        return ("1.1" if self.version >= HTTP_1_1_BY_DEFAULT else "1.0"), None

    @property
    def host(self) -> str | None:
        """The ``Host`` that the service sees; `None` if it is unknown."""
        header = self.headers.get("host")
        if header is not None:
            return header.value
        target = self.target
        return target.host if target is not None else None

    @property
    def read_timeout(self) -> tuple[float, Directive | None]:
        """The idle timeout in seconds, and the directive that sets it."""
        said = self.match.value("proxy_read_timeout")
        if said is None or not said.words:
            return _DEFAULT_READ_TIMEOUT_S, None
        seconds = seconds_of(" ".join(said.words))
        return (_DEFAULT_READ_TIMEOUT_S if seconds is None else seconds), said


def _substituted(text: str, groups: list[str]) -> str:
    """`text` with ``$1`` and so on replaced."""
    for number, group in enumerate(groups, 1):
        text = text.replace(f"${number}", group)
    return text


def trace_of(state: ProxyState, *, name: str, port: int, path: str, tls: bool) -> Trace | None:
    """Trace a WebSocket handshake for `path`; `None` if nothing listens for it."""
    tree = tree_of(state.config)
    http = http_of(tree)
    match = match_of(tree, name=name, port=port, path=path)
    if http is None or match is None:
        return None
    given = _variables(name=name, port=port, path=path, tls=tls)
    values = Values(given=given, maps=maps_of(http), sets=_sets(match))
    trace = Trace(
        http=http,
        match=match,
        values=values,
        version=state.version_numbers,
        name=name,
        port=port,
    )
    return _through_conditions(trace)


def _variables(*, name: str, port: int, path: str, tls: bool) -> dict[str, str]:
    scheme = "https" if tls else "http"
    is_usual = port == (443 if tls else 80)
    return {
        "host": name,
        "http_host": name if is_usual else f"{name}:{port}",
        "server_name": name,
        "server_port": str(port),
        "scheme": scheme,
        "https": "on" if tls else "",
        "http_upgrade": "websocket",
        "http_connection": "Upgrade",
        "http_origin": f"{scheme}://{name}" if is_usual else f"{scheme}://{name}:{port}",
        "http_x_forwarded_proto": "",
        "http_x_forwarded_for": "",
        "http_sec_websocket_protocol": "",
        "remote_addr": _CLIENT_ADDRESS,
        "proxy_add_x_forwarded_for": _CLIENT_ADDRESS,
        "request_method": "GET",
        "uri": path,
        "request_uri": path,
        "document_uri": path,
        "args": "",
        "is_args": "",
        "query_string": "",
        "proxy_host": "\0proxy_host",
        "proxy_port": "",
    }


def _sets(match: Match) -> dict[str, str]:
    """The variables that ``set`` defines for the request, outside any ``if``."""
    return {
        each.words[0].lstrip("$"): each.words[1]
        for block in match.blocks
        for each in block.all("set")
        if len(each.words) == 2
    }


def _through_conditions(trace: Trace) -> Trace:
    """The trace with the last ``if`` of the location that matches this handshake."""
    holding = [
        block
        for block in trace.match.innermost.all("if")
        if _holds(block.words, trace.values) and list(block.all(*PASSING, "return"))
    ]
    if not holding or trace.match.location is None:
        return trace
    return replace(trace, match=replace(trace.match, blocks=(*trace.match.blocks, holding[-1])))


def _holds(args: tuple[str, ...], values: Values) -> bool:
    """Whether a condition is known to be true."""
    left = values.of(args[0]) if args else None
    if left is None:
        return False
    if len(args) == 1:
        return left not in ("", "0")
    if len(args) != 3 or not _CONDITION.match(args[1]):
        return False
    if args[1] in ("=", "!="):
        return (left == args[2]) is (args[1] == "=")
    try:
        found = re.search(args[2], left, re.IGNORECASE if "*" in args[1] else 0)
    except re.error:
        return False
    return (found is not None) is not args[1].startswith("!")


# --- proxy_pass -----------------------------------------------------------------------------------

_URL = re.compile(r"^(https?)://(unix:[^:]+|\[[^\]]+\](?::\d+)?|[^/:]+(?::\d+)?)(?::)?(/.*)?$")


def _target(http: Directive, passing: Directive, values: Values) -> Target:
    text = values.of(passing.words[0])
    found = _URL.match(text or "")
    if found is None:
        words = f"{passing} depends on variables that are unknown here"
        return Target(directive=passing, note=words)
    scheme, authority, uri = found.groups()
    tls = scheme == "https"
    group = next((each for each in http.all("upstream") if each.words[:1] == (authority,)), None)
    if group is not None:
        upstreams = tuple(_servers(group, tls=tls))
    else:
        upstreams = (_upstream(authority, tls=tls),)
    return Target(
        directive=passing,
        upstreams=upstreams,
        uri=uri,
        host="localhost" if authority.startswith("unix:") else authority,
    )


def _servers(group: Directive, *, tls: bool) -> Iterator[Upstream]:
    """The servers of an ``upstream``, backup servers last."""
    servers = [each for each in group.all("server") if each.words and "down" not in each.words]
    for each in sorted(servers, key=lambda server: "backup" in server.words):
        yield _upstream(each.words[0], tls=tls, default_port=80)


def _upstream(authority: str, *, tls: bool, default_port: int | None = None) -> Upstream:
    if authority.startswith("unix:"):
        return Upstream(socket=authority[len("unix:") :], tls=tls)
    host, _, port = authority.rpartition(":")
    if not host or not is_number(port) or (host.startswith("[") and not host.endswith("]")):
        host, port = authority, str(default_port or (443 if tls else 80))
    return Upstream(host=host.strip("[]"), port=int(port), tls=tls)
