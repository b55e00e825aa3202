"""Which headers of a WebSocket handshake nginx loses, changes, or passes on too freely: pure."""

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
#: That a changed Host is the reason is proven by asking the service with it.
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
    """What is wrong with the headers of a request that ``proxy_pass`` hands on."""
    yield from _lost(trace)
    yield from _of_host(trace)
    yield from _of_scheme(trace)
    yield from _of_others(trace)
    yield from _of_timeout(trace)
    yield from _of_client(trace)
    yield from _of_tunnel(trace)


def forwards(trace: Trace) -> bool:
    """Whether the service sees an upgrade to WebSocket; what cannot be known counts as one."""
    return not _missing(trace.headers)


def is_broken_by_map(trace: Trace, name: str) -> bool:
    """Whether the handshake would be passed on if an earlier map for `name` were the last one."""
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
    """Which of the two headers does not say what a handshake needs."""
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
        reason = "proxy_http_version says so" if said is not None else "as nginx before 1.29.7 does"
        yield fault(
            place,
            code="http-1.0-upstream",
            explains=OF_LOST_UPGRADE,
            cause=f"nginx speaks HTTP/1.0 to the service ({reason}), in which there is no upgrade.",
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
            cause="proxy_pass_request_headers off keeps the client's headers from the service.",
            fix="Remove it from this path.",
            directive="proxy_pass_request_headers on;",
        )


def _without(trace: Trace, headers: dict[str, Header], missing: list[str]) -> Fault:
    """Why the service does not see the upgrade."""
    level = trace.match.level("proxy_set_header")
    above = trace.headers_above()
    if level is not None and above and not _missing(above):
        first = next(level.all("proxy_set_header"))
        return fault(
            first,
            code="headers-not-inherited",
            explains=OF_LOST_UPGRADE,
            cause=(
                f"This {level.name} sets headers of its own, and so loses all that are set above"
                f" it, {' and '.join(missing)} among them ({above['upgrade'].directive.where})."
            ),
            fix="Repeat the whole set of proxy_set_header lines here.",
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
            "Set HTTP/1.1, Upgrade and Connection in this very location, from maps of"
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
            f"{connection.directive} sends the service no Connection, as is done for keep-alive:"
            f" a handshake loses its upgrade with it.{also}"
        ),
        fix=(
            "Let Connection come from a map: upgrade where a WebSocket is asked for, otherwise"
            f" empty.\n{_STRICT}"
        ),
        directive=_SET,
        is_certain=True,
    )


def _place(trace: Trace, headers: dict[str, Header], missing: list[str]) -> Directive:
    """The line that says something wrong, or the block that says nothing."""
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
            said.append(f"{header.directive} comes to {header.value!r}")
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
        says = f"{header.directive} says" if header is not None else "No Host is set: nginx sends"
        yield fault(
            place,
            code="host-rewritten",
            explains=_OF_HOST,
            cause=(
                f"{says} {host} to the service, not {trace.name}: one that compares Origin with"
                " Host refuses every page of the site."
            ),
            fix="Send the name that the client asked for.",
            directive=f"proxy_set_header Host {'$http_host' if odd else '$host'};",
        )
    elif odd and not host.endswith(f":{trace.port}"):
        yield fault(
            place,
            code="port-lost",
            explains=_OF_HOST,
            cause=(
                f"The service sees the Host {host}, without the port {trace.port} that is in"
                " the page's Origin: one that compares the two refuses it."
            ),
            fix="Send the port, too.",
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
        f"{header.directive} tells the service {header.value or 'nothing'!r}"
        if header is not None
        else "Nothing tells the service that the client came by HTTPS"
    )
    yield fault(
        place,
        code="redirect-loop",
        explains=frozenset({"redirect-loop"}),
        cause=f"{what}: an app that forces HTTPS redirects to the same address again and again.",
        fix="Set X-Forwarded-Proto, and let the app trust it.",
        directive="proxy_set_header X-Forwarded-Proto $scheme;",
        tell="The Location of the redirect is the very address that was asked for.",
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
            cause=(
                f"{header.directive.name} replaces the {header.directive.words[0]} that the client"
                " sends."
            ),
            fix="Remove the line: nginx passes that header on by itself.",
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
                    cause=f"{each} keeps a header of the service's answer from the client.",
                    fix="Remove the line.",
                )


# --- silence, addresses, tunnels ------------------------------------------------------------------


def _of_timeout(trace: Trace) -> Iterator[Fault]:
    seconds, said = trace.read_timeout
    place = said or trace.passing or trace.match.innermost
    what = f"{said} is in force" if said else f"proxy_read_timeout is not set: {seconds:g} s hold"
    yield fault(
        place,
        code="idle-cut",
        explains=frozenset({"idle-cut"}),
        cause=(
            f"nginx ends a WebSocket on which nobody sends anything for {seconds:g} s ({what}"
            f"{', ' + said.where if said else ', the default'})."
        ),
        fix="Raise proxy_read_timeout on this path, or let the service ping more often than that.",
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
        "adds the client's address to whatever X-Forwarded-For the client has sent"
        if header is not None
        else "passes on whatever X-Forwarded-For the client has sent"
    )
    yield fault(
        place,
        code="forwarded-for-appended",
        explains=frozenset({"forwarded-for-appended"}),
        cause=f"nginx {what}: an app that takes the first address believes the client.",
        fix="Overwrite it, where nginx is the first proxy that clients meet.",
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
            f"{upgrade.directive} passes every Upgrade on, h2c too: where the service speaks"
            " HTTP/2, whoever asks gets a tunnel past every rule of nginx."
        ),
        fix=f"Pass it on for WebSockets alone.\n{_STRICT}",
        directive=_SET,
    )
