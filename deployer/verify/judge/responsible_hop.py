"""Find the hop at fault: compare a failed check through the proxy with the service itself. Pure.

    through the proxy     directly to the service     at fault
    not even connected    any                         proxy
    fails                 succeeds                    proxy
    fails                 fails                       service
    succeeds              fails                       service: something else answers for it

If the two differ only in a status, the service's response to a request without an upgrade (`plain`)
distinguishes a lost Upgrade header from a request that went elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping

from deployer.model import Finding, Hop, Proxy, Severity
from deployer.verify.judge import auth_request, causes
from deployer.verify.judge.attempts import Attempts
from deployer.verify.judge.causes import Diagnosis
from deployer.verify.judge.refusals import is_refusal
from deployer.verify.judge.statuses import (
    asked_url,
    location_of,
    mentions_plain_http,
    redirect_kind,
    status_at_proxy,
)
from deployer.verify.net.redact import format_header, without_secrets
from deployer.verify.planned.model import PlannedCheck
from deployer.verify.probe.attempt import DISTRUST, UNCONNECTED, Attempt, Failure, printable
from deployer.verify.probe.spec import HttpProbe

_CONNECT_FAILURES = UNCONNECTED | {
    "no-tls",
    "speaks-tls",
    "tls-failed",
    "tls-closed",
    "tls-stalled",
}
#: How proxies answer if they cannot use a service; Apache answers 500 if it rejects a certificate.
_BAD_GATEWAY = frozenset({500, 502, 503})
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


def finding_of(check: PlannedCheck, attempts: Attempts, *, proxy: Proxy) -> Finding:
    """Return the finding of a failed check; `attempts.main` has a failure."""
    failure = _failure(attempts.main)
    if check.hop == "backend" or failure.code == "locked-out":
        return _service_finding(check, attempts, blamed=attempts.main)
    refused = causes.identity_refused(attempts.main, failure, check.probe.endpoint)
    if refused is not None:
        diagnosis = refused
    elif failure.code in _CONNECT_FAILURES:
        diagnosis = causes.listener_diagnosis(failure, proxy=proxy, endpoint=check.probe.endpoint)
    elif attempts.peer is not None and _is_at_fault(check, attempts.peer):
        return _service_finding(check, attempts, blamed=attempts.peer)
    elif (distrust := distrust_of(attempts)) is not None:
        return _distrusted(check, attempts, distrust)
    elif failure.code == "status":
        asked = auth_request.diagnosis(check, attempts.main.status_code)
        diagnosis = asked or status_at_proxy(check, attempts, proxy)
    else:
        diagnosis = causes.proxy_diagnosis(failure, proxy=proxy, route=check.route)
    symptom = symptom_of(check, failure)
    if attempts.peer is not None and failure.code not in _CONNECT_FAILURES:
        directly = "the same succeeds"
        if attempts.peer.failure is not None:
            directly = f"it {attempts.peer.failure.words}"
        symptom += f"; directly to the service on {peer_address(check)}, {directly}"
    return build_finding(diagnosis, hop="proxy", symptom=symptom, attempt=attempts.main)


def distrust_of(attempts: Attempts) -> str | None:
    """Why the proxy, which answers an error, does not trust the service's certificate."""
    if attempts.main.status_code not in _BAD_GATEWAY or attempts.peer is None:
        return None
    return attempts.peer.facts.get(DISTRUST)


def _distrusted(check: PlannedCheck, attempts: Attempts, why: str) -> Finding:
    """Return the finding of a proxy that rejects the service's certificate."""
    status, peer = attempts.main.status_code, check.peer or check.probe
    name = f" for {peer.server_name}" if peer.server_name else ""
    symptom = (
        f"{without_secrets(check.probe.uri)} answered {status}; the certificate of the service on"
        f" {peer_address(check)} is not accepted: {why}"
    )
    diagnosis = Diagnosis(
        "upstream-certificate",
        f"The proxy answers {status} because the certificate of the service on"
        f" {peer_address(check)} does not pass the route's verify: {why}.",
        f"Give the service a valid certificate{name}, or correct the route's upstream: the CA in"
        " verify, the name in sni.",
    )
    return build_finding(diagnosis, hop="backend", symptom=symptom, attempt=attempts.main)


