"""Describe handshakes that fail without an explanation, or get no response. Pure.

The findings have general codes, with all alternatives and how to check them.
"""

from __future__ import annotations

from deployer.diagnose.outside import Observations
from deployer.diagnose.reasons import fingerprints
from deployer.diagnose.reasons.findings import ASK_THE_HOST, alternatives, finding
from deployer.diagnose.reasons.fingerprints import Fingerprint
from deployer.model import Alternative, Finding, Hop
from deployer.proxies.words import in_each
from deployer.verify.net.redact import without_secrets
from deployer.verify.probe.attempt import Attempt, Failure


def plain_http(seen: Observations, attempt: Attempt, symptom: str) -> Finding:
    """Return the finding for plain HTTP that arrived at a TLS port."""
    address = seen.address
    if not address.is_secure:
        return finding(
            "plain-http-on-https",
            hop="proxy",
            symptom=symptom,
            cause=f"Port {address.port} is a TLS port, and ws:// is plain HTTP.",
            fix=f"Use wss://{address.bare_host}:{address.port}{without_secrets(address.target)}",
            attempt=attempt,
        )
    return finding(
        "upstream-scheme",
        hop="proxy",
        symptom=symptom,
        cause="The connection to the proxy uses TLS, but the response says that plain HTTP arrived"
        " at a TLS port: the proxy speaks plain HTTP to a service that expects TLS.",
        fix="Use TLS to the service in the proxy"
        f" ({in_each(lambda words: words.tls_upstream)}), or disable it in the service.",
        attempt=attempt,
    )


def unexplained(
    seen: Observations, attempt: Attempt, symptom: str, words: Fingerprint | None
) -> Finding:
    is_alike = seen.plain is not None and fingerprints.is_same_answer(attempt, seen.plain)
    hop: Hop = "proxy" if fingerprints.is_own_page(attempt) else "public"
    cause, or_else = _status_cause(attempt, words, is_alike=is_alike)
    front = fingerprints.in_front(attempt)
    by_front = f" {front} is in front of it, and may refuse by itself." if front else ""
    return finding(
        "handshake-refused",
        hop=hop,
        symptom=symptom,
        cause=f"{cause}{_compared(seen, attempt, is_alike=is_alike)}{by_front}",
        fix=f"On the host, try the same handshake directly at the service; {ASK_THE_HOST}.",
        attempt=attempt,
        or_else=or_else,
    )


def _is_fastapi(attempt: Attempt) -> bool:
    return attempt.answer.body.strip() == b'{"detail":"Not Found"}'


def _compared(seen: Observations, attempt: Attempt, *, is_alike: bool) -> str:
    """Describe the response to an ordinary request, as a sentence."""
    status = attempt.status_code
    if status == 429 or (status == 404 and _is_fastapi(attempt)):
        return ""
    if is_alike:
        return " An ordinary request gets the same response, so the server may not see the upgrade."
    if seen.plain is not None and seen.plain.status_code is not None:
        return " An ordinary request gets a different response, so the server sees the upgrade."
    return ""


def _status_cause(
    attempt: Attempt, words: Fingerprint | None, *, is_alike: bool
) -> tuple[str, tuple[Alternative, ...]]:
    status = attempt.status_code
    if status == 403:
        return (
            "The refusal is the same with any Origin or none, so Origin alone is not the cause.",
            alternatives(
                "login-required",
                "wrong-route",
                "origin-blocked",
                wrong_route="Starlette and FastAPI answer 403 on an unknown WebSocket path",
            ),
        )
    if status == 404:
        return _not_found(attempt, is_alike=is_alike)
    if status == 400:
        return _bad_request(words, is_alike=is_alike)
    if status == 429:
        return "It limits the rate of requests from here, and these were too many.", ()
    return "The response does not say why.", ()


