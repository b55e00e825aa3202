"""The lines of Apache's configuration that decide about a symptom.

None of these is wrong in itself; if a check failed with that symptom, this is the line.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from deployer.proxies.apache.headers import is_conditional
from deployer.proxies.apache.tree import Directive
from deployer.proxies.apache.virtual_hosts import address_of
from deployer.proxies.inspect.model import Fault, fault

if TYPE_CHECKING:
    from deployer.proxies.apache.path import Trace

_H2_WEBSOCKETS_SOUND = (2, 4, 60)


def faults_of(trace: Trace) -> Iterator[Fault]:
    """The lines that would explain a failure of the request."""
    for rule in (_idle, _any_upgrade, _host, _scheme, _appended, _forwarded_proto, _origins):
        if trace.members:
            yield from rule(trace)
    for rule in (_over_http2, _banner, _tls_versions, _certificate):
        yield from rule(trace)


def _place(trace: Trace) -> Directive | None:
    return trace.members[0].directive if trace.members else trace.site


def _idle(trace: Trace) -> Iterator[Fault]:
    seconds, words, by = trace.idle()
    yield fault(
        by or _place(trace),
        code="idle-cut",
        explains=frozenset({"idle-cut"}),
        cause=(
            f"Apache closes idle connections after {seconds:g} s: {words}. The longer of"
            " Timeout and the ProxyPass line's timeout= applies; a shorter timeout= has no effect."
        ),
        fix=(
            "Raise timeout= of the ProxyPass line above the service's longest pause, or make the"
            " service ping more often."
        ),
        directive="timeout=3600",
    )


def _any_upgrade(trace: Trace) -> Iterator[Fault]:
    member = trace.members[0]
    passed = trace.worker.made_by if trace.worker is not None else trace.passed
    if passed is not None and passed.upgrade == "any":
        yield fault(
            passed.directive,
            code="h2c-tunnel",
            explains=frozenset({"h2c-tunnel"}),
            cause=(
                "upgrade=ANY forwards `Upgrade: h2c` too: through such a tunnel, a client"
                " reaches every path of the service, past Apache's rules."
            ),
            fix="Write upgrade=websocket.",
            directive="upgrade=websocket",
        )
    elif member.options.get("upgrade", "").lower() == "any":
        yield fault(
            member.directive,
            code="h2c-tunnel",
            explains=frozenset({"h2c-tunnel"}),
            cause="upgrade=ANY forwards `Upgrade: h2c` too.",
            fix="Write upgrade=websocket.",
            directive="upgrade=websocket",
        )


def _host(trace: Trace) -> Iterator[Fault]:
    literal = next(
        (
            each
            for each in trace.config.all_of("requestheader", trace.site, *trace.locations)
            if [word.lower() for word in each.words[:2]] == ["set", "host"]
            and not is_conditional(each)
        ),
        None,
    )
    explains = frozenset({"host-rewritten", "port-lost", "origin-blocked"})
    if literal is not None:
        yield fault(
            literal,
            code="host-rewritten",
            explains=explains,
            cause=(
                f"RequestHeader {' '.join(literal.words)} sends the service a different Host"
                " than the client's, and the service compares Origin with it."
            ),
            fix="Remove that line, and set ProxyPreserveHost On.",
            directive="ProxyPreserveHost On",
        )
    elif not trace.is_on("proxypreservehost"):
        off = trace.setting("proxypreservehost")
        upstream = trace.members[0].upstream
        yield fault(
            off or _place(trace),
            code="host-rewritten",
            explains=explains,
            cause=(
                f"ProxyPreserveHost is {'off' if off else 'not set, and off by default'}: the"
                " service"
                f" sees Host {address_of(upstream)} instead of {trace.name}, and a check of"
                " Origin against Host fails."
            ),
            fix="Set ProxyPreserveHost On in the site.",
            directive="ProxyPreserveHost On",
        )


def _scheme(trace: Trace) -> Iterator[Fault]:
    member = trace.members[0]
    if member.upstream.tls and not trace.is_on("sslproxyengine"):
        yield fault(
            member.directive,
            code="upstream-scheme",
            explains=frozenset({"upstream-scheme", "bad-gateway", "wrong-route"}),
            cause=(
                f"The service's address has {member.scheme}://, but SSLProxyEngine is off: Apache"
                " answers 500 and logs `SSL Proxy requested … but not enabled`."
            ),
            fix=(
                "Set SSLProxyEngine on in the site, or write http:// if the service speaks plain"
                " HTTP."
            ),
            directive="SSLProxyEngine on",
        )
        return
    other = {"http": "https", "https": "http", "ws": "wss", "wss": "ws"}.get(member.scheme, "https")
    yield fault(
        member.directive,
        code="upstream-scheme",
        explains=frozenset({"upstream-scheme"}),
        cause=(
            f"Apache speaks {member.scheme}:// to {address_of(member.upstream)}, and the service"
            f" {'does not speak TLS' if member.upstream.tls else 'speaks TLS'} there."
        ),
        fix=f"Write {other}:// in that line.",
        directive=f"{other}://{address_of(member.upstream)}{member.path}",
    )


def _appended(trace: Trace) -> Iterator[Fault]:
    """mod_proxy appends the client's address to what the client sent."""
    headers = list(trace.config.all_of("requestheader", trace.site, *trace.locations))
    handled = {
        word.lower()
        for each in headers
        if each.words[:1] and each.words[0].lower() in ("unset", "set")
        for word in each.words[1:2]
    }
    if "x-forwarded-for" in handled:
        return
    add = trace.setting("proxyaddheaders")
    yield fault(
        add or _place(trace),
        code="forwarded-for-appended",
        explains=frozenset({"forwarded-for-appended"}),
        cause=(
            "mod_proxy keeps the X-Forwarded-For that a client sends, and appends to it: a service"
            " that uses the first address believes whatever the client claims."
        ),
        fix="Unset the header before mod_proxy adds its own.",
        directive="RequestHeader unset X-Forwarded-For early\nRequestHeader unset Forwarded",
        severity="warning",
        stands_alone=True,
    )