def _is_at_fault(check: PlannedCheck, peer: Attempt) -> bool:
    """Whether the service itself fails, other than by a refusal that the check accepts."""
    return peer.failure is not None and not is_refusal(check, peer)


def symptom_of(check: PlannedCheck, failure: Failure) -> str:
    """Return the failure of the check's own probe as a sentence about its URI."""
    probe, uri = check.probe, without_secrets(check.probe.uri)
    if failure.code in UNCONNECTED:
        return f"{uri}: {_WHO[check.hop]}{probe.endpoint} {failure.words}"
    return f"{uri} {failure.words}"


def peer_address(check: PlannedCheck) -> str:
    """Return the service's address."""
    return str(check.peer.endpoint) if check.peer else ""


def build_finding(
    diagnosis: Diagnosis,
    *,
    hop: Hop,
    symptom: str,
    attempt: Attempt,
    severity: Severity = "error",
) -> Finding:
    """Return the finding, with the peer's response in `attempt` as evidence."""
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
    """Return status, relevant headers, and the beginning of the body, on one line each."""
    answer = attempt.answer
    lines = []
    if answer.status_code is not None:
        lines.append(f"HTTP status {answer.status_code}")
    for name, value in answer.headers:
        if name.lower() in _QUOTED_HEADERS:
            lines.append(format_header(name, value))
    if answer.body:
        lines.append(without_secrets(printable(answer.body)))
    if attempt.failure is not None and attempt.failure.evidence:
        lines.append(without_secrets(attempt.failure.evidence))
    return "\n".join(lines)


def _subprotocol_diagnosis(check: PlannedCheck, attempts: Attempts) -> Diagnosis | None:
    """Diagnose refused subprotocols: without them, the service upgrades."""
    if attempts.follow_ups["without-subprotocols"].status_code != 101:
        return None
    offered = ", ".join(getattr(check.peer or check.probe, "subprotocols", ()))
    return Diagnosis(
        "subprotocols-refused",
        f"The service refuses the handshake because of the offered subprotocols ({offered});"
        " without any, it upgrades.",
        "Offer the one that the service supports; a Go service on x/net accepts several only with"
        " its own Handshake function.",
    )


def _failure(attempt: Attempt) -> Failure:
    return attempt.failure or Failure("status", f"answered {attempt.status_code}")


def _service_finding(check: PlannedCheck, attempts: Attempts, *, blamed: Attempt) -> Finding:
    failure = _failure(blamed)
    probe = check.probe if check.hop == "backend" else check.peer or check.probe
    if mentions_plain_http(blamed):
        failure = Failure("speaks-tls", failure.words)
    diagnosis = causes.service_diagnosis(
        failure,
        status_code=blamed.status_code,
        endpoint=probe.endpoint,
        redirect=redirect_kind(asked_url(probe), location_of(blamed)),
        location=location_of(blamed),
    )
    without_origin = attempts.follow_ups.get("directly-without-origin")
    is_about_origin = b"origin" in blamed.answer.body.lower()
    if (
        without_origin is not None
        and without_origin.status_code == blamed.status_code
        and not is_about_origin
    ):
        diagnosis = causes.refused_with_any_origin(probe.endpoint)
    target = probe.target if isinstance(probe, HttpProbe) else ""
    if attempts.service is not None and attempts.service.path != target:
        diagnosis = causes.other_path(attempts.service, asked=target)
    if "without-subprotocols" in attempts.follow_ups:
        diagnosis = _subprotocol_diagnosis(check, attempts) or diagnosis
    without_forwarded = attempts.follow_ups.get("without-forwarded")
    if without_forwarded and without_forwarded.status_code not in (None, blamed.status_code):
        diagnosis = causes.distrusts_the_proxy(probe.endpoint)
    if probe.endpoint.proxy_line:
        words = "It gets a PROXY header first (send_proxy), which the service has to expect."
        diagnosis = diagnosis._replace(cause=f"{diagnosis.cause} {words}")
    symptom = symptom_of(check, _failure(attempts.main))
    if check.hop == "proxy":
        symptom += f"; the service on {probe.endpoint} {_failure(blamed).words}"
    quoted = blamed if evidence_of(blamed) else attempts.main
    return build_finding(diagnosis, hop="backend", symptom=symptom, attempt=quoted)
