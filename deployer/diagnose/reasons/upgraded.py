"""Explain handshakes answered with 101: later failures, and missing access checks."""

from __future__ import annotations

from collections.abc import Iterator

from deployer.diagnose.outside import Observations
from deployer.diagnose.reasons import fingerprints
from deployer.diagnose.reasons.findings import ASK_THE_HOST, alternatives, finding
from deployer.model import CheckResult, Finding
from deployer.proxies.words import in_each
from deployer.verify.judge import causes
from deployer.verify.net.redact import without_secrets
from deployer.verify.planned.model import FOREIGN_ORIGIN
from deployer.verify.probe.attempt import Attempt, Failure
from deployer.verify.probe.h2c_variants import is_tunnel
from deployer.verify.probe.handshake import NO_MESSAGE

_GONE = frozenset({"closed", "dropped"})
_CLOSED_AT_ONCE = "right after the handshake"
_NOT_PROOF = frozenset({"wrong-accept", "incomplete-upgrade", "not-http", "bad-negotiation"})


def finding_of(seen: Observations, attempt: Attempt, failure: Failure) -> Finding:
    """Return why a 101 response is not a working connection."""
    code = causes.general_code(failure)
    uri = without_secrets(seen.address.uri)
    symptom = f"{uri} {failure.words}"
    if failure.code in _NOT_PROOF:
        return finding(
            code,
            hop="public",
            symptom=symptom,
            cause="The server is not a WebSocket server as defined by RFC 6455, or something on the"
            " path changes its response: a cache that stored a 101, a filter, a hand-written"
            " handshake. From outside, these look the same.",
            fix="On the host, make the same handshake directly to the service. If it succeeds, look"
            f" for something that changes response headers on the path; {ASK_THE_HOST}.",
            attempt=attempt,
        )
    if failure.code == "subprotocol-missing":
        return finding(
            code,
            hop="public",
            symptom=symptom,
            cause="The service does not support these subprotocols, or something on the path drops"
            " Sec-WebSocket-Protocol; browsers then close the connection themselves.",
            fix="Offer the one in the service's documentation; if that is what was offered, look"
            " for a rule of the proxy that removes the header from the request or the response.",
            attempt=attempt,
        )
    if failure.code == "no-pong":
        return finding(
            code,
            hop="backend",
            symptom=symptom,
            cause="The connection opens, but the service does not read from it: it hangs, or it"
            " ignores pings, which RFC 6455 (section 5.5.2) forbids.",
            fix="Check the service's log and its workers.",
            attempt=attempt,
        )
    if failure.code == "unexpected-message":
        return _unexpected_message(attempt, failure, symptom)
    return finding(
        code,
        hop="public",
        symptom=symptom,
        cause="The handshake succeeds but the connection does not last: the service fails or"
        " requires something that was not sent, or the proxy does not forward data after the"
        " handshake. From outside, the two look alike.",
        fix=f"Check the service's log at this time, then the proxy's; {ASK_THE_HOST}.",
        attempt=attempt,
        or_else=alternatives("http-1.0-upstream") if failure.code in _GONE else (),
    )


def _unexpected_message(attempt: Attempt, failure: Failure, symptom: str) -> Finding:
    is_silent = failure.evidence == NO_MESSAGE
    return finding(
        "silent-after-upgrade" if is_silent else "unexpected-message",
        hop="backend",
        symptom=symptom,
        cause=(
            "The connection is open and answers pings, but the application sends nothing: a worker,"
            " queue or database behind the service is down, the login was silently rejected, or the"
            " service waits for a different message first."
            if is_silent
            else "The service does not send the expected message."
        ),
        fix="Check the service's log and its dependencies (workers, Redis, its database); compare"
        " --send with the first message of its own page.",
        attempt=attempt,
    )


def results(seen: Observations) -> Iterator[CheckResult]:
    """Check a working WebSocket for missing and excessive restrictions."""
    if seen.handshake is None or seen.handshake.status_code != 101:
        return
    yield from _foreign(seen)
    yield from _without_origin(seen)
    yield from _h2c(seen)
    yield from _sample_key(seen)
    yield from _subprotocols(seen)


def _stays_open(attempt: Attempt) -> bool:
    is_closed = attempt.failure is not None or _CLOSED_AT_ONCE in attempt.note
    return attempt.status_code == 101 and not is_closed


def _foreign(seen: Observations) -> Iterator[CheckResult]:
    attempt = seen.variants.get("foreign-origin")
    if attempt is None or seen.handshake is None:
        return
    # A service that accepts everyone but then disconnects foreign origins does refuse them.
    own_lasts = _stays_open(seen.handshake)
    is_open = attempt.status_code == 101 and (_stays_open(attempt) or not own_lasts)
    found = None
    if is_open:
        found = finding(
            "origin-open",
            hop="public",
            severity="warning",
            symptom=f"{without_secrets(seen.address.uri)} upgrades for a page of {FOREIGN_ORIGIN}",
            cause="Neither proxy nor service checks Origin: if cookies identify visitors, every"
            " page on the web may open connections on a visitor's behalf (cross-site WebSocket"
            " hijacking). This is only correct if no cookie grants access.",
            fix="Make the service or the proxy answer 403 to any Origin that is not its own.",
            attempt=attempt,
        )
    words = attempt.failure.words if attempt.failure else attempt.note or "upgraded"
    detail = words if is_open else f"refused: {words}"
    yield _result(seen, "foreign origin", attempt, found, detail)


