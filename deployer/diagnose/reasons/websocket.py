"""What an expert concludes from the outside alone: `Observations` → results with findings. Pure.

The order of thought: is the name known, does anybody take connections, does TLS come about, is
the certificate right, what became of the handshake? Where it failed, a variant that got through
proves its cause (`reason_origin.py`, `reason_refused.py`); otherwise the words of the answer tell,
and what they leave open is said. Where it succeeded, what should have been refused is looked at
(`reason_open.py`). A hop other than ``public`` is named where the answer shows whose it is.
"""

from __future__ import annotations

from collections.abc import Iterator

from deployer.diagnose.outside import AT_THE_DOOR, Observations
from deployer.diagnose.reasons import connection, fingerprints, refused, security, unexplained
from deployer.diagnose.reasons import upgraded as reasons_open
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
        is_at_door = _is_at_the_door(seen.handshake)
        if seen.certificate is not None and not is_at_door:
            yield connection.certificate_result(seen, seen.certificate)
        yield _handshake_result(seen, seen.handshake)
        yield from reasons_open.results(seen)
        yield from security.results(seen)


def reach_results(seen: Observations) -> tuple[CheckResult, ...]:
    """The same for a page's address, of which no handshake is asked."""
    found = list(connection.results(seen))
    if seen.certificate is not None:
        trouble = seen.certificate.trouble
        if trouble is not None and trouble.code in AT_THE_DOOR:
            found.append(connection.stopped_result(seen, seen.certificate, trouble))
        else:
            found.append(connection.certificate_result(seen, seen.certificate))
    return tuple(found)


def _is_at_the_door(attempt: Attempt) -> bool:
    return attempt.trouble is not None and attempt.trouble.code in AT_THE_DOOR


def _handshake_result(seen: Observations, attempt: Attempt) -> CheckResult:
    trouble = attempt.trouble
    words = attempt.note or "upgraded, and a ping is answered"
    found: Finding | None = None
    if trouble is not None:
        words = trouble.words
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
    trouble = attempt.trouble
    assert trouble is not None  # noqa: S101 - only asked for where there is one
    if trouble.code in AT_THE_DOOR | {"speaks-tls"}:
        return connection.door_finding(seen, attempt, trouble)
    if trouble.code == "status":
        return refused.finding_of(seen, attempt)
    if attempt.status_code == 101:
        return reasons_open.finding_of(seen, attempt, trouble)
    return unexplained.unanswered(seen, attempt, trouble, general=causes.general_code(trouble))