def _not_found(attempt: Attempt, *, is_alike: bool) -> tuple[str, tuple[Alternative, ...]]:
    cause = "The server has no WebSocket on this path, or did not see the upgrade."
    if _is_fastapi(attempt):
        cause = (
            "This is FastAPI's (Starlette's) response to an ordinary request; to a WebSocket on an"
            " unknown path it answers 403. So the upgrade was lost on the path, or its server"
            " (uvicorn) has no WebSocket library."
        )
    if is_alike:
        return cause, alternatives("upgrade-not-forwarded", "wrong-route", "backend-not-websocket")
    return cause, alternatives(
        "origin-blocked",
        "wrong-route",
        origin_blocked="Action Cable answers 404 to an Origin that it does not allow",
    )


def _bad_request(
    words: Fingerprint | None, *, is_alike: bool
) -> tuple[str, tuple[Alternative, ...]]:
    if words is not None and words.meaning == "no-key":
        return "The service does not receive Sec-WebSocket-Key or -Version, which were sent.", ()
    if words is not None and words.meaning == "subprotocol":
        return "The service refuses the offered subprotocols, or requires one.", ()
    cause = "The server does not treat the request as a valid handshake."
    if is_alike:
        return cause, alternatives("upgrade-not-forwarded", "backend-not-websocket")
    return cause, alternatives(
        "backend-not-websocket",
        "wrong-route",
        wrong_route="Node's ws answers 400 to an upgrade on an unknown path",
    )


def unanswered(seen: Observations, attempt: Attempt, failure: Failure, *, general: str) -> Finding:
    """Return the finding for a request without a complete response."""
    symptom = f"{without_secrets(seen.address.uri)} {failure.words}"
    if seen.speaks_tls:
        return plain_http(seen, attempt, symptom)
    answers_plain = seen.plain is not None and seen.plain.status_code is not None
    nowhere = seen.variants.get("nowhere")
    answers_elsewhere = nowhere is not None and nowhere.status_code is not None
    if failure.code == "timeout" and not (answers_plain or answers_elsewhere):
        return finding(
            "timeout",
            hop="public",
            symptom=symptom,
            cause="Connections are accepted, but no request is answered on any path: the service"
            " hangs and gets all requests, or the proxy has no free worker.",
            fix="On the host, check whether the service answers on its own port, and whether the"
            f" proxy's error log reports limits. {ASK_THE_HOST}.",
            attempt=attempt,
            or_else=alternatives(
                "service-hangs", "threads-exhausted", "scoreboard-full", "connections-exhausted"
            ),
        )
    if failure.code == "timeout":
        where = "an ordinary request to this path" if answers_plain else "a different path"
        return finding(
            "service-hangs",
            hop="backend",
            symptom=symptom,
            cause=f"The server answers {where}, but not the handshake: the service that gets it"
            " accepts the request and does not respond.",
            fix="Check the service's log and workers; on the host, test it on its own port.",
            attempt=attempt,
        )
    if failure.code == "closed" and not answers_plain and not answers_elsewhere:
        return finding(
            general,
            hop="public",
            symptom=symptom,
            cause="Connections are accepted and closed, whatever the request: the server has no"
            " free connection or file, does not speak HTTP, or expects a PROXY header from a load"
            " balancer in front of it.",
            fix="On the host, check the error log at this time, and the listening process;"
            f" {ASK_THE_HOST}.",
            attempt=attempt,
            or_else=alternatives("connections-exhausted", "files-exhausted"),
        )
    closes = failure.code == "closed" and answers_plain
    return finding(
        general,
        hop="public",
        symptom=symptom,
        cause="Ordinary requests are answered on this path, but the handshake is disconnected: the"
        " service fails on it, or something on the path (a firewall, a filter) blocks it."
        if closes
        else "The server does not speak HTTP/1.1, or the response was incomplete.",
        fix=f"Check the service's log at this time; {ASK_THE_HOST}.",
        attempt=attempt,
    )
