"""Faults of access rules, headers, limits and balancers, which make Apache refuse a request."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from deployer.proxies.apache import rewrite_faults
from deployer.proxies.apache.headers import is_conditional
from deployer.proxies.apache.rewrite_faults import quoted
from deployer.proxies.apache.tree import Directive
from deployer.proxies.inspect.model import Fault, fault
from deployer.text.numbers import is_number

if TYPE_CHECKING:
    from deployer.proxies.apache.path import Trace

_REFUSED = frozenset({"origin-blocked", "wrong-route", "handshake-refused", "page-instead"})
_ELSEWHERE = frozenset({"page-instead", "wrong-route", "slash-mismatch"})
_LIMITS = {
    "limitrequestfields": ("LimitRequestFields", 100),
    "limitrequestfieldsize": ("LimitRequestFieldSize", 8190),
    "limitrequestline": ("LimitRequestLine", 8190),
}
#: Below these, a browser's handshake does not fit.
_SMALL = {"limitrequestfields": 30, "limitrequestfieldsize": 2048, "limitrequestline": 1024}
_SERVER = ("http:", "https:", "ws:", "wss:")


# --- access ---------------------------------------------------------------------------------------


def _levels(trace: Trace) -> Iterator[Directive]:
    """The sections whose access rules apply: the site's proxies and locations, and nested ones."""
    target = trace.passed.target if trace.passed is not None else ""
    if not target and trace.rewritten is not None and trace.rewritten.is_proxied:
        target = trace.rewritten.target
    groups = (trace.config.directives, trace.site.children if trace.site is not None else ())
    for group in groups:
        for each in group:
            if each.is_section and each.name == "proxy" and target and each.words:
                pattern = each.words[0]
                if pattern == "*" or target.startswith(pattern.rstrip("*")):
                    yield from _with_inner(each)
    for each in trace.locations:
        yield from _with_inner(each)
    for each in trace.site.children if trace.site is not None else ():
        if each.is_section and each.name == "if" and _is_of_websockets(each):
            yield each


def _with_inner(section: Directive) -> Iterator[Directive]:
    yield section
    for each in section.children:
        methods = {word.upper() for word in each.words}
        is_get = (each.name == "limit" and "GET" in methods) or (
            each.name == "limitexcept" and "GET" not in methods
        )
        if each.is_section and (is_get or each.name in ("requireall", "requireany")):
            yield from _with_inner(each)
        elif each.is_section and each.name == "if" and _is_of_websockets(each):
            yield each


def _is_of_websockets(section: Directive) -> bool:
    text = " ".join(section.words).lower()
    return "upgrade" in text and "origin" not in text


_BY_ADDRESS = ("ip", "host", "local", "forward-dns")


def by_access(trace: Trace) -> Iterator[Fault]:
    """Access rules: Require by address, and the older Order, Allow and Deny."""
    for section in _levels(trace):
        for each in section.children:
            words = [word.lower() for word in each.words]
            if each.name == "require" and words[:1] and words[0] in _BY_ADDRESS:
                yield _for_some(each, "Require", trace)
            elif each.name == "require" and words == ["all", "denied"]:
                yield _for_all(each, "Require", section, trace)
            elif each.name == "deny" and words[:1] == ["from"]:
                is_all = words[1:2] == ["all"]
                lets_in = any(other.name == "allow" for other in section.children)
                is_for_all = is_all and not lets_in
                make = _for_all if is_for_all else None
                yield (
                    make(each, "Deny", section, trace) if make else _for_some(each, "Deny", trace)
                )


def _for_all(by: Directive, name: str, section: Directive, trace: Trace) -> Fault:
    where = f"<{section.name.capitalize()} {' '.join(section.words)}>"
    return fault(
        by,
        code="wrong-route",
        explains=_REFUSED | {"login-required"},
        cause=(
            f"{quoted(by, name)} in {where}: Apache refuses every request for {trace.path}, with"
            " 403."
        ),
        fix="Exclude the WebSocket's path from that rule.",
        directive="Require all granted",
        statuses=frozenset({403}),
    )


def _for_some(by: Directive, name: str, trace: Trace) -> Fault:
    return fault(
        by,
        code="wrong-route",
        explains=_REFUSED,
        cause=(
            f"{quoted(by, name)}: Apache admits only some clients for {trace.path}, and answers"
            " 403 to"
            " the others (for a request made on the host itself, the client is the host)."
        ),
        fix="Admit the intended clients.",
        statuses=frozenset({403}),
        is_by_address=True,
    )


# --- sizes, headers, balancers --------------------------------------------------------------------


def by_limits(trace: Trace) -> Iterator[Fault]:
    """Limits too low for the headers of a handshake: 400."""
    for name, (shown, usual) in _LIMITS.items():
        found = trace.setting(name)
        number = found.words[0] if found is not None and found.words else ""
        if found is None or not is_number(number) or not 0 < int(number) < _SMALL[name]:
            continue
        yield fault(
            found,
            code="handshake-refused",
            explains=frozenset({"handshake-refused", "upgrade-not-forwarded"}),
            cause=f"{shown} {number} is too low for a handshake: Apache answers 400.",
            fix=f"Remove that line (the default is {usual}).",
            directive=f"{shown} {usual}",
            statuses=frozenset({400, 414}),
        )


