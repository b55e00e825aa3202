"""The lines of HAProxy's configuration that decide about a symptom.

None of these is wrong in itself; if a check failed with that symptom, this is the line.
"""

from __future__ import annotations

from collections.abc import Iterator

from deployer.proxies.haproxy.config import seconds
from deployer.proxies.haproxy.path import Trace, bind_of, trace_of
from deployer.proxies.inspect.model import Directive, Fault, fault

_SHORT_DRAIN_S = 600.0
_OF_H2C = ("h2c", "websocket, h2c")


def pointers(trace: Trace) -> Iterator[Fault]:
    """The lines that would explain a failure of the request."""
    if trace.end is None and trace.servers:
        for rule in (_ignored_tunnel, _idle, _scheme, _host, _h2c, _appended, _proto):
            yield from rule(trace)
    for rule in (_door, _drain, _certificate, _over_http2):
        yield from rule(trace)


def _ignored_tunnel(trace: Trace) -> Iterator[Fault]:
    """``timeout tunnel`` has no effect in a frontend; only ``haproxy -c`` warns about that."""
    if trace.frontend.kind == "listen" or trace.backend is None:
        return
    for each in trace.frontend.own("timeout", "tunnel"):
        own = trace.backend.setting("timeout", "tunnel")
        limit, words, _ = trace.idle()
        yield fault(
            each,
            code="tunnel-timeout-ignored",
            explains=frozenset({"idle-cut", "tunnel-timeout-ignored"})
            if own is None
            else frozenset({"tunnel-timeout-ignored"}),
            cause=(
                f"`{each}` is in frontend {trace.frontend.name}, where HAProxy ignores it"
                f" (`haproxy -c` warns): {words} applies, which is"
                f" {f'{limit:g} s' if limit is not None else 'no limit'}."
            ),
            fix="Move that line to the backend, or to defaults.",
            directive=str(each),
            severity="warning",
            stands_alone=True,
        )


def _idle(trace: Trace) -> Iterator[Fault]:
    limit, words, by = trace.idle()
    if limit is None:
        return
    is_tunnel = by is not None and by.words[:2] == ("timeout", "tunnel")
    yield fault(
        by,
        code="idle-cut",
        explains=frozenset({"idle-cut"}),
        cause=(
            f"HAProxy closes idle connections after {limit:g} s: {words}"
            + (
                "."
                if is_tunnel
                else "; there is no timeout tunnel, so the shorter of timeout client"
                " and timeout server applies."
            )
        ),
        fix=(
            "Raise timeout tunnel above the service's longest pause, or make the service ping more"
            " often."
        ),
        directive="timeout tunnel 1h",
    )


def _scheme(trace: Trace) -> Iterator[Fault]:
    server = trace.servers[0]
    speaks = "TLS" if server.upstream.tls else "plain HTTP"
    yield fault(
        server.directive,
        code="upstream-scheme",
        explains=frozenset({"upstream-scheme"}),
        cause=(
            f"`{server.directive}` speaks {speaks} to the service, which"
            f" {'does not speak TLS' if server.upstream.tls else 'speaks TLS'} there."
        ),
        fix=f"{'Remove ssl from' if server.upstream.tls else 'Add ssl to'} that line.",
    )


def _host(trace: Trace) -> Iterator[Fault]:
    for by in trace.touched.get("host", [])[-1:]:
        value = trace.request.headers.get("host")
        is_short = value == trace.request.name
        yield fault(
            by,
            code="port-lost" if is_short else "host-rewritten",
            explains=frozenset({"host-rewritten", "port-lost", "origin-blocked"}),
            cause=(
                f"`{by}` sends the service a different Host than the client's, and the service"
                " compares Origin with it."
            ),
            fix="Remove that line: HAProxy forwards Host unchanged.",
        )


def _h2c(trace: Trace) -> Iterator[Fault]:
    passed = [spelling for spelling in _OF_H2C if _is_passed_on(trace, spelling)]
    if not passed:
        return
    yield fault(
        trace.chosen_by,
        code="h2c-tunnel",
        explains=frozenset({"h2c-tunnel"}),
        cause=(
            f"No rule removes `Upgrade: {passed[0]}`, and HAProxy"
            f" {trace.state.version or 'before 3.0'} forwards it: through such a tunnel, a client"
            " reaches every path of the service, past HAProxy's rules."
        ),
        fix="Forward only WebSocket upgrades in the frontend.",
        directive=(
            "http-request del-header Upgrade if !{ req.hdr(Upgrade) -i websocket }"
            " or { req.hdr_cnt(Upgrade) gt 1 }"
        ),
    )


