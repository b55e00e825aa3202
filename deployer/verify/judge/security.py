"""Judge the security checks of a site. Pure.

Unauthorised access is an error. Disclosing or costing more than necessary is a warning, and the
check passes. A check on a route whose own handshake fails is skipped: one finding about that is
enough.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from deployer.model import Hop
from deployer.proxies import PROXIES
from deployer.verify.judge import server_findings
from deployer.verify.judge.causes import Diagnosis
from deployer.verify.judge.responsible_hop import build_finding
from deployer.verify.judge.verdict import Case, Verdict
from deployer.verify.net.redact import without_secrets
from deployer.verify.planned import security
from deployer.verify.planned.model import FOREIGN_ORIGIN
from deployer.verify.planned.security import ECHOED, FORGED
from deployer.verify.probe.attempt import Attempt, printable
from deployer.verify.probe.h2c_variants import is_tunnel, upgraded_to
from deployer.verify.probe.spec import HttpProbe

_FAILURES = frozenset({500, 502, 503, 504})
_PLAIN_FIX: Mapping[tuple[Hop, bool], str] = {
    ("backend", True): "Make the service refuse ordinary requests (426 Upgrade Required).",
    ("backend", False): "Make the service refuse ordinary requests (426 Upgrade Required).",
    ("proxy", True): "Set Upgrade and Connection only if the client sent Upgrade: websocket.",
    ("proxy", False): "Check the proxy's error log at this time, and test the service directly.",
}
_REFUSED_BY_TLS = frozenset({"tls-failed", "tls-closed", "closed", "dropped"})


def h2c(case: Case) -> Verdict:
    """Judge requests for HTTP/2 in cleartext: no variant may open a tunnel."""
    hints = PROXIES[case.site.proxy].words
    attempt = case.attempt
    peer = case.attempts.peer
    is_own = (
        PROXIES[case.site.proxy].traits.upgrades_h2c and peer is not None and _refuses_h2c(peer)
    )
    if is_tunnel(attempt) and is_own:
        # The proxy serves HTTP/2 over the upgraded connection itself: its rules still apply.
        return Verdict(True, "answered 101 for its own HTTP/2: the service has none")
    if is_tunnel(attempt):
        named = upgraded_to(attempt) or "nothing"
        outcome = f"answered 101 to Upgrade: h2c, with Upgrade: {printable(named, limit=40)}"
        diagnosis = Diagnosis(
            "h2c-tunnel",
            "The proxy forwards `Upgrade: h2c` to a service that speaks HTTP/2: any client gets a"
            " tunnel that bypasses every rule of the proxy.",
            f"Forward Upgrade only if its value is exactly websocket: {hints.strict_upgrade}",
        )
        finding = build_finding(
            diagnosis, hop="proxy", symptom=f"{_uri(case)} {outcome}", attempt=attempt
        )
        return Verdict(False, outcome, replace(finding, directive=hints.strict_upgrade))
    if attempt.status_code == 101:
        return Verdict(True, "answered 101 for a WebSocket: no tunnel")
    if attempt.failure is None:
        return Verdict(True, f"answered {attempt.status_code}")
    if attempt.failure.code in ("timeout", "closed", "endless-headers"):
        return Verdict(True, f"{attempt.failure.words}: no upgrade")
    return _skipped(attempt)


def _refuses_h2c(attempt: Attempt) -> bool:
    """Whether the service itself answered the same request without opening a tunnel."""
    if attempt.status_code is not None:
        return not is_tunnel(attempt)
    return attempt.failure is not None and attempt.failure.code in ("timeout", "closed")


def plain_get(case: Case) -> Verdict:
    """Judge a request without an upgrade: it gets none, soon, and without a server error."""
    hints = PROXIES[case.site.proxy].words
    attempt, status = case.attempt, case.status
    if (
        status != 101
        and case.prerequisite is not None
        and case.prerequisite.main.failure is not None
    ):
        return Verdict(True, "the handshake on this path opens no connection", is_skipped=True)
    is_late = attempt.failure is not None and attempt.failure.code == "timeout"
    if status != 101 and status not in _FAILURES and not is_late:
        words = f"{attempt.failure.words}: no upgrade" if attempt.failure else ""
        return Verdict(True, words or f"answered {status}")
    outcome = f"did not answer within {security.PLAIN_S:g} s" if is_late else f"answered {status}"
    if status in _FAILURES and _hangs_up(case.attempts.peer):
        return Verdict(True, f"{outcome}: the service itself closes such connections")
    hop: Hop = "backend" if _does_the_same(case) else "proxy"
    diagnosis = Diagnosis(
        "websocket-answers-plain", _about_plain(case, hop=hop), _PLAIN_FIX[hop, status == 101]
    )
    symptom = f"{_uri(case)} {outcome} to a plain GET"
    if hop == "backend":
        symptom += ", like the service itself"
    finding = build_finding(
        diagnosis, hop=hop, symptom=symptom, attempt=attempt, severity="warning"
    )
    if hop == "proxy" and status == 101:
        finding = replace(finding, directive=hints.strict_upgrade)
    return Verdict(True, f"{outcome} to a plain GET", finding)


def _hangs_up(service: Attempt | None) -> bool:
    """Whether a service refuses plain requests by closing the connection, as MQTT brokers do."""
    failure = service.failure if service is not None else None
    return failure is not None and failure.code in ("closed", "dropped")


def _does_the_same(case: Case) -> bool:
    """Whether the service itself answers as it does through the proxy."""
    peer = case.attempts.peer
    if peer is None:
        return False
    own, other = case.attempt.failure, peer.failure
    return peer.status_code == case.status and (own.code if own else "") == (
        other.code if other else ""
    )


def _about_plain(case: Case, *, hop: Hop) -> str:
    hints = PROXIES[case.site.proxy].words
    if case.status == 101:
        return (
            "A request without an upgrade gets one: "
            + (
                "the service ignores the request's headers."
                if hop == "backend"
                else "the proxy sets Upgrade itself instead of forwarding it."
            )
            + " Pages, crawlers and caches then get 101, and every client holds a connection."
        )
    if case.status is None:
        idle = hints.idle
        return (
            f"A plain GET gets no response, and {idle} is long on this path: every crawler and"
            " scanner holds a connection for that long."
        )
    who = "The service" if hop == "backend" else "The proxy, or the service through it,"
    return (
        f"{who} fails with {case.status} on a request without a handshake instead of refusing it"
        " (426, 400 or 404): any client can fill the error log."
    )


def old_tls(case: Case) -> Verdict:
    """Judge the offer of TLS 1.1 and 1.0, which must be refused."""
    attempt, proxy = case.attempt, case.site.proxy
    finding = server_findings.old_tls(_uri(case), attempt, hop="proxy", proxy=proxy)
    if finding is not None:
        return Verdict(True, f"accepts {attempt.facts['version']}", finding)
    if attempt.failure is None or attempt.failure.code == "tls-stalled":
        return Verdict(True, "TLS 1.1 and 1.0 are refused")
    return _skipped(attempt)


def banner(case: Case) -> Verdict:
    """Judge the proxy's own responses, which must not disclose its version."""
    if case.attempt.failure is not None:
        return _skipped(case.attempt)
    proxy = case.site.proxy
    finding = server_findings.banner(_uri(case), case.attempt, hop="proxy", proxy=proxy)
    if finding is None:
        return Verdict(True, "no version disclosed")
    return Verdict(True, finding.symptom.partition(" sends ")[2], finding)


