"""Faults on a request's path through HAProxy, the most certain first."""

from __future__ import annotations

import re
from collections.abc import Iterator

from deployer.proxies.haproxy.config import config_of, seconds
from deployer.proxies.haproxy.limits import statistics
from deployer.proxies.haproxy.misroutes import (
    astray,
    connection_rules,
    own_answers,
    possible_refusals,
    shared_port,
)
from deployer.proxies.haproxy.path import Trace, binds_of
from deployer.proxies.haproxy.pointers import origins, pointers
from deployer.proxies.inspect.model import Directive, Fault, ProxyState, fault
from deployer.text.numbers import is_number

_LOST = frozenset({"upgrade-not-forwarded"})
_OF_SILENCE = frozenset({"connection-dropped", "not-http", "tls-failed", "tls-not-spoken"})
_ELSEWHERE = frozenset({"wrong-route", "page-instead", "slash-redirect", "redirected"})
#: The texts in HAProxy's log for the check results in its statistics.
_CHECKS = {
    "L4CON": "Layer4 connection problem",
    "L4TOUT": "Layer4 timeout",
    "L6RSP": "Layer6 invalid response",
    "L6TOUT": "Layer6 timeout",
    "L7RSP": "Layer7 invalid response",
    "L7STS": "Layer7 wrong status",
    "L7TOUT": "Layer7 timeout",
}
_SERVER_STATE = re.compile(r"Server (\S+)/(\S+) is (DOWN|UP)\b(?:, reason: ([^,]+))?")


def faults_of(trace: Trace, *, asked: str) -> tuple[Fault, ...]:
    """The faults on the path of one request for `asked`, the most certain first."""
    found = [*own_answers(trace), *origins(trace), *connection_rules(trace), *_ended(trace, asked)]
    found += [*_no_backend(trace), *_lost_upgrade(trace)]
    if trace.end is None and trace.servers:
        found += [*_out(trace), *_down(trace), *_over_http2(trace), *_path(trace, asked)]
        found += [*_believes(trace), *_lost_headers(trace), *_impatient(trace)]
    found += [*shared_port(trace), *astray(trace), *possible_refusals(trace)]
    return (*found, *pointers(trace))


def of_no_frontend(state: ProxyState, port: int) -> tuple[Fault, ...]:
    """The fault that no ``bind`` has the port of the request."""
    config = config_of(state)
    frontends = list(config.of_kind("frontend", "listen"))
    if not frontends:
        return ()
    addresses = ", ".join(text for each in frontends for _, text in binds_of(each))
    return (
        fault(
            frontends[0],
            code="proxy-down",
            explains=frozenset({"proxy-down"}),
            cause=(
                f"No frontend in HAProxy's files has a bind for port {port}: they listen on"
                f" {addresses or 'nothing'}."
            ),
            fix="Add a bind line to the site's frontend.",
            directive=f"bind :{port}",
        ),
    )


def _ended(trace: Trace, asked: str) -> Iterator[Fault]:
    if trace.end is None:
        return
    if trace.end_kind == "redirect":
        yield _redirect(trace, trace.end, asked)
        return
    status = re.search(r"(?:deny_status|status) (\d+)", str(trace.end))
    yield fault(
        trace.end,
        code="wrong-route",
        explains=frozenset({"origin-blocked", *_ELSEWHERE, *_LOST}),
        cause=(
            f"HAProxy answers {asked} itself{f' with {status.group(1)}' if status else ''}:"
            f" `{trace.end}`."
        ),
        fix="Exclude the WebSocket's name and path from that rule.",
    )


