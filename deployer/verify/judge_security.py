"""What strangers may do on a site, judged from the answers to what they would try. Pure.

What would let somebody in is an error; what tells or costs more than it must is a warning, and the
check passes. A check of which the route's own handshake already fails is skipped: the one finding
about that is enough.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from deployer.model import Finding, Proxy, Severity
from deployer.verify import vocabulary
from deployer.verify.attempt import Attempt, printable
from deployer.verify.causes import Diagnosis
from deployer.verify.checks import FOREIGN_ORIGIN, PlannedCheck
from deployer.verify.compare import made
from deployer.verify.probes import HttpProbe
from deployer.verify.security import ECHOED, FORGED, PLAIN_S
from deployer.verify.spellings import is_tunnel, upgraded_to
from deployer.verify.verdict import Case, Verdict

_FAILURES = frozenset({500, 502, 503, 504})
_BANNERS: Mapping[Proxy, re.Pattern[str]] = {
    "nginx": re.compile(r"(?i)\b(nginx|openresty|angie|tengine)/\d"),
    "apache": re.compile(r"(?i)\b(apache|httpd)/\d"),
    "haproxy": re.compile(r"(?i)\bhaproxy[/ ]\d"),
}
_BANNER_FIX: Mapping[Proxy, str] = {
    "nginx": "server_tokens off;",
    "apache": "ServerTokens Prod",
    "haproxy": "http-response del-header Server",
}
_OLD_TLS_FIX: Mapping[Proxy, str] = {
    "nginx": "ssl_protocols TLSv1.2 TLSv1.3;",
    "apache": "SSLProtocol -all +TLSv1.2 +TLSv1.3",
    "haproxy": "ssl-default-bind-options ssl-min-ver TLSv1.2",
}
_H2C_FIX: Mapping[Proxy, str] = {
    "nginx": 'map $http_upgrade $site_upgrade { default ""; websocket websocket; }',
    "apache": "upgrade=websocket",
    "haproxy": (
        "http-request del-header Upgrade if !{ req.hdr(Upgrade) -i websocket }"
        " or { req.hdr_cnt(Upgrade) gt 1 }"
    ),
}
_FORWARDED_FIX: Mapping[Proxy, str] = {
    "nginx": 'proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header Forwarded "";',
    "apache": "RequestHeader unset X-Forwarded-For early",
    "haproxy": "http-request set-header X-Forwarded-For %[src]",
}
_HTTP2_FIX: Mapping[Proxy, str] = {
    "nginx": "",
    "apache": "H2WebSockets off",
    "haproxy": "h2-workaround-bogus-websocket-clients",
}


def expires_soon(check: PlannedCheck, attempt: Attempt) -> Finding | None:
    """A warning about a certificate that is good, and will not be for long."""
    words = attempt.facts.get("soon")
    if not words:
        return None
    diagnosis = Diagnosis(
        "tls-expires-soon",
        "It should have been renewed by now: the renewal fails, or has not been set up; or it was"
        " renewed, and the proxy has not been reloaded since.",
        "deployer certs status SITE.yml says which; then deployer certs renew SITE.yml.",
    )
    symptom = f"{check.probe.uri} {words}"
    return _severe("warning", made(diagnosis, hop=check.hop, symptom=symptom, attempt=attempt))


def h2c(case: Case) -> Verdict:
    """No spelling of a request for HTTP/2 in cleartext may open anything."""
    attempt = case.attempt
    if is_tunnel(attempt):
        named = upgraded_to(attempt) or "nothing"
        saying = f"answered 101 to Upgrade: h2c, with Upgrade: {printable(named, limit=40)}"
        diagnosis = Diagnosis(
            "h2c-tunnel",
            "The proxy passes `Upgrade: h2c` on to a service that speaks HTTP/2: whoever asks gets"
            " a tunnel past every rule of the proxy.",
            "Pass Upgrade on only where it is websocket, and nothing else: "
            f"{_H2C_FIX[case.site.proxy]}",
        )
        finding = made(
            diagnosis, hop="proxy", symptom=f"{case.check.probe.uri} {saying}", attempt=attempt
        )
        return Verdict(False, saying, replace(finding, directive=_H2C_FIX[case.site.proxy]))
    if attempt.status_code == 101:
        return Verdict(True, "answered 101 for a WebSocket: no tunnel")
    if attempt.trouble is None:
        return Verdict(True, f"answered {attempt.status_code}")
    if attempt.trouble.code in ("timeout", "closed", "endless-headers"):
        return Verdict(True, f"{attempt.trouble.words}: no upgrade")
    return _skipped(attempt)


def plain_get(case: Case) -> Verdict:
    """A request that asks for no upgrade gets none, soon, and without an error of the server."""
    attempt, status = case.attempt, case.attempt.status_code
    uri = case.check.probe.uri
    if status == 101:
        diagnosis = Diagnosis(
            "websocket-answers-plain",
            "A request that asks for no upgrade gets one: Upgrade is set by hand instead of being"
            " passed on, or the service does not look. Pages, crawlers and caches then get 101,"
            " and whoever asks holds a connection.",
            f"Set Upgrade only where the client has sent it: {_H2C_FIX[case.site.proxy]}",
        )
        finding = made(
            diagnosis, hop="proxy", symptom=f"{uri} answered 101 to a plain GET", attempt=attempt
        )
        finding = _severe("warning", finding)
        return Verdict(True, "answered 101 to a plain GET", finding)
    if case.leader is not None and case.leader.attempt.trouble is not None:
        return Verdict(True, "the handshake on this path fails, which says it all", is_skipped=True)
    if attempt.trouble is not None and attempt.trouble.code == "timeout":
        diagnosis = Diagnosis(
            "websocket-answers-plain",
            f"A plain GET gets no answer, and {vocabulary.IDLE[case.site.proxy]} is long on this"
            " path: every crawler and every scanner holds a connection for as long.",
            "Let the service refuse what is no handshake (426 Upgrade Required).",
        )
        symptom = f"{uri} did not answer a plain GET within {PLAIN_S:g} s"
        finding = made(diagnosis, hop="backend", symptom=symptom, attempt=attempt)
        return Verdict(True, f"no answer within {PLAIN_S:g} s", _severe("warning", finding))
    if attempt.trouble is not None:
        return Verdict(True, f"{attempt.trouble.words}: nothing is opened")
    if status in _FAILURES:
        diagnosis = Diagnosis(
            "websocket-answers-plain",
            f"A plain GET on the WebSocket's path gets {status} instead of a refusal (426, 400 or"
            " 404): the service, or the proxy before it, fails on what is no handshake. Whoever"
            " asks fills the error log.",
            "Let the service refuse what is no handshake (426 Upgrade Required).",
        )
        symptom = f"{uri} answered {status} to a plain GET"
        finding = made(diagnosis, hop="backend", symptom=symptom, attempt=attempt)
        return Verdict(True, f"answered {status}", _severe("warning", finding))
    return Verdict(True, f"answered {status}")


def old_tls(case: Case) -> Verdict:
    """TLS 1.1 and 1.0 are refused."""
    attempt = case.attempt
    version = attempt.facts.get("version")
    if version is not None:
        diagnosis = Diagnosis(
            "tls-old-version",
            f"The proxy still finishes handshakes in {version}, which RFC 8996 has ended and every"
            " browser has left: its own setting, or an old distribution's.",
            f"Offer TLS 1.2 and 1.3 alone: {_OLD_TLS_FIX[case.site.proxy]}",
        )
        symptom = f"{case.check.probe.uri} accepts {version}"
        finding = made(diagnosis, hop="proxy", symptom=symptom, attempt=attempt)
        finding = replace(_severe("warning", finding), directive=_OLD_TLS_FIX[case.site.proxy])
        return Verdict(True, f"accepts {version}", finding)
    if attempt.trouble is None or attempt.trouble.code == "tls-stalled":
        return Verdict(True, "TLS 1.1 and 1.0 are refused")
    return _skipped(attempt)


def banner(case: Case) -> Verdict:
    """The proxy's own answers do not name its version."""
    attempt = case.attempt
    if attempt.trouble is not None:
        return _skipped(attempt)
    shown = [
        f"{name}: {printable(value, limit=120)}"
        for name, value in attempt.answer.headers
        if name.lower() in ("server", "x-powered-by", "via")
        and _BANNERS[case.site.proxy].search(value)
    ]
    if not shown:
        return Verdict(True, "no version is told")
    diagnosis = Diagnosis(
        "version-banner",
        "The proxy tells its version to everybody, and so which of its published holes are open.",
        f"{_BANNER_FIX[case.site.proxy]}",
    )
    symptom = f"{case.check.probe.uri} says {', '.join(shown)}"
    finding = made(diagnosis, hop="proxy", symptom=symptom, attempt=attempt)
    finding = replace(_severe("warning", finding), directive=_BANNER_FIX[case.site.proxy])
    return Verdict(True, ", ".join(shown), finding)