def _is_passed_on(trace: Trace, upgrade: str) -> bool:
    """Whether a request with such an upgrade reaches the service unchanged."""
    asked = trace.request
    other = trace_of(
        trace.state,
        name=asked.name,
        port=asked.port,
        path=trace.asked,
        tls=asked.tls,
        upgrade=upgrade,
    )
    return (
        other is not None
        and other.end is None
        and bool(other.servers)
        and other.request.headers.get("upgrade") == upgrade
    )


def _appended(trace: Trace) -> Iterator[Fault]:
    if trace.touched.get("x-forwarded-for"):
        return
    sections = [each for each in (trace.frontend, trace.backend) if each is not None]
    option = next(filter(None, (each.has_option("forwardfor") for each in sections)), None)
    if option is None:
        cause = "Nothing sets X-Forwarded-For: the value that a client sends reaches the service."
    elif "if-none" in option.words:
        cause = f"`{option}` leaves a client's own X-Forwarded-For unchanged."
    else:
        cause = (
            f"`{option}` adds a second X-Forwarded-For after the client's own: a service that uses"
            " the first one believes whatever the client claims."
        )
    yield fault(
        option or trace.chosen_by,
        code="forwarded-for-appended",
        explains=frozenset({"forwarded-for-appended"}),
        cause=cause,
        fix="Set the header instead of appending to it.",
        directive="http-request set-header X-Forwarded-For %[src]",
        severity="warning",
        stands_alone=option is not None,
    )


def _proto(trace: Trace) -> Iterator[Fault]:
    value = trace.request.headers.get("x-forwarded-proto")
    if not trace.request.tls or value == "https":
        return
    rules = trace.touched.get("x-forwarded-proto", [])
    yield fault(
        rules[-1] if rules else trace.chosen_by,
        code="redirect-loop",
        explains=frozenset({"redirect-loop"}),
        cause=(
            f"`{rules[-1]}` does not set https although the client used https."
            if rules
            else "The service does not know that the client used https (nothing sets"
            " X-Forwarded-Proto), so it keeps redirecting to https."
        ),
        fix="Set it in the frontend.",
        directive="http-request set-header X-Forwarded-Proto https if { ssl_fc }",
    )


def origins(trace: Trace) -> Iterator[Fault]:
    """Rules that refuse by Origin: right or wrong, these are the lines to check."""
    for rule in trace.unsure:
        text = with_conditions(trace, rule)
        if "origin" in text.lower() and rule.words[1:2] in (("deny",), ("reject",), ("return",)):
            yield fault(
                rule,
                code="origin-blocked",
                explains=frozenset({"origin-blocked"}),
                cause=f"HAProxy itself checks Origin: `{rule}`.",
                fix="Add the origins of the pages that may connect to that rule.",
            )
            return


def with_conditions(trace: Trace, rule: Directive) -> str:
    """A rule with the tests that its conditions name."""
    names = dict.fromkeys(word.lstrip("!") for word in rule.words)
    sections = [each for each in (trace.frontend, trace.backend) if each is not None]
    tests = [
        str(each) for section in sections for name in names for each in section.own("acl", name)
    ]
    return " ".join((str(rule), *tests))


# --- the frontend, and HAProxy as a whole ---------------------------------------------------------


def _drain(trace: Trace) -> Iterator[Fault]:
    by = trace.config.setting("hard-stop-after")
    if by is None or len(by.words) < 2:
        return
    limit = seconds(by.words[1])
    if limit is not None and limit < _SHORT_DRAIN_S:
        yield fault(
            by,
            code="drain-cut",
            explains=frozenset({"drain-cut", "canary-lost"}),
            cause=(
                f"`{by}`: {limit:g} s after each reload, HAProxy closes all connections of"
                " the old process."
            ),
            fix="Raise it, and reload less often.",
            directive="hard-stop-after 1h",
        )


