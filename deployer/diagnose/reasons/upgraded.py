"""A handshake that was answered with 101: what went wrong then, or who is let in too much."""

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

_GONE = frozenset({"closed", "dropped"})
_CLOSED_AT_ONCE = "right after the handshake"
_NOT_PROOF = frozenset({"wrong-accept", "incomplete-upgrade", "not-http", "bad-negotiation"})


def finding_of(seen: Observations, attempt: Attempt, failure: Failure) -> Finding:
    """Why an answer of 101 is no working connection."""
    code = causes.general_code(failure)
    uri = without_secrets(seen.address.uri)
    symptom = f"{uri} {failure.words}"
    if failure.code in _NOT_PROOF:
        return finding(
            code,
            hop="public",
            symptom=symptom,
            cause="Whoever answers is no WebSocket server by RFC 6455, or something on the way"
            " changes its answer: a cache that has kept a 101, a filter, a hand-made handshake."
            " From outside nobody can tell which.",
            fix="Ask the service itself, on the host, with the same handshake. If that is right,"
            f" look at what changes response headers on the way; {ASK_THE_HOST}.",
            attempt=attempt,
        )
    if failure.code == "subprotocol-missing":
        return finding(
            code,
            hop="public",
            symptom=symptom,
            cause="The service does not know these subprotocols, or something on the way drops"
            " Sec-WebSocket-Protocol; browsers then close the connection themselves.",
            fix="Offer the one that the service's manual names; if that is what was offered, look"
            " for a rule of the proxy that removes the header in the request or in the answer.",
            attempt=attempt,
        )
    if failure.code == "no-pong":
        return finding(
            code,
            hop="backend",
            symptom=symptom,
            cause="The connection opens, and then nobody reads from it: the service hangs, or it"
            " ignores pings, which RFC 6455 (section 5.5.2) forbids.",
            fix="Look at the service's log and its workers.",
            attempt=attempt,
        )
    if failure.code == "unexpected-message":
        return _unexpected_message(attempt, failure, symptom)
    return finding(
        code,
        hop="public",
        symptom=symptom,
        cause="The handshake succeeds and the connection does not last: the service fails or wants"
        " something that was not sent, or the proxy does not carry what comes after the handshake."
        " From outside the two look alike.",
        fix=f"Look at the service's log at this moment, then at the proxy's; {ASK_THE_HOST}.",
        attempt=attempt,
        or_else=alternatives("http-1.0-upstream") if failure.code in _GONE else (),
    )


def _unexpected_message(attempt: Attempt, failure: Failure, symptom: str) -> Finding:
    is_silent = "no message at all" in failure.evidence
    return finding(
        "silent-after-upgrade" if is_silent else "unexpected-message",
        hop="backend",
        symptom=symptom,
        cause=(
            "The connection is open and answers pings, and what should speak on it is silent:"
            " a worker, queue or database behind the service is down, the login was refused"
            " without a word, or the service waits for another message first."
            if is_silent
            else "The service says something else than was expected."
        ),
        fix="Look at the service's log and at what stands behind it (workers, Redis, its"
        " database); compare --send with what its own page sends first.",
        attempt=attempt,
    )


def results(seen: Observations) -> Iterator[CheckResult]:
    """What is let in that should not be, and what is not that should."""
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
    # A service that lets everybody in and then sends strangers away does refuse them.
    own_lasts = _stays_open(seen.handshake)
    is_open = attempt.status_code == 101 and (_stays_open(attempt) or not own_lasts)
    found = None
    if is_open:
        found = finding(
            "origin-open",
            hop="public",
            severity="warning",
            symptom=f"{without_secrets(seen.address.uri)} upgrades for a page of {FOREIGN_ORIGIN}",
            cause="Neither proxy nor service looks at Origin: where a visitor is known by a cookie,"
            " every page on the web may open connections in that visitor's name (cross-site"
            " WebSocket hijacking). It is right only where no cookie counts.",
            fix="Let the service, or the proxy, refuse an Origin that is not its own with 403.",
            attempt=attempt,
        )
    said = attempt.failure.words if attempt.failure else attempt.note or "upgraded"
    yield _result(seen, "foreign origin", attempt, found, said if is_open else f"refused: {said}")


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
            symptom=f"{without_secrets(seen.address.uri)} without Origin is answered with"
            f" {attempt.status_code}, with {seen.handshake_origin} with 101",
            cause="Programs other than browsers send no Origin, and are refused here. Go's x/net"
            " Handler does so by itself; others by a rule.",
            fix="Send an Origin in checks and programs; or let the service take requests without.",
            attempt=attempt,
        )
    words = attempt.failure.words if attempt.failure else "upgraded: not only browsers may connect"
    yield _result(seen, "no origin", attempt, found, words)


def _h2c(seen: Observations) -> Iterator[CheckResult]:
    attempt = seen.variants.get("h2c")
    if attempt is None:
        return
    found = None
    if is_tunnel(attempt):
        # h2c is for cleartext alone: over TLS, somebody has passed it on. Without TLS it may be the
        # service itself that answers here, and then there is nothing to get around.
        is_proxied = seen.address.is_secure or fingerprints.is_proxy_server(attempt)
        found = finding(
            "h2c-tunnel",
            hop="proxy" if is_proxied else "public",
            severity="error" if is_proxied else "warning",
            symptom=f"{without_secrets(seen.address.page_uri)} upgrades to h2c",
            cause="The proxy passes any Upgrade on, and the service speaks cleartext HTTP/2:"
            " whoever asks for it gets a tunnel to the service past every rule of the proxy."
            if is_proxied
            else "The service speaks cleartext HTTP/2. If a proxy stands before it, that passes any"
            " Upgrade on, and whoever asks for it gets a tunnel past every rule of the proxy.",
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
        symptom=f"{without_secrets(seen.address.uri)} with the sample key of many tutorials is"
        f" answered with {attempt.status_code}",
        cause="SGVsbG8sIHdvcmxkIQ== is 13 bytes long, and RFC 6455 wants 16; the service is right"
        " to refuse it, and a probe made with it fails where browsers work.",
        fix="Make the key of a probe anew each time: openssl rand -base64 16",
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
        symptom=f"{without_secrets(seen.address.uri)} takes one subprotocol and answers 400 to two",
        cause="The service cannot choose between several: Go's x/net Handler refuses all when it"
        " has no Handshake function that picks one.",
        fix="Let clients offer one; or give the service a Handshake function that sets"
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
