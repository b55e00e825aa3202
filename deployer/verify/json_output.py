"""Results as JSON documents."""

from __future__ import annotations

from deployer.model import CheckResult, Finding, HandshakeResult
from deployer.verify.net.redact import without_secrets
from deployer.verify.probe.attempt import printable

_HIDDEN_HEADERS = frozenset({"set-cookie", "www-authenticate", "proxy-authenticate"})


def result_json(result: CheckResult) -> dict[str, object]:
    """Return one result for ``--json``, without headers that may contain secrets."""
    return {
        "site": result.site,
        "name": result.name,
        "target": result.target,
        "hop": result.hop,
        "ok": result.ok,
        **({"skipped": True} if result.skipped else {}),
        "detail": result.detail,
        "seconds": round(result.seconds, 4),
        **({"valid_until": result.valid_until} if result.valid_until else {}),
        **({"answered_by": result.answered_by} if result.answered_by else {}),
        "handshake": _handshake(result.handshake) if result.handshake else None,
        "finding": finding_json(result.finding) if result.finding else None,
    }


def finding_json(finding: Finding) -> dict[str, object]:
    """Return one finding; callers that print a list add host and site."""
    return {
        "code": finding.code,
        "severity": finding.severity,
        "hop": finding.hop,
        "symptom": finding.symptom,
        "cause": finding.cause,
        "fix": finding.fix,
        "evidence": finding.evidence,
        "request": finding.request,
        "response": finding.response,
        "directive": finding.directive,
        "file": finding.file,
        "alternatives": [
            {"code": other.code, "tell": other.tell} for other in finding.alternatives
        ],
        "page": finding.page,
    }


def _handshake(handshake: HandshakeResult) -> dict[str, object]:
    return {
        "uri": handshake.uri,
        "status_code": handshake.status_code,
        "headers": [
            [name, without_secrets(value)]
            for name, value in handshake.headers
            if name.lower() not in _HIDDEN_HEADERS
        ],
        "subprotocol": handshake.subprotocol,
        "timings_s": {name: round(value, 4) for name, value in handshake.timings_s.items()},
        "body": without_secrets(printable(handshake.body)),
        "error": handshake.error,
    }