def forged(case: Case) -> Verdict:
    """What a client says of its own address does not reach the service."""
    attempt = case.attempt
    if attempt.trouble is not None:
        return _skipped(attempt)
    text = attempt.answer.body.decode("latin-1")
    believed = [name for name, address in FORGED.items() if address in text]
    if believed:
        names = " and ".join(believed)
        diagnosis = Diagnosis(
            "forwarded-for-appended",
            f"The proxy lets the client's own {names} through to the service, or adds to it. A"
            " service that reads the first address takes the client's word for where it comes"
            " from: limits, bans and logs are then about whomever it names.",
            f"Overwrite instead of adding: {_FORWARDED_FIX[case.site.proxy]}",
        )
        forged = ", ".join(f"{name}: {FORGED[name]}" for name in believed)
        symptom = f"{case.check.probe.uri} repeats what was forged: {forged}"
        finding = made(diagnosis, hop="proxy", symptom=symptom, attempt=attempt)
        finding = replace(finding, directive=_FORWARDED_FIX[case.site.proxy])
        return Verdict(False, f"the forged {names} reached the service", finding)
    if ECHOED[1] not in text:
        path = case.check.probe.target if isinstance(case.check.probe, HttpProbe) else ""
        words = (
            f"answered {attempt.status_code} without the request's headers: {path} is no path that"
            " repeats them, so nothing is known"
        )
        return Verdict(True, words, is_skipped=True)
    return Verdict(True, "the forged addresses do not reach the service")