def _redirect(trace: Trace, rule: Directive, asked: str) -> Fault:
    to_https = trace.location.lower().startswith("https:")
    same = trace.location == f"https://{trace.request.header('host')}{asked}"
    if to_https and not trace.request.tls:
        code, explains = "https-redirect", {"https-redirect", "redirected"}
        fix = "Connect to wss://; WebSocket clients do not follow redirects."
    elif to_https and same:
        code, explains = "redirect-loop", {"redirect-loop", "redirected"}
        fix = "Add `if !{ ssl_fc }` to that line."
    else:
        code, explains = "redirected", {"redirected", "slash-redirect"}
        fix = "Exclude the WebSocket's path from that rule."
    return fault(
        rule,
        code=code,
        explains=frozenset(explains),
        cause=(
            f"`{rule}` sends {asked} on port {trace.request.port} to"
            f" {trace.location or 'a different address'}."
        ),
        fix=fix,
    )


def _no_backend(trace: Trace) -> Iterator[Fault]:
    if trace.end is not None or trace.servers or not trace.is_certain:
        return
    where = trace.chosen_by
    if trace.backend is not None:
        cause = f"{trace.backend.kind} {trace.backend.name} ({trace.backend.where}) has no server."
    elif where is not None:
        cause = f"`{where}` names a backend that does not exist."
    else:
        asked = "" if trace.is_tcp else trace.request.path
        cause = (
            f"No use_backend of frontend {trace.frontend.name} matches"
            f" {trace.request.header('host')}"
            f"{asked}, and it has no default_backend: HAProxy"
            f" {'closes the connection' if trace.is_tcp else 'answers 503'}."
        )
    yield fault(
        where or trace.frontend,
        code="wrong-route",
        explains=(
            _ELSEWHERE | _LOST | {"bad-gateway"} | (_OF_SILENCE if trace.is_tcp else frozenset())
        ),
        cause=cause,
        fix="Add a use_backend for this name and path, or a server to that backend.",
    )


def _lost_upgrade(trace: Trace) -> Iterator[Fault]:
    """A rule that removes Upgrade or Connection from the handshake; most services check both."""
    rules = trace.touched.get("upgrade", [])
    if rules and trace.request.headers.get("upgrade") == "websocket":
        rules = []
    if not rules and "upgrade" not in str(trace.request.headers.get("connection") or "").lower():
        rules = trace.touched.get("connection", [])
    if rules:
        yield fault(
            rules[-1],
            code="upgrade-not-forwarded",
            explains=_LOST,
            cause=f"`{rules[-1]}` removes {rules[-1].words[2]} from the handshake.",
            fix="Remove it, or exclude WebSockets from it.",
            directive=(
                "http-request del-header Upgrade if !{ req.hdr(Upgrade) -i websocket }"
                " or { req.hdr_cnt(Upgrade) gt 1 }"
            ),
        )


def _lost_headers(trace: Trace) -> Iterator[Fault]:
    """Rules that change other headers of the handshake, or of its response."""
    for name, by in _changed(trace, "http-request", ("sec-websocket-key", "sec-websocket-version")):
        yield fault(
            by,
            code="upgrade-not-forwarded",
            explains=_LOST | {"wrong-accept", "bad-gateway", "handshake-refused", "wrong-route"},
            cause=f"`{by}` removes {name} from the handshake, which fails without it.",
            fix="Remove that line.",
        )
    for _, by in _changed(trace, "http-request", ("origin",)):
        yield fault(
            by,
            code="origin-required",
            explains=frozenset({"origin-blocked", "origin-required"}),
            cause=f"`{by}` changes Origin, which the service checks.",
            fix="Remove that line, and add the site's origin to the service's list.",
        )
    answer = ("connection", "upgrade", "sec-websocket-accept")
    for name, by in _changed(trace, "http-response", answer):
        yield fault(
            by,
            code="incomplete-upgrade",
            explains=frozenset({"incomplete-upgrade", "wrong-accept"}),
            cause=f"`{by}` changes {name} in the response to the handshake.",
            fix="Remove that line, or add `unless { status 101 }`.",
            directive=f"{by} unless {{ status 101 }}",
        )