def no_certificate(case: Case) -> Verdict:
    """Judge a request without the certificate that clients need: TLS or HTTP refuses it."""
    attempt = case.attempt
    if attempt.failure is not None and attempt.failure.code in _REFUSED_BY_TLS:
        return Verdict(True, "without one, TLS ends")
    if case.status == 400 and b"certificate" in attempt.answer.body.lower():
        return Verdict(True, "answered 400 without one")
    if attempt.failure is not None:
        return _skipped(attempt)
    diagnosis = Diagnosis(
        "check-failed",
        "The proxy serves clients that present no certificate, although the playbook requires one"
        " (tls.client_certificates).",
        "Check which site the proxy selects for this name, and whether its own configuration"
        " overrides the site's.",
    )
    symptom = f"{_uri(case)} answered {case.status} to a client without a certificate"
    finding = build_finding(diagnosis, hop="proxy", symptom=symptom, attempt=attempt)
    return Verdict(False, f"answered {case.status} without one", finding)


def forged(case: Case) -> Verdict:
    """Judge forged client addresses, which must not reach the service."""
    hints = PROXIES[case.site.proxy].words
    attempt = case.attempt
    if attempt.failure is not None:
        return _skipped(attempt)
    text = attempt.answer.body.decode("latin-1")
    believed = [name for name, address in FORGED.items() if address in text]
    if believed:
        names = " and ".join(believed)
        diagnosis = Diagnosis(
            "forwarded-for-appended",
            f"The proxy forwards the client's own {names} to the service, or appends to it. A"
            " service that reads the first address trusts the client: limits, bans and logs then"
            " apply to any address that the client chooses.",
            f"Overwrite the header instead of appending: {hints.forwarded_for}",
        )
        forged = ", ".join(f"{name}: {FORGED[name]}" for name in believed)
        symptom = f"{_uri(case)} echoes forged headers: {forged}"
        finding = build_finding(diagnosis, hop="proxy", symptom=symptom, attempt=attempt)
        # The body contains headers that the proxy adds for the service only: do not quote it.
        finding = replace(
            finding,
            directive=hints.forwarded_for,
            evidence=f"the response contains {', '.join(FORGED[name] for name in believed)}",
            response=finding.response.partition("\n\n")[0],
        )
        return Verdict(False, f"the forged {names} reached the service", finding)
    if ECHOED[1] not in text:
        path = (
            without_secrets(case.check.probe.target)
            if isinstance(case.check.probe, HttpProbe)
            else ""
        )
        words = (
            f"answered {attempt.status_code} without the request's headers: {path} does not echo"
            " them, so the result is unknown"
        )
        return Verdict(True, words, is_skipped=True)
    return Verdict(True, "the forged addresses do not reach the service")