def _door(trace: Trace) -> Iterator[Fault]:
    """HAProxy closes plain HTTP connections on a TLS port without an answer."""
    bind = bind_of(trace.frontend, trace.request.port)
    if bind is None or trace.is_tcp or trace.request.tls == ("ssl" in bind.words):
        return
    port = trace.request.port
    if trace.request.tls:
        yield fault(
            bind,
            code="tls-not-spoken",
            explains=frozenset({"tls-not-spoken", "tls-failed", "tls-stalled"}),
            cause=f"`{bind}` speaks plain HTTP on port {port}, and wss:// is TLS.",
            fix="Add ssl crt and the file with certificate and key, or use ws://.",
            directive=f"{bind} ssl crt FILE",
        )
    else:
        yield fault(
            bind,
            code="plain-http-on-https",
            explains=frozenset({"plain-http-on-https", "connection-dropped", "not-http"}),
            cause=(
                f"`{bind}` speaks TLS on port {port}, and ws:// is plain HTTP: HAProxy closes"
                " the connection without an answer."
            ),
            fix=f"Use wss:// on port {port}.",
        )


def _certificate(trace: Trace) -> Iterator[Fault]:
    bind = bind_of(trace.frontend, trace.request.port)
    if bind is None or "crt" not in bind.words[:-1] or not trace.request.tls:
        return
    path = bind.words[bind.words.index("crt") + 1]
    yield fault(
        bind,
        code="tls-incomplete-chain",
        explains=frozenset({"tls-incomplete-chain"}),
        cause=f"{path} is all that HAProxy sends, and it has no intermediate certificates.",
        fix="Put the certificate, the intermediates and the key into the file, in this order.",
    )
    usual = trace.config.setting("ssl-default-bind-options")
    words = (*bind.words, *(usual.words if usual is not None else ()))
    lowest = words[words.index("ssl-min-ver") + 1] if "ssl-min-ver" in words[:-1] else ""
    if lowest in ("TLSv1.2", "TLSv1.3") or {"no-tlsv10", "no-tlsv11"} <= set(words):
        return
    yield fault(
        usual or bind,
        code="tls-old-version",
        explains=frozenset({"tls-old-version"}),
        cause=f"`{usual or bind}` enables old versions of TLS.",
        fix="Set the lowest version to accept.",
        directive="ssl-default-bind-options ssl-min-ver TLSv1.2",
        severity="warning",
    )


def _over_http2(trace: Trace) -> Iterator[Fault]:
    bind = bind_of(trace.frontend, trace.request.port)
    if bind is None or not trace.request.tls or trace.config.setting(_NO_ANNOUNCEMENT) is not None:
        return
    alpn = bind.words[bind.words.index("alpn") + 1] if "alpn" in bind.words[:-1] else ""
    for rule in _against_http2(trace):
        yield fault(
            rule,
            code="h2-websocket",
            explains=frozenset({"h2-websocket"}),
            cause=f"HAProxy offers WebSockets over HTTP/2 (RFC 8441), and `{rule}` refuses them.",
            fix="Stop offering them, so that browsers use HTTP/1.1; or remove that rule.",
            directive=_NO_ANNOUNCEMENT,
            stands_alone="h2" in alpn.split(","),
        )
    yield fault(
        bind,
        code="h2-websocket",
        explains=frozenset({"h2-websocket"}),
        cause=(
            "HAProxy offers WebSockets over HTTP/2 (RFC 8441) wherever it speaks HTTP/2, and they"
            " do not work for this path."
        ),
        fix="Stop offering them, so that browsers use HTTP/1.1; or add `ws h1` to the servers.",
        directive=_NO_ANNOUNCEMENT,
    )


def _against_http2(trace: Trace) -> Iterator[Directive]:
    """Rules that refuse requests because they are WebSockets over HTTP/2."""
    for section in (trace.frontend, trace.backend):
        for each in section.directives if section is not None else ():
            text = str(each).lower()
            is_for_http2 = "ssl_fc_alpn h2" in text or "http_2.0" in text
            is_refusal = each.words[:1] == ("http-request",) and each.words[1:2] in (
                ("deny",),
                ("reject",),
                ("return",),
            )
            if is_for_http2 and is_refusal and ("upgrade" in text or "websocket" in text):
                yield each


_NO_ANNOUNCEMENT = "h2-workaround-bogus-websocket-clients"