def _changed(trace: Trace, kind: str, names: tuple[str, ...]) -> Iterator[tuple[str, Directive]]:
    """The unconditional rules that remove or replace one of these headers."""
    for section in (trace.frontend, trace.backend):
        for each in section.directives if section is not None else ():
            words = each.words
            if words[0] != kind or len(words) < 3 or {"if", "unless"} & set(words):
                continue
            if words[1] not in ("del-header", "set-header", "replace-header"):
                continue
            is_start = words[3:5] == ("-m", "beg")
            for name in names:
                if words[2].lower() == name or (is_start and name.startswith(words[2].lower())):
                    yield name, each
                    break


def _impatient(trace: Trace) -> Iterator[Fault]:
    """A ``timeout server`` that expires before the service has answered: 504."""
    by = trace.backend.setting("timeout", "server") if trace.backend is not None else None
    limit = seconds(by.words[2]) if by is not None and len(by.words) > 2 else None
    if by is None or limit is None:
        return
    unit = " (without a unit, that is milliseconds)" if is_number(by.words[2]) else ""
    yield fault(
        by,
        code="service-hangs",
        explains=frozenset({"service-hangs"}),
        cause=f"HAProxy waits {limit:g} s for an answer{unit}, and then answers 504: `{by}`.",
        fix="Raise it above the time that the service takes to answer a handshake.",
        directive="timeout server 60s",
        statuses=frozenset({504}),
    )


# --- the backend ----------------------------------------------------------------------------------


def _down(trace: Trace) -> Iterator[Fault]:
    """Servers that HAProxy's own health checks have marked as down."""
    if trace.backend is None:
        return
    states = _states(trace.state, trace.backend.name)
    checked = [each for each in trace.servers if "check" in each.options]
    down = [each for each in checked if states.get(each.directive.words[1], ("", ""))[0] == "DOWN"]
    if not down or len(down) < len(trace.servers):
        return
    reason = states[down[0].directive.words[1]][1]
    check = trace.backend.has_option("httpchk")
    by_check = reason.startswith("Layer7")
    yield fault(
        check if check is not None and by_check else down[0].directive,
        code="bad-gateway",
        explains=frozenset({"bad-gateway", "wrong-route"}),
        cause=(
            f"HAProxy's health check marked every server of backend {trace.backend.name} as down"
            f" ({reason or 'no reason logged'}), so it answers 503."
        ),
        fix=(
            "Change the check to a request that the service answers."
            if by_check
            else "Start the service, or correct the server's address."
        ),
    )
    if reason.startswith("Layer6"):
        yield from _believes(trace)
        if trace.servers[0].value("verify") != "required":
            yield _scheme(trace, "bad-gateway")


def _out(trace: Trace) -> Iterator[Fault]:
    """Servers in maintenance: by their line, or through the stats socket."""
    if trace.backend is None:
        return
    states = _states(trace.state, trace.backend.name)
    by_line = [
        each for each in trace.servers if "disabled" in each.options or each.value("weight") == "0"
    ]
    out = [
        each
        for each in trace.servers
        if states.get(each.directive.words[1], ("", ""))[0] == "MAINT" or each in by_line
    ]
    if not out or len(out) < len(trace.servers):
        return
    yield fault(
        out[0].directive,
        code="bad-gateway",
        explains=frozenset({"bad-gateway", "wrong-route"}),
        cause=(
            f"Every server of backend {trace.backend.name} is in maintenance"
            + (
                " (its line has disabled or weight 0)"
                if by_line
                else ", according to its stats socket"
            )
            + ", so HAProxy answers 503."
        ),
        fix=(
            "Remove that word from the line."
            if by_line
            else f"Enable it: echo 'enable server {trace.backend.name}/{out[0].directive.words[1]}'"
            " | socat - /run/haproxy/admin.sock."
        ),
    )


