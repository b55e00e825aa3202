"""A handshake whose failure the answers do not explain, or that got no answer at all. Pure.

The general codes, with all that they can be and how to tell.
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
        cause="TLS was spoken to the proxy, and the answer says that plain HTTP arrived at a TLS"
        " port: so the proxy speaks plain HTTP to a service that expects TLS.",
        fix="Use TLS to the service in the proxy"
        f" ({in_each(lambda words: words.tls_upstream)}), or turn it off in the service.",
        attempt=attempt,
    )


def unexplained(
    seen: Observations, attempt: Attempt, symptom: str, words: Fingerprint | None
) -> Finding:
    is_alike = seen.plain is not None and fingerprints.is_same_answer(attempt, seen.plain)
    hop: Hop = "proxy" if fingerprints.is_own_page(attempt) else "public"
    cause, or_else = _status_cause(attempt, words, is_alike=is_alike)
    front = fingerprints.in_front(attempt)
    by_front = f" {front} stands in front, and may refuse by itself." if front else ""
    return finding(
        "handshake-refused",
        hop=hop,
        symptom=symptom,
        cause=f"{cause}{_compared(seen, attempt, is_alike=is_alike)}{by_front}",
        fix=f"Try the same handshake straight at the service, on the host; {ASK_THE_HOST}.",
        attempt=attempt,
        or_else=or_else,
    )


def _is_fastapi(attempt: Attempt) -> bool:
    return attempt.answer.body.strip() == b'{"detail":"Not Found"}'


def _compared(seen: Observations, attempt: Attempt, *, is_alike: bool) -> str:
    """What the answer to an ordinary request shows, as a sentence."""
    status = attempt.status_code
    if status == 429 or (status == 404 and _is_fastapi(attempt)):
        return ""
    if is_alike:
        return (
            " An ordinary request gets the very same answer, so the one who answers may not see"
            " that an upgrade is asked for."
        )
    if seen.plain is not None and seen.plain.status_code is not None:
        return " An ordinary request gets another answer, so whoever answers does see the upgrade."
    return ""


def _status_cause(
    attempt: Attempt, words: Fingerprint | None, *, is_alike: bool
) -> tuple[str, tuple[Alternative, ...]]:
    status = attempt.status_code
    if status == 403:
        return (
            "The refusal is the same with every Origin and with none, so it is not Origin alone.",
            alternatives(
                "login-required",
                "wrong-route",
                "origin-blocked",
                wrong_route="Starlette and FastAPI answer 403 to a WebSocket path that is not"
                " theirs",
            ),
        )
    if status == 404:
        return _not_found(attempt, is_alike=is_alike)
    if status == 400:
        return _bad_request(words, is_alike=is_alike)
    if status == 429:
        return "It counts requests from here, and these were too many.", ()
    return "The answer does not say why.", ()


def _not_found(attempt: Attempt, *, is_alike: bool) -> tuple[str, tuple[Alternative, ...]]:
    cause = "Whoever answers has no WebSocket on this path, or was not asked for one."
    if _is_fastapi(attempt):
        cause = (
            "These are the words of FastAPI (Starlette) to an ordinary request; to a WebSocket"
            " on an unknown path it says 403. So the upgrade got lost on the way, or the server"
            " under it (uvicorn) has no WebSocket library."
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
        return "The service does not get Sec-WebSocket-Key or -Version, which were sent.", ()
    if words is not None and words.meaning == "subprotocol":
        return "The service refuses the subprotocols that were offered, or that none was.", ()
    cause = "The request was not taken for a right handshake."
    if is_alike:
        return cause, alternatives("upgrade-not-forwarded", "backend-not-websocket")
    return cause, alternatives(
        "backend-not-websocket",
        "wrong-route",
        wrong_route="Node's ws answers 400 to an upgrade on a path that is not its own",
    )


def unanswered(seen: Observations, attempt: Attempt, failure: Failure, *, general: str) -> Finding:
    """The request was sent and no whole answer came."""
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
            cause="Connections are taken, and no request is answered, on this path or another: the"
            " service hangs and everything goes to it, or the proxy has nobody left to serve.",
            fix="On the host: does the service answer on its own port? What does the proxy's error"
            f" log say of its limits? {ASK_THE_HOST}.",
            attempt=attempt,
            or_else=alternatives(
                "service-hangs", "threads-exhausted", "scoreboard-full", "connections-exhausted"
            ),
        )
    if failure.code == "timeout":
        where = "an ordinary request to this path" if answers_plain else "another path"
        return finding(
            "service-hangs",
            hop="backend",
            symptom=symptom,
            cause=f"The server answers {where}, and not the handshake: what it is passed on to"
            " takes the request and says nothing.",
            fix="Look at the service's log and workers; on the host, ask it on its own port.",
            attempt=attempt,
        )
    if failure.code == "closed" and not answers_plain and not answers_elsewhere:
        return finding(
            general,
            hop="public",
            symptom=symptom,
            cause="Connections are taken and hung up on, whatever is asked: there is no free"
            " connection or file left to serve them, no HTTP is spoken there, or the server waits"
            " for a PROXY header, which the load balancer before it would send.",
            fix=f"On the host: the error log at this moment, and who listens; {ASK_THE_HOST}.",
            attempt=attempt,
            or_else=alternatives("connections-exhausted", "files-exhausted"),
        )
    closes = failure.code == "closed" and answers_plain
    return finding(
        general,
        hop="public",
        symptom=symptom,
        cause="Ordinary requests are answered on this path; only the handshake is cut off: the"
        " service fails on it, or something on the way (a firewall, a filter) does not like it."
        if closes
        else "Something else than HTTP/1.1 is spoken there, or the answer broke off.",
        fix=f"Look at the service's log at this moment; {ASK_THE_HOST}.",
        attempt=attempt,
    )
