"""Whose fault it is: a failing check through the proxy, beside the same past it. Pure.

    through the proxy     straight to the service     at fault
    not even connected    whatever                    proxy
    fails                 succeeds                    proxy
    fails                 fails                       service
    succeeds              fails                       service: someone else answers in its place

Where both differ only in a status, the service's answer to a request without any upgrade (`plain`)
tells a lost Upgrade header from a request that went somewhere else.
"""

from __future__ import annotations

from collections.abc import Mapping

from deployer.model import Finding, Hop, Proxy, Severity
from deployer.verify.judge import causes
from deployer.verify.judge.attempts import Tried
from deployer.verify.judge.causes import Diagnosis
from deployer.verify.judge.statuses import (
    asked_url,
    location_of,
    mentions_plain_http,
    redirect_kind,
    status_at_proxy,
)
from deployer.verify.net.redact import shown_header, without_secrets
from deployer.verify.planned.checks import PlannedCheck
from deployer.verify.probe.attempt import UNCONNECTED, Attempt, Trouble, printable

_AT_THE_DOOR = UNCONNECTED | {"no-tls", "speaks-tls", "tls-failed", "tls-closed", "tls-stalled"}
_WHO: Mapping[Hop, str] = {
    "backend": "the service on ",
    "proxy": "the proxy on ",
    "public": "",
}
_QUOTED_HEADERS = (
    "server",
    "location",
    "content-type",
    "upgrade",
    "connection",
    "sec-websocket-accept",
    "sec-websocket-protocol",
    "via",
    "x-cache",
)


def finding_of(check: PlannedCheck, tried: Tried, *, proxy: Proxy) -> Finding:
    """What is wrong where the check of a connection failed; `tried.attempt` has a trouble."""
    trouble = _trouble(tried.attempt)
    if check.hop == "backend":
        return _service_finding(check, tried, blamed=tried.attempt)
    if trouble.code in _AT_THE_DOOR:
        diagnosis = causes.of_front(trouble, proxy=proxy, endpoint=check.probe.endpoint)
    elif tried.peer is not None and tried.peer.trouble is not None:
        return _service_finding(check, tried, blamed=tried.peer)
    elif trouble.code == "status":
        diagnosis = status_at_proxy(check, tried, proxy)
    else:
        diagnosis = causes.of_proxy(trouble, proxy=proxy, route=check.route)
    symptom = subject(check, trouble)
    if tried.peer is not None and trouble.code not in _AT_THE_DOOR:
        symptom += f"; straight to the service on {peer_address(check)} the same succeeds"
    return made(diagnosis, hop="proxy", symptom=symptom, attempt=tried.attempt)


def subject(check: PlannedCheck, trouble: Trouble) -> str:
    """The trouble of the check's own probe, as a sentence about its URI."""
    probe, uri = check.probe, without_secrets(check.probe.uri)
    if trouble.code in UNCONNECTED:
        return f"{uri}: {_WHO[check.hop]}{probe.endpoint} {trouble.words}"
    return f"{uri} {trouble.words}"


def peer_address(check: PlannedCheck) -> str:
    """The service's address, for a sentence."""
    return str(check.peer.endpoint) if check.peer else ""


def made(
    diagnosis: Diagnosis,
    *,
    hop: Hop,
    symptom: str,
    attempt: Attempt,
    severity: Severity = "error",
) -> Finding:
    """The finding, with what the peer of `attempt` said as its evidence."""
    return Finding(
        code=diagnosis.code,
        hop=hop,
        symptom=symptom,
        cause=diagnosis.cause,
        fix=diagnosis.fix,
        evidence=evidence_of(attempt),
        request=attempt.request,
        response=attempt.response,
        severity=severity,
        alternatives=diagnosis.alternatives,
    )


def evidence_of(attempt: Attempt) -> str:
    """Status, the headers that matter, and the beginning of the body, on one line each."""
    answer = attempt.answer
    lines = []
    if answer.status_code is not None:
        lines.append(f"HTTP status {answer.status_code}")
    for name, value in answer.headers:
        if name.lower() in _QUOTED_HEADERS:
            lines.append(shown_header(name, value))
    if answer.body:
        lines.append(without_secrets(printable(answer.body)))
    if attempt.trouble is not None and attempt.trouble.evidence:
        lines.append(without_secrets(attempt.trouble.evidence))
    return "\n".join(lines)


def _of_subprotocols(check: PlannedCheck, tried: Tried) -> Diagnosis | None:
    """The service upgrades as soon as no subprotocol is offered: that is what it refuses."""
    if tried.beside["without-subprotocols"].status_code != 101:
        return None
    offered = ", ".join(getattr(check.peer or check.probe, "subprotocols", ()))
    return Diagnosis(
        "subprotocols-refused",
        f"The service refuses the handshake because of the subprotocols that are offered"
        f" ({offered}); without any, it upgrades.",
        "Offer the one that the service knows; a Go service on x/net accepts several only with a"
        " Handshake function of its own.",
    )


def _trouble(attempt: Attempt) -> Trouble:
    return attempt.trouble or Trouble("status", f"answered {attempt.status_code}")


def _service_finding(check: PlannedCheck, tried: Tried, *, blamed: Attempt) -> Finding:
    trouble = _trouble(blamed)
    probe = check.probe if check.hop == "backend" else check.peer or check.probe
    if mentions_plain_http(blamed):
        trouble = Trouble("speaks-tls", trouble.words)
    diagnosis = causes.of_service(
        trouble,
        status_code=blamed.status_code,
        endpoint=probe.endpoint,
        redirect=redirect_kind(asked_url(probe), location_of(blamed)),
    )
    if "without-subprotocols" in tried.beside:
        diagnosis = _of_subprotocols(check, tried) or diagnosis
    symptom = subject(check, _trouble(tried.attempt))
    if check.hop == "proxy":
        symptom += f"; the service on {probe.endpoint} {_trouble(blamed).words}"
    telling = blamed if evidence_of(blamed) else tried.attempt
    return made(diagnosis, hop="backend", symptom=symptom, attempt=telling)
