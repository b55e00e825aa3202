"""Faults in nginx's configuration on the path of one WebSocket handshake. Pure.

Each rule looks at what really becomes of the handshake (which server, which location, which headers
after all maps), not at whether a line looks unusual. The certain ones come first: what nginx's own
check refuses; who takes the request; what is lost on the path; then what may go wrong.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from deployer.proxies.inspect.model import Fault, Place, ProxyState, fault
from deployer.proxies.nginx import headers as nginx_headers
from deployer.proxies.nginx import routing
from deployer.proxies.nginx.config import Directive, http_of
from deployer.proxies.nginx.match import Match, listens, servers_of
from deployer.proxies.nginx.path import Trace
from deployer.proxies.nginx.variables import maps_of

#: The format on a terminal, or in a log.
_EMERGENCY = re.compile(
    r"\[emerg\] (?:\d+#\d+: )?(?P<words>.*?)(?: in (?P<file>/[^:\s]+):(?P<line>\d+))?$"
)
_UNKNOWN = re.compile(r'unknown "(\w+)" variable')
#: The symptoms of a proxy that runs with an earlier configuration.
_OF_STALE = frozenset(
    {
        *("upgrade-not-forwarded", "wrong-route", "page-instead", "bad-gateway", "redirected"),
        *("slash-redirect", "https-redirect", "redirect-loop", "redirect-missing", "proxy-down"),
        *("origin-blocked", "origin-open", "h2c-tunnel", "tls-not-spoken", "tls-failed"),
        *("tls-wrong-name", "tls-expired", "tls-untrusted", "tls-incomplete-chain", "idle-cut"),
        *("host-rewritten", "port-lost", "http-1.0-upstream", "upstream-scheme", "timeout"),
    }
)
#: The directives that set what clients see of TLS.
_OF_TLS = {
    "ssl_certificate": (
        *("tls-incomplete-chain", "tls-wrong-name", "tls-expired", "tls-expires-soon"),
        "tls-untrusted",
    ),
    "ssl_protocols": ("tls-old-version",),
    "server_tokens": ("version-banner",),
}
_OF_NAME = frozenset({"tls-wrong-name"})
_REDIRECTS = (("301",), ("302",), ("303",), ("307",), ("308",))
_OF_NOBODY = frozenset({"proxy-down", "unreachable-from-here", "tls-not-spoken"})
_OF_ANOTHER = frozenset(
    {
        *("wrong-route", "page-instead", "redirected", "tls-wrong-name", "tls-untrusted"),
        *("upgrade-not-forwarded", "backend-not-websocket", "https-redirect", "bad-gateway"),
        "origin-blocked",
    }
)


def faults_of(
    state: ProxyState,
    tree: Directive,
    trace: Trace | None,
    *,
    name: str,
    port: int,
    path: str,
    tls: bool,
) -> tuple[Fault, ...]:
    """The faults; `trace` is `None` if nothing listens for the request."""
    http = http_of(tree)
    found = list(_of_check(state))
    if http is None:
        return tuple(found)
    if trace is None:
        found.append(_no_listener(http, port))
    else:
        found += _of_server(trace, name, port, tls=tls)
        found += _maps_twice(http, trace)
        found += routing.faults(trace, path)
        if trace.target is not None:
            found += nginx_headers.faults(trace)
    return tuple(found)


def _of_check(state: ProxyState) -> Iterator[Fault]:
    """What ``nginx -t`` rejects: nginx then runs with its former configuration, or not at all."""
    if state.test_ok is not False:
        return
    lines = [found for line in state.test_output.splitlines() if (found := _EMERGENCY.search(line))]
    words = lines[-1]["words"] if lines else "nginx -t fails"
    file = lines[-1]["file"] or "" if lines else ""
    line = int(lines[-1]["line"] or 0) if lines else 0
    now = (
        "nginx keeps running with the configuration it loaded before"
        if state.is_running
        else "nginx does not run, and cannot start"
    )
    variable = _UNKNOWN.search(words)
    if variable is not None:
        name = variable.group(1)
        yield fault(
            Place(file, line),
            code="map-missing",
            explains=_OF_STALE,
            cause=f"No map sets the variable ${name}, so nginx rejects all of its files: {now}.",
            fix=(
                f"Add a map for ${name} to http, outside every server; then run nginx -t and"
                " reload."
            ),
            directive=f'map $http_upgrade ${name} {{ default ""; "~*^websocket$" upgrade; }}',
            stands_alone=True,
            is_certain=True,
        )
        return
    yield fault(
        Place(file, line),
        code="config-invalid",
        explains=_OF_STALE,
        cause=f"nginx's own test rejects its files ({words}): {now}.",
        fix="Fix what nginx -t reports, then reload nginx.",
        stands_alone=True,
        is_certain=True,
    )


def _no_listener(http: Directive, port: int) -> Fault:
    ports = sorted({each for server in servers_of(http) for each, _, _ in listens(server)})
    there = f"nginx's servers listen on {', '.join(map(str, ports))}" if ports else "it has none"
    return fault(
        http,
        code="proxy-down",
        explains=_OF_NOBODY,
        cause=f"No server in nginx's configuration listens on port {port}: {there}.",
        fix=f"Add a listen line for port {port} to the site's server, and reload nginx.",
        directive=f"listen {port}{' ssl' if port == 443 else ''};",
    )


def _of_server(trace: Trace, name: str, port: int, *, tls: bool) -> Iterator[Fault]:
    match = trace.match
    if tls and not match.is_tls:
        listen = match.server.last("listen") or match.server
        yield fault(
            listen,
            code="tls-not-spoken",
            explains=frozenset({"tls-not-spoken", "tls-failed"}),
            cause=f"No listen line for port {port} has ssl, so nginx speaks plain HTTP there.",
            fix="Add ssl to the listen line, and a certificate and key to the server.",
            directive=f"listen {port} ssl;",
        )
    if match.is_default and _is_of_others(trace):
        another = fault(
            match.server,
            code="wrong-route",
            explains=_OF_ANOTHER,
            cause=f"No server on port {port} has the name {name}: the default server answers.",
            fix=(
                f"Add {name} to server_name of the site's own server, or include that server's file"
                " (sites-enabled); then reload nginx."
            ),
            directive=f"server_name {name};",
            tell="nginx -T | grep server_name shows the configured names.",
        )
        # Its certificate is right for its own names; what is missing is a server_name.
        yield replace(another, code="tls-wrong-name", explains=_OF_NAME, is_certain=True)
        yield another
    yield from _of_proxy_line(trace, port)
    yield from _of_certificate(match)


def _of_proxy_line(trace: Trace, port: int) -> Iterator[Fault]:
    """A listener whose connections begin with a PROXY header, on any of its servers."""
    for server in servers_of(trace.http):
        for listen in server.all("listen"):
            is_on_port = listen.words and listen.words[0].rpartition(":")[2] == str(port)
            if is_on_port and "proxy_protocol" in listen.words:
                yield fault(
                    listen,
                    code="connection-dropped",
                    explains=frozenset(
                        {"connection-dropped", "not-http", "tls-failed", "handshake-refused"}
                    ),
                    cause=(
                        f"{listen} expects each connection to port {port} to start with a PROXY"
                        " header, as sent by a load balancer in front, and nginx disconnects"
                        " clients that send none."
                    ),
                    fix="Remove proxy_protocol from the listen lines if clients connect directly.",
                    directive=f"listen {port};",
                    is_of_line=True,
                )
                return


def _is_of_others(trace: Trace) -> bool:
    """Whether the default server belongs to a different site, and is not meant for all names."""
    answering = trace.answering
    if answering is not None:
        return answering.words[:1] not in _REDIRECTS
    words = {word for each in trace.match.server.all("server_name") for word in each.words}
    return bool(words - {"_", ""}) or trace.target is None


def _of_certificate(match: Match) -> Iterator[Fault]:
    """The lines that set the certificate and the versions of TLS; the checks see what is wrong."""
    for name, codes in _OF_TLS.items():
        said = match.server_value(name)
        if said is None and name == "server_tokens":
            said = match.blocks[0]  # on by default
        if said is None:
            continue
        for code in codes:
            yield fault(
                said,
                code=code,
                explains=frozenset({code}),
                cause="",
                fix="",
                directive="server_tokens off;" if name == "server_tokens" else f"{said};",
                is_certain=True,
            )


def _maps_twice(http: Directive, trace: Trace) -> Iterator[Fault]:
    """Two maps for one variable pass the test, and the last one wins for every site."""
    for name, blocks in maps_of(http).items():
        if len({_content(block) for block in blocks}) < 2 or not _uses(trace, name):
            continue
        is_broken = nginx_headers.is_broken_by_map(trace, name)
        places = " and ".join(block.where for block in blocks)
        yield fault(
            blocks[-1],
            code="map-twice",
            explains=nginx_headers.OF_LOST_UPGRADE if is_broken else frozenset(),
            cause=(
                f"${name} is set by two different maps ({places}). nginx -t accepts that; the last"
                " one applies, for every site."
            ),
            fix="Give each map its own variable, or keep one of them.",
            directive=f"map … ${name}",
            severity="error" if is_broken else "warning",
            stands_alone=True,
        )


def _uses(trace: Trace, name: str) -> bool:
    """Whether a header or condition on the path of the request depends on a variable."""
    level = trace.match.level("proxy_set_header")
    headers = level.all("proxy_set_header") if level is not None else iter(())
    conditions = (each for block in trace.match.blocks[1:] for each in block.all("if"))
    words = " ".join(arg for each in (*headers, *conditions) for arg in each.words)
    return re.search(rf"\$\{{?{re.escape(name)}\b", words) is not None


def _content(block: Directive) -> tuple[object, ...]:
    return block.words[0], frozenset((each.name, each.words) for each in block.block or ())
