"""Headers of a WebSocket handshake that nginx drops, changes or forwards too freely. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from deployer.proxies.inspect.model import Fault, fault
from deployer.proxies.nginx.config import Directive
from deployer.proxies.nginx.path import HTTP_1_1_BY_DEFAULT, Header, Trace

#: What the checks say of a handshake that reaches the service as something else.
OF_LOST_UPGRADE = frozenset(
    {
        *("upgrade-not-forwarded", "http-1.0-upstream", "default-connection", "wrong-route"),
        *("headers-not-inherited", "connection-cleared", "map-twice", "page-instead"),
        *("backend-not-websocket", "origin-blocked", "incomplete-upgrade", "timeout"),
    }
)
#: A request to the service with the changed Host proves that this is the reason.
_OF_HOST = frozenset({"host-rewritten", "port-lost"})
_STRICT = (
    'map $http_upgrade $ws_upgrade { default ""; "~*^websocket$" websocket; }\n'
    'map $http_upgrade $ws_connection { default ""; "~*^websocket$" upgrade; }'
)
_SET = (
    "proxy_http_version 1.1;\n"
    "proxy_set_header Upgrade $ws_upgrade;\n"
    "proxy_set_header Connection $ws_connection;"
)
_USUAL_PORTS = (80, 443)


def faults(trace: Trace) -> Iterator[Fault]:
    """The faults in the headers of a request that ``proxy_pass`` forwards."""
    yield from _lost(trace)
    yield from _of_host(trace)
    yield from _of_scheme(trace)
    yield from _of_others(trace)
    yield from _of_timeout(trace)
    yield from _of_client(trace)
    yield from _of_tunnel(trace)


def forwards(trace: Trace) -> bool:
    """Whether the service sees an upgrade to WebSocket; unknown values count as one."""
    return not _missing(trace.headers)


def is_broken_by_map(trace: Trace, name: str) -> bool:
    """Whether the handshake would be forwarded if an earlier map for `name` were the last."""
    if trace.target is None or forwards(trace):
        return False
    maps = trace.values.maps
    for block in maps.get(name, ())[:-1]:
        values = replace(trace.values, maps={**maps, name: (block,)})
        if forwards(replace(trace, values=values)):
            return True
    return False


# --- Upgrade and Connection -----------------------------------------------------------------------


def _missing(headers: dict[str, Header]) -> list[str]:
    """Which of the two headers does not have the value that a handshake needs."""
    upgrade, connection = headers.get("upgrade"), headers.get("connection")
    missing = []
    if upgrade is None or (upgrade.value is not None and upgrade.value.lower() != "websocket"):
        missing.append("Upgrade")
    if connection is None or (
        connection.value is not None and "upgrade" not in _tokens(connection.value)
    ):
        missing.append("Connection")
    return missing


def _tokens(value: str) -> list[str]:
    return [word.strip().lower() for word in value.split(",")]


def _lost(trace: Trace) -> Iterator[Fault]:
    headers = trace.headers
    missing = _missing(headers)
    version, said = trace.http_version
    if missing:
        yield _without(trace, headers, missing)
    if version == "1.0" and (said is not None or not missing):
        place = said or trace.match.innermost
        reason = "set by proxy_http_version" if said is not None else "the default before 1.29.7"
        yield fault(
            place,
            code="http-1.0-upstream",
            explains=OF_LOST_UPGRADE,
            cause=f"nginx speaks HTTP/1.0 to the service ({reason}), which has no upgrades.",
            fix="Set proxy_http_version 1.1 in this location.",
            directive="proxy_http_version 1.1;",
            tell="The service answers 505 or 426, or logs HTTP/1.0 requests.",
        )
    ignored = trace.match.value("proxy_pass_request_headers")
    if ignored is not None and ignored.words == ("off",):
        yield fault(
            ignored,
            code="upgrade-not-forwarded",
            explains=OF_LOST_UPGRADE,
            cause="proxy_pass_request_headers off drops the client's headers.",
            fix="Remove it from this path.",
            directive="proxy_pass_request_headers on;",
        )


def _without(trace: Trace, headers: dict[str, Header], missing: list[str]) -> Fault:
    """The reason why the service does not see the upgrade."""
    level = trace.match.level("proxy_set_header")
    above = trace.headers_above()
    if level is not None and above and not _missing(above):
        first = next(level.all("proxy_set_header"))
        return fault(
            first,
            code="headers-not-inherited",
            explains=OF_LOST_UPGRADE,
            cause=(
                f"This {level.name} sets its own headers, and so inherits none of those set above"
                f" it, including {' and '.join(missing)} ({above['upgrade'].directive.where})."
            ),
            fix="Repeat all proxy_set_header lines here.",
            directive=_SET,
            is_certain=True,
        )
    connection, upgrade = headers.get("connection"), headers.get("upgrade")
    if missing == ["Connection"] and connection is not None and connection.value == "":
        return _cleared(connection, upgrade)
    if connection is not None and not connection.directive.words[1]:
        return _cleared(connection, upgrade)
    if connection is None and upgrade is None and trace.version >= HTTP_1_1_BY_DEFAULT:
        return fault(
            trace.match.innermost,
            code="default-connection",
            explains=OF_LOST_UPGRADE,
            cause=(
                "Nothing here sets Upgrade or Connection, and since 1.29.7 nginx sends the service"
                " no Connection header at all: a service that ignored the missing upgrade before"
                " now sees an ordinary request."
            ),
            fix="Set both headers explicitly.",
            directive=_SET,
            is_certain=True,
        )
    return fault(
        _place(trace, headers, missing),
        code="upgrade-not-forwarded",
        explains=OF_LOST_UPGRADE,
        cause=_words(headers, missing),
        fix=(
            "Set HTTP/1.1, Upgrade and Connection in this location, from maps of"
            f" $http_upgrade in http:\n{_STRICT}"
        ),
        directive=_SET,
        is_certain=True,
    )


def _cleared(connection: Header, upgrade: Header | None) -> Fault:
    also = " Upgrade is not set either." if upgrade is None else ""
    return fault(
        connection.directive,
        code="connection-cleared",
        explains=OF_LOST_UPGRADE,
        cause=(
            f"{connection.directive} drops Connection, as is usual for keep-alive: a handshake"
            f" loses its upgrade with it.{also}"
        ),
        fix=(
            "Set Connection from a map: upgrade for a WebSocket request, otherwise"
            f" empty.\n{_STRICT}"
        ),
        directive=_SET,
        is_certain=True,
    )


def _place(trace: Trace, headers: dict[str, Header], missing: list[str]) -> Directive:
    """The line with the wrong value, or the block that lacks the line."""
    for name in missing:
        header = headers.get(name.lower())
        if header is not None:
            return header.directive
    return trace.passing or trace.match.innermost


def _words(headers: dict[str, Header], missing: list[str]) -> str:
    said = []
    for name in missing:
        header = headers.get(name.lower())
        if header is None:
            default = " (nginx then sends close)" if name == "Connection" else ""
            said.append(f"nothing sets {name}{default}")
        else:
            said.append(f"{header.directive} evaluates to {header.value!r}")
    return f"The service sees no upgrade on this path: {', and '.join(said)}."


# --- Host, scheme, Origin -------------------------------------------------------------------------


def _of_host(trace: Trace) -> Iterator[Fault]:
    header, host = trace.headers.get("host"), trace.host
    target = trace.target
    if host is None or target is None:
        return
    if host == "\0proxy_host":
        host = target.host
    place = header.directive if header is not None else target.directive
    odd = trace.port not in _USUAL_PORTS
    if host.partition(":")[0].lower() != trace.name.lower():
        says = f"{header.directive} sends" if header is not None else "No Host is set: nginx sends"
        yield fault(
            place,
            code="host-rewritten",
            explains=_OF_HOST,
            cause=(
                f"{says} {host} to the service, not {trace.name}: a service that compares Origin"
                " with Host refuses every page of the site."
            ),
            fix="Send the name that the client requested.",
            directive=f"proxy_set_header Host {'$http_host' if odd else '$host'};",
        )
    elif odd and not host.endswith(f":{trace.port}"):
        yield fault(
            place,
            code="port-lost",
            explains=_OF_HOST,
            cause=(
                f"The service sees the Host {host}, without the port {trace.port} of the page's"
                " Origin: a service that compares the two refuses it."
            ),
            fix="Send the port too.",
            directive="proxy_set_header Host $host:$server_port;",
        )


def _of_scheme(trace: Trace) -> Iterator[Fault]:
    header = trace.headers.get("x-forwarded-proto")
    if not trace.values.given["https"]:
        return
    if header is not None and (header.value is None or header.value == "https"):
        return
    target = trace.target
    place = header.directive if header is not None else target.directive if target else None
    if place is None:
        return
    what = (
        f"{header.directive} sends {header.value or 'nothing'!r}"
        if header is not None
        else "No header shows the service that the client used HTTPS"
    )
    yield fault(
        place,
        code="redirect-loop",
        explains=frozenset({"redirect-loop"}),
        cause=f"{what}: an app that forces HTTPS keeps redirecting to the same address.",
        fix="Set X-Forwarded-Proto, and make the app trust it.",
        directive="proxy_set_header X-Forwarded-Proto $scheme;",
        tell="The redirect's Location is the requested address.",
    )


#: Headers of the handshake that nothing should change, and what that looks like.
_HANDSHAKE_HEADERS = {
    "origin": frozenset({"origin-required", "origin-blocked", "origin-open"}),
    "sec-websocket-protocol": frozenset({"subprotocol-missing", "subprotocols-refused"}),
    "sec-websocket-key": frozenset({"wrong-accept", "incomplete-upgrade", "sample-key"}),
    "sec-websocket-version": frozenset({"upgrade-not-forwarded", "wrong-route"}),
}


def _of_others(trace: Trace) -> Iterator[Fault]:
    for name, symptoms in _HANDSHAKE_HEADERS.items():
        header = trace.headers.get(name)
        if header is None or f"$http_{name.replace('-', '_')}" in header.directive.words[1]:
            continue
        yield fault(
            header.directive,
            code=next(iter(sorted(symptoms - {"origin-open"}))),
            explains=symptoms,
            cause=(f"{header.directive.name} replaces the client's {header.directive.words[0]}."),
            fix="Remove the line: nginx forwards that header by default.",
        )
    for hidden in trace.match.blocks[-1:]:
        for each in hidden.all("proxy_hide_header"):
            word = each.words[0].lower() if each.words else ""
            if word in ("sec-websocket-protocol", "sec-websocket-accept"):
                code = "subprotocol-missing" if word.endswith("protocol") else "wrong-accept"
                yield fault(
                    each,
                    code=code,
                    explains=frozenset({code, "incomplete-upgrade"}),
                    cause=f"{each} hides a header of the service's response from the client.",
                    fix="Remove the line.",
                )


# --- timeouts, addresses, tunnels ----------------------------------------------------------------


def _of_timeout(trace: Trace) -> Iterator[Fault]:
    seconds, said = trace.read_timeout
    place = said or trace.passing or trace.match.innermost
    what = (
        f"{said} is in force"
        if said
        else f"proxy_read_timeout is not set: the default is {seconds:g} s"
    )
    yield fault(
        place,
        code="idle-cut",
        explains=frozenset({"idle-cut"}),
        cause=(
            f"nginx closes a WebSocket that is idle for {seconds:g} s ({what}"
            f"{', ' + said.where if said else ''})."
        ),
        fix="Raise proxy_read_timeout for this path, or make the service ping more often.",
        directive="proxy_read_timeout 3600s;",
    )


def _of_client(trace: Trace) -> Iterator[Fault]:
    header = trace.headers.get("x-forwarded-for")
    trusts = trace.match.value("set_real_ip_from") is not None
    if trusts or (header is not None and "$http_x_forwarded_for" in header.directive.words[1]):
        return
    if header is not None and "$proxy_add_x_forwarded_for" not in header.directive.words[1]:
        return
    place = header.directive if header is not None else trace.passing
    if place is None:
        return
    what = (
        "appends the client's address to the X-Forwarded-For that the client sent"
        if header is not None
        else "forwards the X-Forwarded-For that the client sent"
    )
    yield fault(
        place,
        code="forwarded-for-appended",
        explains=frozenset({"forwarded-for-appended"}),
        cause=f"nginx {what}: a service that uses the first address believes whatever the client"
        " claims.",
        fix="Overwrite it, if nginx is the first proxy for clients.",
        directive="proxy_set_header X-Forwarded-For $remote_addr;",
        severity="warning",
        stands_alone=header is not None,
    )


def _of_tunnel(trace: Trace) -> Iterator[Fault]:
    asked = trace.asking_for("h2c")
    upgrade, connection = asked.headers.get("upgrade"), asked.headers.get("connection")
    if upgrade is None or connection is None or upgrade.value != "h2c":
        return
    if connection.value is None or "upgrade" not in _tokens(connection.value):
        return
    yield fault(
        upgrade.directive,
        code="h2c-tunnel",
        explains=frozenset({"h2c-tunnel"}),
        cause=(
            f"{upgrade.directive} forwards every Upgrade, including h2c: if the service speaks"
            " HTTP/2, any client gets a tunnel past every rule of nginx."
        ),
        fix=f"Forward it for WebSockets only.\n{_STRICT}",
        directive=_SET,
    )