def http2(case: Case) -> Verdict:
    """Where WebSockets over HTTP/2 are announced, they work as those over HTTP/1.1 do."""
    attempt, uri = case.attempt, case.check.probe.uri
    if case.leader is not None and case.leader.attempt.trouble is not None:
        return Verdict(True, "the handshake over HTTP/1.1 fails already", is_skipped=True)
    if "offered" not in attempt.facts:
        if attempt.trouble is not None:
            return _skipped(attempt)
        return Verdict(True, "the proxy does not offer HTTP/2", is_skipped=True)
    if "announced" not in attempt.facts and attempt.trouble is None:
        return Verdict(True, "HTTP/2 without WebSockets: browsers open them over HTTP/1.1")
    if attempt.trouble is not None:
        diagnosis = Diagnosis(
            "h2-websocket",
            "The proxy announces WebSockets over HTTP/2 (RFC 8441), and does not carry them as it"
            " does over HTTP/1.1: browsers that take it at its word fail, and everything else"
            " works."
            if "announced" in attempt.facts
            else "The proxy offers HTTP/2 and does not speak it: browsers that choose it get"
            " nothing at all.",
            f"Mend it, or stop announcing it: {_HTTP2_FIX[case.site.proxy]}"
            if _HTTP2_FIX[case.site.proxy]
            else "Mend it, or stop announcing it.",
        )
        symptom = f"{uri} over HTTP/2 {attempt.trouble.words}, and works over HTTP/1.1"
        finding = made(diagnosis, hop="proxy", symptom=symptom, attempt=attempt)
        finding = replace(finding, directive=_HTTP2_FIX[case.site.proxy])
        return Verdict(False, attempt.trouble.words, finding)
    foreign = attempt.facts.get("foreign", "")
    if foreign.startswith("2"):
        diagnosis = Diagnosis(
            "origin-open",
            f"The proxy does not check Origin on WebSockets over HTTP/2: a page of {FOREIGN_ORIGIN}"
            " may open connections with the visitor's cookies. Over HTTP/2 there is no Upgrade"
            " header, by which its rule may know a handshake.",
            f"Let {vocabulary.ORIGINS[case.site.proxy]} hold for `:protocol: websocket` too, or"
            f" stop announcing it: {_HTTP2_FIX[case.site.proxy]}",
        )
        symptom = f"{uri} over HTTP/2 answered {foreign} to {FOREIGN_ORIGIN}, not 403"
        finding = made(diagnosis, hop="proxy", symptom=symptom, attempt=attempt)
        return Verdict(False, f"answered {foreign} to a foreign Origin", finding)
    words = [f"{attempt.status_code} to CONNECT"]
    ping_s = attempt.answer.timings_s.get("ping")
    if ping_s is not None:
        words.append(f"ping {ping_s * 1000:.0f} ms")
    if foreign:
        words.append(f"{foreign} to a foreign Origin")
    return Verdict(True, ", ".join(words))


def _skipped(attempt: Attempt) -> Verdict:
    words = attempt.trouble.words if attempt.trouble else "no answer"
    return Verdict(True, f"not known: it {words}", is_skipped=True)


def _severe(severity: Severity, finding: Finding) -> Finding:
    return replace(finding, severity=severity)
