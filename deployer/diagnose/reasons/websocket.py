"""Turn `Observations` of a WebSocket into results with findings. Pure.

In this order: does the name resolve, does any address accept connections, does TLS succeed, is the
certificate valid, and what is the outcome of the handshake? If it failed, a variant that succeeds
proves the cause (`origin.py`, `refused.py`); otherwise the response decides, and the finding lists
the remaining alternatives. If it succeeded, `upgraded.py` checks what should have been refused. A
hop other than ``public`` is named if the response identifies it.
"""

from __future__ import annotations

from collections.abc import Iterator

from deployer.diagnose.outside import CONNECT_FAILURES, Observations
from deployer.diagnose.reasons import (
    connection,
    fingerprints,
    refused,
    security,
    unexplained,
    upgraded,
)
from deployer.model import CheckResult, Finding
from deployer.verify.judge import causes
from deployer.verify.net.redact import without_secrets
from deployer.verify.probe.attempt import Attempt


def results(seen: Observations) -> tuple[CheckResult, ...]:
    """Return every check of one WebSocket's address, in the order of the steps of a connection."""
    return tuple(_results(seen))


def _results(seen: Observations) -> Iterator[CheckResult]:
    yield from connection.results(seen)
    if seen.handshake is not None:
        is_unconnected = _is_connect_failure(seen.handshake)
        if seen.certificate is not None and not is_unconnected:
            yield connection.certificate_result(seen, seen.certificate)
        yield _handshake_result(seen, seen.handshake)
        yield from upgraded.results(seen)
        yield from security.results(seen)


def reach_results(seen: Observations) -> tuple[CheckResult, ...]:
    """Return the checks of a page's address, without a handshake."""
    found = list(connection.results(seen))
    if seen.certificate is not None:
        failure = seen.certificate.failure
        if failure is not None and failure.code in CONNECT_FAILURES:
            found.append(connection.stopped_result(seen, seen.certificate, failure))
        else:
            found.append(connection.certificate_result(seen, seen.certificate))
    return tuple(found)


def _is_connect_failure(attempt: Attempt) -> bool:
    return attempt.failure is not None and attempt.failure.code in CONNECT_FAILURES


def _handshake_result(seen: Observations, attempt: Attempt) -> CheckResult:
    failure = attempt.failure
    words = attempt.note or "upgraded, and answers a ping"
    found: Finding | None = None
    if failure is not None:
        words = failure.words
        found = _finding(seen, attempt)
    front = fingerprints.in_front(attempt)
    return CheckResult(
        site=seen.address.name,
        name="handshake",
        target=without_secrets(seen.address.uri),
        hop=found.hop if found else "public",
        ok=found is None or found.severity != "error",
        detail=f"{words}, through {front}" if front else words,
        seconds=attempt.seconds,
        handshake=attempt.answer,
        finding=found,
    )


def _finding(seen: Observations, attempt: Attempt) -> Finding | None:
    failure = attempt.failure
    assert failure is not None  # noqa: S101 - only called if there is one
    if failure.code in CONNECT_FAILURES | {"speaks-tls"}:
        return connection.connect_finding(seen, attempt, failure)
    if failure.code == "status":
        return refused.finding_of(seen, attempt)
    if attempt.status_code == 101:
        return upgraded.finding_of(seen, attempt, failure)
    return unexplained.unanswered(seen, attempt, failure, general=causes.general_code(failure))