def _forwarded_proto(trace: Trace) -> Iterator[Fault]:
    said = [
        each
        for each in trace.config.all_of("requestheader", trace.site, *trace.locations)
        if [word.lower() for word in each.words[:2]] == ["set", "x-forwarded-proto"]
    ]
    wrong = [each for each in said if each.words[2:3] == ("http",)]
    if trace.tls and (not said or wrong):
        yield fault(
            wrong[-1] if wrong else _place(trace),
            code="redirect-loop",
            explains=frozenset({"redirect-loop"}),
            cause=(
                f"RequestHeader {' '.join(wrong[-1].words)} says http although the client used"
                " https."
                if wrong
                else "The service does not know that the client used https (no RequestHeader sets"
                " X-Forwarded-Proto), so it keeps redirecting to https."
            ),
            fix="Set it to https in the site on port 443.",
            directive='RequestHeader set X-Forwarded-Proto "https"',
        )


def _origins(trace: Trace) -> Iterator[Fault]:
    groups = (
        trace.config.directives,
        trace.site.children if trace.site else (),
        *(each.children for each in trace.locations),
    )
    for group in groups:
        for each in group:
            text = " ".join(each.words).lower()
            is_rule = each.name in ("if", "elseif", "setenvif", "rewritecond", "require")
            if is_rule and "origin" in text:
                yield fault(
                    each,
                    code="origin-blocked",
                    explains=frozenset({"origin-blocked"}),
                    cause=f"Apache itself checks Origin: {' '.join(each.words)}.",
                    fix="Add the origins of the pages that may connect to that rule.",
                )
                return


def _over_http2(trace: Trace) -> Iterator[Fault]:
    found = trace.setting("h2websockets")
    if found is None or not trace.is_on("h2websockets"):
        return
    version = trace.state.version_numbers
    is_old = bool(version) and version < _H2_WEBSOCKETS_SOUND
    yield fault(
        found,
        code="h2-websocket",
        explains=frozenset({"h2-websocket"}),
        cause=(
            "H2WebSockets on offers WebSockets over HTTP/2"
            + (
                f", and in Apache {trace.state.version} that crashes (fixed in 2.4.60)."
                if is_old
                else ", which do not work for this path."
            )
        ),
        fix=(
            "Set H2WebSockets off: browsers then use HTTP/1.1 for WebSockets."
            + (" Or update Apache." if is_old else "")
        ),
        directive="H2WebSockets off",
    )


def _banner(trace: Trace) -> Iterator[Fault]:
    found = trace.config.setting("servertokens")
    if found is None or not found.words or found.words[0].lower() not in ("prod", "productonly"):
        yield fault(
            found,
            code="version-banner",
            explains=frozenset({"version-banner"}),
            cause=(
                f"ServerTokens is {found.words[0] if found and found.words else 'Full'}: Apache"
                " discloses its version to everyone."
            ),
            fix="Set ServerTokens Prod.",
            severity="warning",
            directive="ServerTokens Prod",
        )


def _tls_versions(trace: Trace) -> Iterator[Fault]:
    found = trace.setting("sslprotocol")
    if not trace.tls or not _old_versions(found.words if found is not None else ("all",)):
        return
    yield fault(
        found,
        code="tls-old-version",
        explains=frozenset({"tls-old-version"}),
        cause=(
            f"SSLProtocol {' '.join(found.words)} enables old versions of TLS."
            if found is not None
            else "SSLProtocol is not set, and the library's old versions of TLS are enabled."
        ),
        fix="List the versions to enable.",
        severity="warning",
        directive="SSLProtocol -all +TLSv1.2 +TLSv1.3",
    )


def _old_versions(words: tuple[str, ...]) -> set[str]:
    """TLS 1.0 and 1.1, if enabled; a word without a sign replaces those before."""
    old = {"tlsv1", "tlsv1.1"}
    on: set[str] = set()
    for word in words:
        name = word.lower().lstrip("+-")
        named = old if name == "all" else {name} & old
        if word.startswith("-"):
            on -= named
        else:
            on = on | named if word.startswith("+") else set(named)
    return on


def _certificate(trace: Trace) -> Iterator[Fault]:
    found = trace.setting("sslcertificatefile")
    if found is None or not found.words or not trace.tls:
        return
    chain = trace.setting("sslcertificatechainfile")
    if chain is None:
        yield fault(
            found,
            code="tls-incomplete-chain",
            explains=frozenset({"tls-incomplete-chain"}),
            cause=(
                f"{found.words[0]} is all that Apache sends, and it has no intermediate"
                " certificates."
            ),
            fix=(
                "Set SSLCertificateFile to a file with the certificate followed by the"
                " intermediates."
            ),
            directive=f"SSLCertificateFile {_full_chain(found.words[0])}",
        )


def _full_chain(path: str) -> str:
    return path.replace("/cert.pem", "/fullchain.pem") if path.endswith("/cert.pem") else path
