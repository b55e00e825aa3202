"""What is wrong with a server that anybody may look at, whoever set it up. Pure.

Each takes what was tried and gives a finding, or `None` where all is well. `proxy` is `None` where
it is not known which one answers: the words then are for all of them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from deployer.model import Finding, Hop, Proxy, Severity
from deployer.proxies import PROXIES
from deployer.verify.judge.causes import Diagnosis
from deployer.verify.judge.responsible_hop import build_finding
from deployer.verify.net.redact import without_secrets
from deployer.verify.probe.attempt import Attempt, printable

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
_HTTP2_FIX: Mapping[Proxy, str] = {
    "apache": "H2WebSockets off",
    "haproxy": "h2-workaround-bogus-websocket-clients",
}


def fix_for(fixes: Mapping[Proxy, str], proxy: Proxy | None) -> str:
    """What mends it in `proxy`, or in each where that is not known."""
    if proxy is not None:
        return fixes.get(proxy, "")
    return "; ".join(f"in {PROXIES[name].unit}: {words}" for name, words in fixes.items())


def expires_soon(uri: str, attempt: Attempt, *, hop: Hop) -> Finding | None:
    """A certificate that is good, and will not be for long."""
    words = attempt.facts.get("soon")
    if not words:
        return None
    diagnosis = Diagnosis(
        "tls-expires-soon",
        "It should have been renewed by now: the renewal fails, or has not been set up; or it was"
        " renewed, and the proxy has not been reloaded since.",
        "Look at the renewal's own log (certbot certificates; deployer certs status SITE.yml), and"
        " compare the file with what is served.",
    )
    return _finding(diagnosis, f"{uri} {words}", attempt, hop=hop, severity="warning")


def old_tls(uri: str, attempt: Attempt, *, hop: Hop, proxy: Proxy | None) -> Finding | None:
    """TLS 1.1 or 1.0 is still accepted; `attempt` is that of an `OldTlsProbe`."""
    version = attempt.facts.get("version")
    if version is None:
        return None
    diagnosis = Diagnosis(
        "tls-old-version",
        f"The proxy still finishes handshakes in {version}, which RFC 8996 has ended and every"
        " browser has left: its own setting, or an old distribution's.",
        f"Offer TLS 1.2 and 1.3 alone: {fix_for(_OLD_TLS_FIX, proxy)}",
    )
    directive = _OLD_TLS_FIX[proxy] if proxy else ""
    symptom = f"{uri} accepts {version}"
    return _finding(diagnosis, symptom, attempt, hop=hop, severity="warning", directive=directive)


def banner(uri: str, attempt: Attempt, *, hop: Hop, proxy: Proxy | None) -> Finding | None:
    """The proxy tells its version; a service's own name is no finding."""
    patterns = _BANNERS.values() if proxy is None else (_BANNERS[proxy],)
    shown = [
        f"{name}: {printable(value, limit=120)}"
        for name, value in attempt.answer.headers
        if name.lower() in ("server", "x-powered-by", "via")
        and any(pattern.search(value) for pattern in patterns)
    ]
    if not shown:
        return None
    diagnosis = Diagnosis(
        "version-banner",
        "The proxy tells its version to everybody, and so which of its published holes are open.",
        f"Write {fix_for(_BANNER_FIX, proxy)}",
    )
    directive = _BANNER_FIX[proxy] if proxy else ""
    symptom = f"{uri} says {', '.join(shown)}"
    return _finding(diagnosis, symptom, attempt, hop=hop, severity="warning", directive=directive)


def http2(uri: str, attempt: Attempt, *, hop: Hop, proxy: Proxy | None) -> Finding | None:
    """WebSockets fail over HTTP/2 and succeed over HTTP/1.1; `attempt` is an `Http2Probe`'s."""
    failure = attempt.failure
    if failure is None or "offered" not in attempt.facts:
        return None
    is_announced = "announced" in attempt.facts
    fix = fix_for(_HTTP2_FIX, proxy)
    diagnosis = Diagnosis(
        "h2-websocket",
        "The proxy announces WebSockets over HTTP/2 (RFC 8441), and does not carry them as it does"
        " over HTTP/1.1: browsers that take it at its word fail, and everything else works."
        if is_announced
        else "The proxy offers HTTP/2 and does not speak it: browsers that choose it get nothing at"
        " all.",
        f"Mend it, or stop announcing it{f': {fix}' if fix else '.'}",
    )
    directive = _HTTP2_FIX.get(proxy, "") if proxy else ""
    symptom = f"{uri} over HTTP/2 {failure.words}, and works over HTTP/1.1"
    return _finding(diagnosis, symptom, attempt, hop=hop, directive=directive)


def http2_words(attempt: Attempt) -> str:
    """What a WebSocket over HTTP/2 has come to, where nothing is wrong with it."""
    if "offered" not in attempt.facts:
        return "the proxy does not offer HTTP/2"
    if "announced" not in attempt.facts:
        return "HTTP/2 without WebSockets: browsers open them over HTTP/1.1"
    words = [f"{attempt.status_code} to CONNECT"]
    ping_s = attempt.answer.timings_s.get("ping")
    if ping_s is not None:
        words.append(f"ping {ping_s * 1000:.0f} ms")
    if "foreign" in attempt.facts:
        words.append(f"{attempt.facts['foreign']} to a foreign Origin")
    return ", ".join(words)


def _finding(
    diagnosis: Diagnosis,
    symptom: str,
    attempt: Attempt,
    *,
    hop: Hop,
    severity: Severity = "error",
    directive: str = "",
) -> Finding:
    symptom = without_secrets(symptom)
    finding = build_finding(diagnosis, hop=hop, symptom=symptom, attempt=attempt, severity=severity)
    return replace(finding, directive=directive)