def _without_origin(seen: Observations) -> Iterator[CheckResult]:
    attempt = seen.variants.get("no-origin")
    if attempt is None:
        return
    found = None
    if attempt.status_code is not None and attempt.status_code != 101:
        found = finding(
            "origin-required",
            hop="public",
            severity="note",
            symptom=f"{without_secrets(seen.address.uri)} answers {attempt.status_code} without"
            f" Origin, and 101 with {seen.handshake_origin}",
            cause="Clients other than browsers send no Origin, and are refused here. Go's x/net"
            " Handler does so by default; other services have a rule.",
            fix="Send an Origin from checks and programs, or make the service accept requests"
            " without one.",
            attempt=attempt,
        )
    words = attempt.failure.words if attempt.failure else "upgraded: clients need no Origin"
    yield _result(seen, "no origin", attempt, found, words)


def _h2c(seen: Observations) -> Iterator[CheckResult]:
    attempt = seen.variants.get("h2c")
    if attempt is None:
        return
    found = None
    if is_tunnel(attempt):
        # h2c is only for cleartext: over TLS, a proxy has forwarded it. Without TLS the service
        # itself may answer here, and then there is nothing to bypass.
        is_proxied = seen.address.is_secure or fingerprints.is_proxy_server(attempt)
        found = finding(
            "h2c-tunnel",
            hop="proxy" if is_proxied else "public",
            severity="error" if is_proxied else "warning",
            symptom=f"{without_secrets(seen.address.page_uri)} upgrades to h2c",
            cause="The proxy forwards any Upgrade, and the service speaks cleartext HTTP/2: any"
            " client gets a tunnel to the service that bypasses every rule of the proxy."
            if is_proxied
            else "The service speaks cleartext HTTP/2. If there is a proxy in front of it, it"
            " forwards any Upgrade, and any client gets a tunnel that bypasses its rules.",
            fix="Forward only `Upgrade: websocket`"
            f" ({in_each(lambda words: words.strict_upgrade)}).",
            attempt=attempt,
        )
    words = f"answered {attempt.status_code}" if attempt.status_code else _failure_words(attempt)
    yield _result(seen, "h2c refused", attempt, found, words)


def _sample_key(seen: Observations) -> Iterator[CheckResult]:
    attempt = seen.variants.get("sample-key")
    if attempt is None or attempt.status_code in (None, 101):
        return
    if not 400 <= (attempt.status_code or 0) < 500:
        return
    found = finding(
        "sample-key",
        hop="backend",
        severity="note",
        symptom=f"{without_secrets(seen.address.uri)} answers {attempt.status_code} to the sample"
        " key of many tutorials",
        cause="SGVsbG8sIHdvcmxkIQ== is 13 bytes long, but RFC 6455 requires 16; the service is"
        " right to refuse it, and a probe with it fails although browsers work.",
        fix="Generate a new key for each probe: openssl rand -base64 16",
        attempt=attempt,
    )
    words = f"answered {attempt.status_code}; with 16 bytes, 101"
    yield _result(seen, "sample key", attempt, found, words)


def _subprotocols(seen: Observations) -> Iterator[CheckResult]:
    one, two = seen.variants.get("one-subprotocol"), seen.variants.get("two-subprotocols")
    if one is None or two is None or two.status_code != 400 or one.status_code != 101:
        return
    found = finding(
        "subprotocols-refused",
        hop="backend",
        severity="note",
        symptom=f"{without_secrets(seen.address.uri)} accepts one subprotocol but answers 400 to"
        " two",
        cause="The service cannot select one of several: Go's x/net Handler refuses all if it has"
        " no Handshake function that picks one.",
        fix="Offer only one in clients, or give the service a Handshake function that sets"
        " config.Protocol to one of those offered.",
        attempt=two,
    )
    yield _result(seen, "two subprotocols", two, found, "answered 400; with one, 101")


def _failure_words(attempt: Attempt) -> str:
    return attempt.failure.words if attempt.failure else ""


def _result(
    seen: Observations, name: str, attempt: Attempt, found: Finding | None, words: str
) -> CheckResult:
    return CheckResult(
        site=seen.address.name,
        name=name,
        target=without_secrets(seen.address.uri),
        hop=found.hop if found else "public",
        ok=found is None or found.severity != "error",
        detail=words,
        seconds=attempt.seconds,
        finding=found,
    )
