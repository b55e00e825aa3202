"""Findings about any public server, regardless of who set it up. Pure.

Each function takes an attempt and returns a finding, or `None` if nothing is wrong. `proxy` is
`None` if the proxy is unknown: the fix then lists all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from deployer.model import Finding, Hop, Proxy, Severity
from deployer.proxies import PROXIES
from deployer.proxies.words import Words, in_each
from deployer.verify.judge.causes import Diagnosis
from deployer.verify.judge.responsible_hop import build_finding
from deployer.verify.net.redact import without_secrets
from deployer.verify.probe.attempt import Attempt, printable


def fix_for(text: Callable[[Words], str], proxy: Proxy | None) -> str:
    """Return the fix for `proxy`, or for each proxy if it is unknown."""
    return in_each(text) if proxy is None else text(PROXIES[proxy].words)


def expires_soon(uri: str, attempt: Attempt, *, hop: Hop) -> Finding | None:
    """Report a valid certificate that expires soon."""
    words = attempt.facts.get("soon")
    if not words:
        return None
    diagnosis = Diagnosis(
        "tls-expires-soon",
        "It should have been renewed by now: renewal fails or is not set up, or the proxy was not"
        " reloaded after the renewal.",
        "Check the renewal (certbot certificates; deployer certs status SITE.yml), and compare the"
        " file with the certificate served.",
    )
    return _finding(diagnosis, f"{uri} {words}", attempt, hop=hop, severity="warning")


def old_tls(uri: str, attempt: Attempt, *, hop: Hop, proxy: Proxy | None) -> Finding | None:
    """Report that TLS 1.1 or 1.0 is accepted; `attempt` is that of an `OldTlsProbe`."""
    version = attempt.facts.get("version")
    if version is None:
        return None
    diagnosis = Diagnosis(
        "tls-old-version",
        f"The proxy still accepts {version}, which RFC 8996 deprecates and no browser uses: because"
        " of its own setting or an old distribution's.",
        f"Offer only TLS 1.2 and 1.3: {fix_for(lambda words: words.old_tls_off, proxy)}",
    )
    directive = PROXIES[proxy].words.old_tls_off if proxy else ""
    symptom = f"{uri} accepts {version}"
    return _finding(diagnosis, symptom, attempt, hop=hop, severity="warning", directive=directive)


def banner(uri: str, attempt: Attempt, *, hop: Hop, proxy: Proxy | None) -> Finding | None:
    """Report that the proxy discloses its version; a service's own banner is no finding."""
    proxies = PROXIES.values() if proxy is None else (PROXIES[proxy],)
    shown = [
        f"{name}: {printable(value, limit=120)}"
        for name, value in attempt.answer.headers
        if name.lower() in ("server", "x-powered-by", "via")
        and any(each.traits.banner.search(value) for each in proxies)
    ]
    if not shown:
        return None
    diagnosis = Diagnosis(
        "version-banner",
        "The proxy discloses its version to everyone, and so its known vulnerabilities.",
        f"Write {fix_for(lambda words: words.banner_off, proxy)}",
    )
    directive = PROXIES[proxy].words.banner_off if proxy else ""
    symptom = f"{uri} sends {', '.join(shown)}"
    return _finding(diagnosis, symptom, attempt, hop=hop, severity="warning", directive=directive)


def http2(uri: str, attempt: Attempt, *, hop: Hop, proxy: Proxy | None) -> Finding | None:
    """Report WebSockets that fail only over HTTP/2; `attempt` is an `Http2Probe`'s."""
    failure = attempt.failure
    if failure is None or "offered" not in attempt.facts:
        return None
    is_announced = "announced" in attempt.facts
    fix = fix_for(lambda words: words.h2_off, proxy)
    diagnosis = Diagnosis(
        "h2-websocket",
        "The proxy announces WebSockets over HTTP/2 (RFC 8441), but they do not work as over"
        " HTTP/1.1: browsers that use the announcement fail, and all other clients work."
        if is_announced
        else "The proxy offers HTTP/2 but does not speak it: browsers that choose it get no"
        " response.",
        f"Fix it, or stop announcing it{f': {fix}' if fix else '.'}",
    )
    directive = PROXIES[proxy].words.h2_off if proxy else ""
    symptom = f"{uri} over HTTP/2 {failure.words}, but works over HTTP/1.1"
    return _finding(diagnosis, symptom, attempt, hop=hop, directive=directive)


def http2_words(attempt: Attempt) -> str:
    """Return the outcome of a WebSocket over HTTP/2 that is not a finding."""
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
