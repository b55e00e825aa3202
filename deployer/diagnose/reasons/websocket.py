"""What an expert concludes from the outside alone: `Observations` → results with findings. Pure.

The order of thought: is the name known, does anybody take connections, does TLS come about, is
the certificate right, what became of the handshake? Where it failed, a variant that got through
proves its cause (`reason_origin.py`, `reason_refused.py`); otherwise the words of the answer tell,
and what they leave open is said. Where it succeeded, what should have been refused is looked at
(`reason_open.py`). A hop other than ``public`` is named where the answer shows whose it is.
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
    """Every check of one WebSocket's address, in the order in which a connection comes about."""
    return tuple(_results(seen))


def _results(seen: Observations) -> Iterator[CheckResult]:
    yield from connection.results(seen)
    if seen.handshake is not None:
        is_at_door = _is_connect_failure(seen.handshake)
        if seen.certificate is not None and not is_at_door:
            yield connection.certificate_result(seen, seen.certificate)
        yield _handshake_result(seen, seen.handshake)
        yield from upgraded.results(seen)
        yield from security.results(seen)


def reach_results(seen: Observations) -> tuple[CheckResult, ...]:
    """The same for a page's address, of which no handshake is asked."""
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
    words = attempt.note or "upgraded, and a ping is answered"
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
    assert failure is not None  # noqa: S101 - only asked for where there is one
    if failure.code in CONNECT_FAILURES | {"speaks-tls"}:
        return connection.connect_finding(seen, attempt, failure)
    if failure.code == "status":
        return refused.finding_of(seen, attempt)
    if attempt.status_code == 101:
        return upgraded.finding_of(seen, attempt, failure)
    return unexplained.unanswered(seen, attempt, failure, general=causes.general_code(failure))