def _believes(trace: Trace) -> Iterator[Fault]:
    """A certificate of the service that HAProxy verifies, and may reject."""
    server = trace.servers[0]
    if not server.upstream.tls or server.value("verify") != "required":
        return
    name = server.value("verifyhost") or server.value("sni")
    by = server.value("ca-file")
    yield fault(
        server.directive,
        code="upstream-certificate",
        explains=frozenset({"upstream-certificate"}),
        cause="",
        fix="",
    )
    yield fault(
        server.directive,
        code="bad-gateway",
        explains=frozenset({"bad-gateway", "wrong-route"}),
        cause=(
            f"`{server.directive}` accepts the service's certificate only if {by or 'a known CA'}"
            f" signed it{f' and it is for {name}' if name else ''}; otherwise HAProxy answers 503."
        ),
        fix=(
            "Set the CA that signed the service's certificate, and a name in the certificate"
            " (openssl s_client -connect … shows both)."
        ),
        directive="verify required ca-file FILE verifyhost NAME",
    )


def _states(state: ProxyState, backend: str) -> dict[str, tuple[str, str]]:
    """Each server's state and its reason, from HAProxy's statistics, else from its log."""
    found: dict[str, tuple[str, str]] = {}
    for line in state.log:
        logged = _SERVER_STATE.search(line)
        if logged and logged.group(1) == backend:
            found[logged.group(2)] = logged.group(3), logged.group(4) or ""
    for row in statistics(state):
        if row.get("pxname") == backend:
            status = (row.get("status") or "").partition(" ")[0]
            why = found.get(row["svname"], ("", ""))[1] or _CHECKS.get(row.get("check_status", ""))
            found[row["svname"]] = status, why or row.get("check_status", "")
    return found


def _scheme(trace: Trace, *more: str) -> Fault:
    server = trace.servers[0]
    verb = "Remove ssl from" if server.upstream.tls else "Add ssl to"
    return fault(
        server.directive,
        code="upstream-scheme",
        explains=frozenset({"upstream-scheme", *more}),
        cause=(
            f"`{server.directive}` speaks {'TLS' if server.upstream.tls else 'plain HTTP'} to a"
            f" service that does {'not' if server.upstream.tls else 'speak TLS'}."
        ),
        fix=f"{verb} that line.",
    )


def _over_http2(trace: Trace) -> Iterator[Fault]:
    for server in trace.servers:
        first = server.value("alpn").partition(",")[0]
        is_h2 = first == "h2" or server.value("proto") == "h2"
        if is_h2 and "http/1.1" not in server.value("alpn") and server.value("ws") != "h1":
            yield fault(
                server.directive,
                code="h2-websocket",
                explains=_LOST | {"bad-gateway", "h2-websocket", "timeout", "connection-dropped"},
                cause=(
                    f"`{server.directive}` speaks HTTP/2 to the service, which does not"
                    " support WebSockets over it (RFC 8441)."
                ),
                fix=(
                    "Speak HTTP/1.1 to the service; `ws h1` does so for WebSockets only, since 2.5."
                ),
                directive="alpn http/1.1",
            )
            return


def _path(trace: Trace, asked: str) -> Iterator[Fault]:
    """The service is asked for a different path than the client's."""
    path = trace.request.path
    if path == asked:
        return
    levels = (trace.frontend, *((trace.backend,) if trace.backend is not None else ()))
    by = next(
        (
            each
            for section in reversed(levels)
            for each in reversed(section.directives)
            if each.words[0] == "http-request"
            and len(each.words) > 1
            and each.words[1] in ("replace-path", "set-path", "replace-pathq", "set-pathq")
        ),
        None,
    )
    doubled = "//" in path and "//" not in asked
    code = "slash-mismatch" if doubled else "page-instead"
    yield fault(
        by,
        code=code,
        explains=frozenset({*_ELSEWHERE, *_LOST, "slash-mismatch"})
        if doubled
        else frozenset({"page-instead"}),
        cause=(
            f"The service is asked for {path} instead of {asked}: `{by}`."
            if by is not None
            else f"The service is asked for {path} instead of {asked}."
        ),
        fix=(
            "Exclude the WebSocket's path from the rewriting, or rewrite it to the service's own"
            " path."
        ),
        is_of_path=True,
    )