def by_headers(trace: Trace) -> Iterator[Fault]:
    """RequestHeader lines that remove or change other headers of the handshake."""
    for each in trace.config.all_of("requestheader", trace.site, *trace.locations):
        words = [word.lower() for word in each.words]
        if len(words) < 2 or is_conditional(each) or words[0] not in ("unset", "set", "edit"):
            continue
        if words[1] in ("sec-websocket-key", "sec-websocket-version"):
            yield fault(
                each,
                code="upgrade-not-forwarded",
                explains=frozenset({"upgrade-not-forwarded", "bad-gateway", "handshake-refused"}),
                cause=(
                    "A header that every handshake needs is removed by"
                    f" {quoted(each, 'RequestHeader')}."
                ),
                fix="Remove that line.",
            )
        elif words[1] == "sec-websocket-protocol":
            yield fault(
                each,
                code="subprotocol-missing",
                explains=frozenset(
                    {"subprotocol-missing", "subprotocols-refused", "handshake-refused"}
                ),
                cause=(
                    "The service does not see the subprotocols that clients offer:"
                    f" {quoted(each, 'RequestHeader')}."
                ),
                fix="Remove that line.",
            )
        elif words[1] == "origin":
            yield fault(
                each,
                code="origin-required",
                explains=frozenset({"origin-blocked", "origin-required"}),
                cause=(
                    f"{quoted(each, 'RequestHeader')} changes Origin, which the service checks."
                ),
                fix="Remove that line, and add the site's origin to the service's list.",
            )


def by_balancer(trace: Trace) -> Iterator[Fault]:
    """A balancer with no member, or none in use: 503."""
    passed = trace.passed
    if passed is None or not passed.target.lower().startswith("balancer://"):
        return
    broken = frozenset({"bad-gateway", "wrong-route", "handshake-refused"})
    if not trace.members:
        name = passed.target[len("balancer://") :].partition("/")[0]
        yield fault(
            passed.directive,
            code="bad-gateway",
            explains=broken,
            cause=f"There is no BalancerMember of balancer://{name}: Apache answers 503.",
            fix=f"Write the same name here and in <Proxy balancer://{name}>.",
        )
    elif all(
        {"d", "s", "e"} & set(each.options.get("status", "").lower()) for each in trace.members
    ):
        yield fault(
            trace.members[0].directive,
            code="bad-gateway",
            explains=broken,
            cause=(
                f"{quoted(trace.members[0].directive, 'BalancerMember')} disables it, and no other"
                " member is in use: Apache answers 503."
            ),
            fix="Remove status= from that line.",
        )


def by_match(trace: Trace) -> Iterator[Fault]:
    """A ProxyPass in <LocationMatch>: its pattern is read as a path, and never matches."""
    for section in trace.locations:
        is_pattern = section.name == "locationmatch" or section.words[:1] == ("~",)
        for each in section.children if is_pattern else ():
            if each.name == "proxypass" and each.words and each.words[0] != "!":
                yield fault(
                    each,
                    code="wrong-route",
                    explains=_REFUSED | {"slash-redirect"},
                    cause=(
                        f"{quoted(each, 'ProxyPass')} is in <LocationMatch>, where the pattern is"
                        " read as a path: it matches nothing."
                    ),
                    fix="Write ProxyPassMatch instead, or use <Location>.",
                    directive=f"ProxyPassMatch {each.words[0].rstrip('/')}$0",
                )


def by_certificate(trace: Trace) -> Iterator[Fault]:
    """A service's certificate that Apache checks; by default, only its name."""
    if not trace.members or not trace.members[0].upstream.tls or not trace.is_on("sslproxyengine"):
        return
    yield fault(
        trace.members[0].directive,
        code="upstream-certificate",
        explains=frozenset({"upstream-certificate"}),
        cause="",
        fix="",
    )
    log = [line for line in trace.state.log if "AH02411" in line or "AH02039" in line]
    by = trace.setting("sslproxyverify") or trace.members[0].directive
    off = trace.setting("sslproxycheckpeername")
    checks = off is None or [word.lower() for word in off.words[:1]] != ["off"]
    if not checks and not log:
        return
    yield fault(
        trace.members[0].directive if checks else by,
        code="bad-gateway",
        explains=frozenset(
            {"bad-gateway", "wrong-route"} | ({"handshake-refused"} if log else set())
        ),
        cause=(
            f"Apache checks that the service's certificate is for {trace.members[0].upstream.host}"
            " (SSLProxyCheckPeerName, on by default), and answers 500 if it is not"
            + (": its log says so (AH02411)." if log else ".")
        ),
        fix="Use the name in the service's certificate; on loopback, the check may be off.",
        directive="SSLProxyCheckPeerName off",
    )


def by_proxy_line(trace: Trace) -> Iterator[Fault]:
    """mod_remoteip that expects a PROXY line, and disconnects clients that send none."""
    found = trace.setting("remoteipproxyprotocol")
    if found is not None and trace.is_on("remoteipproxyprotocol"):
        yield fault(
            found,
            code="connection-dropped",
            explains=frozenset(
                {"connection-dropped", "not-http", "tls-failed", "handshake-refused"}
            ),
            cause=(
                "RemoteIPProxyProtocol On expects each connection to start with a PROXY line, as"
                " sent by a load balancer in front, and disconnects clients that send none."
            ),
            fix="Set it Off if clients connect directly to Apache.",
            directive="RemoteIPProxyProtocol Off",
            is_of_line=True,
        )


RULES: tuple[Callable[[Trace], Iterator[Fault]], ...] = (
    by_proxy_line,
    rewrite_faults.by_rules,
    by_match,
    rewrite_faults.in_folders,
    by_balancer,
    by_headers,
    by_access,
    by_limits,
    by_certificate,
)