def http2(case: Case) -> Verdict:
    """Judge WebSockets over HTTP/2: if announced, they work like those over HTTP/1.1."""
    hints = PROXIES[case.site.proxy].words
    attempt, uri = case.attempt, _uri(case)
    if case.prerequisite is not None and case.prerequisite.main.failure is not None:
        return Verdict(True, "the handshake over HTTP/1.1 opens no connection", is_skipped=True)
    if "offered" not in attempt.facts and attempt.failure is not None:
        return _skipped(attempt)
    finding = server_findings.http2(uri, attempt, hop="proxy", proxy=case.site.proxy)
    if finding is not None and attempt.failure is not None:
        return Verdict(False, attempt.failure.words, finding)
    foreign = attempt.facts.get("foreign", "")
    if foreign.startswith("2"):
        diagnosis = Diagnosis(
            "origin-open",
            f"The proxy does not check Origin on WebSockets over HTTP/2: a page of {FOREIGN_ORIGIN}"
            " may open connections with the visitor's cookies. HTTP/2 has no Upgrade header, which"
            " the proxy's rule may depend on.",
            f"Apply {hints.origins} to `:protocol: websocket` too, or stop announcing it.",
        )
        symptom = f"{uri} over HTTP/2 answered {foreign} to {FOREIGN_ORIGIN}, not 403"
        finding = build_finding(diagnosis, hop="proxy", symptom=symptom, attempt=attempt)
        return Verdict(False, f"answered {foreign} to a foreign Origin", finding)
    words = server_findings.http2_words(attempt)
    return Verdict(True, words, is_skipped="offered" not in attempt.facts)


def _uri(case: Case) -> str:
    return without_secrets(case.check.probe.uri)


def _skipped(attempt: Attempt) -> Verdict:
    words = f"it {attempt.failure.words}" if attempt.failure else "no response"
    return Verdict(True, f"unknown: {words}", is_skipped=True)
