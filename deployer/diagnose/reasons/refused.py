"""A handshake that was answered with another status than 101. Pure.

A variant that upgrades is proof, and is looked at first; then the words of the answer; then the
status. Where two causes leave the same traces, the finding has the code that covers both.
"""

from __future__ import annotations

from deployer.diagnose.outside import Observations
from deployer.diagnose.reasons import fingerprints, gateway, origin, redirect
from deployer.diagnose.reasons.findings import ASK_THE_HOST, alternatives, finding
from deployer.diagnose.reasons.fingerprints import Fingerprint
from deployer.diagnose.reasons.unexplained import plain_http, unexplained
from deployer.model import Alternative, Finding
from deployer.proxies.words import Words, in_each
from deployer.verify.net.redact import without_secrets
from deployer.verify.probe.attempt import Attempt, Failure

_LOST_WAYS = (
    "headers-not-inherited",
    "proxypass-order",
    "connection-cleared",
    "http-1.0-upstream",
    "map-twice",
)


def finding_of(seen: Observations, attempt: Attempt) -> Finding:
    """Why the handshake was refused, as far as can be known from here."""
    status = attempt.status_code or 0
    failure = attempt.failure or Failure("status", f"answered {status}")
    symptom = f"{without_secrets(seen.address.uri)} {failure.words}"
    words = fingerprints.fingerprint_of(attempt)
    if words is not None and words.meaning == "http-to-https":
        return plain_http(seen, attempt, symptom)
    if status in (301, 302, 303, 307, 308):
        return redirect.finding_of(seen, attempt, symptom)
    if status in (401, 407):
        return _login(seen, attempt, symptom)
    by_origin = origin.finding_of(seen, attempt, failure)
    if by_origin is not None:
        return by_origin
    by_path = _by_path(seen, attempt, symptom) or _by_subprotocol(seen, attempt, symptom)
    if by_path is not None:
        return by_path
    if words is not None and words.meaning in ("no-upgrade", "http-1.0"):
        return _lost(attempt, symptom, words)
    if status in (500, 502, 503, 504) or 520 <= status <= 530:
        return gateway.finding_of(seen, attempt, symptom)
    if status == 200:
        return _page(seen, attempt, symptom)
    if fingerprints.is_own_page(attempt):
        return _own_page(seen, attempt, symptom)
    return unexplained(seen, attempt, symptom, words)


def _login(seen: Observations, attempt: Attempt, symptom: str) -> Finding:
    way = fingerprints.header(attempt, "www-authenticate").partition(" ")[0]
    asked = f" (it asks for {way})" if way else ""
    is_own = fingerprints.is_own_page(attempt)
    return finding(
        "login-required",
        hop="proxy" if is_own else "public",
        symptom=symptom,
        cause=f"The handshake needs a login{asked}; browsers bring a page's cookies along, and can"
        " set no other header on a WebSocket.",
        fix="Give the session along: --header 'Cookie: …', or a token in the path if the service"
        " takes one there.",
        attempt=attempt,
    )


def _by_path(seen: Observations, attempt: Attempt, symptom: str) -> Finding | None:
    """Whether the same handshake succeeds on a path beside this one: that is proof."""
    path = seen.address.path
    if seen.opened("slash"):
        turned = seen.address.with_slash_toggled()
        other = without_secrets(turned.target) if turned else ""
        return finding(
            "slash-mismatch",
            hop="public",
            symptom=f"{symptom}; {other} upgrades",
            cause=f"The path is served as {other} alone: one of the proxy's location, its"
            " proxy_pass and the service's own path has a slash at its end, the others not; or the"
            " address itself is written wrongly.",
            fix=f"Connect to {other}, or serve {path} as well.",
            attempt=attempt,
        )
    if seen.opened("doubled"):
        stem = path.rstrip("/")
        doubled = f"{stem}{stem}"
        return finding(
            "page-instead" if attempt.status_code == 200 else "wrong-route",
            hop="proxy",
            symptom=f"{symptom}; {doubled} upgrades",
            cause=f"The proxy takes {stem} off before it asks the service, which has its WebSocket"
            f" on {stem}: only {doubled} arrives there as {stem}.",
            fix=f"Do not strip the prefix ({in_each(lambda words: words.strip)}).",
            attempt=attempt,
        )
    return None


def _by_subprotocol(seen: Observations, attempt: Attempt, symptom: str) -> Finding | None:
    """Whether the same handshake succeeds with fewer subprotocols, or none."""
    opened = seen.opened("one-subprotocol", "no-subprotocol")
    if not opened:
        return None
    offered = ", ".join(seen.options.subprotocols)
    with_one = "one-subprotocol" in opened
    return finding(
        "subprotocols-refused",
        hop="public",
        symptom=f"{symptom} to the subprotocols {offered}; with "
        + (f"{seen.options.subprotocols[0]} alone it upgrades" if with_one else "none it upgrades"),
        cause="The service cannot choose between several: Go's x/net Handler refuses all where it"
        " has no Handshake function that picks one."
        if with_one
        else "Whoever answers does not know what is offered, and refuses it in place of passing it"
        " over.",
        fix="Let clients offer one; or give the service a Handshake function that sets"
        " config.Protocol to one of those offered."
        if with_one
        else "Offer a subprotocol that the service's manual names, or none.",
        attempt=attempt,
    )


def _lost(attempt: Attempt, symptom: str, words: Fingerprint) -> Finding:
    """The service says that it got an ordinary request, and an upgrade was sent."""
    if words.meaning == "http-1.0":
        return finding(
            "http-1.0-upstream",
            hop="proxy",
            symptom=symptom,
            cause="HTTP/1.1 was sent, and the service complains about the version: the proxy speaks"
            f" HTTP/1.0 to it, which has no upgrades ({in_each(_sign_of_http_1_0)}).",
            fix=f"Speak HTTP/1.1 to the service ({in_each(lambda words: words.http_1_0)}).",
            directive="proxy_http_version 1.1;",
            attempt=attempt,
        )
    seen = _as_it_arrived(words)
    return finding(
        "upgrade-not-forwarded",
        hop="proxy",
        symptom=symptom,
        cause=f"The answer is that of {words.library} to an ordinary request, and an upgrade was"
        f" sent{seen}: something on the way does not pass Upgrade and Connection on.",
        fix=f"Pass both headers on. {in_each(lambda words: words.upgrade)}.",
        attempt=attempt,
        or_else=_ways_to_lose(words),
    )


def _as_it_arrived(words: Fingerprint) -> str:
    if words.arrived is None or not words.header:
        return f" ({words.header} is what it misses)" if words.header else ""
    if not words.arrived:
        return f" ({words.header} did not arrive at all)"
    return f" ({words.header} arrived as {words.arrived!r})"


def _ways_to_lose(words: Fingerprint) -> tuple[Alternative, ...]:
    """Which of the special cases are not ruled out by how the header arrived."""
    if words.header == "Connection" and words.arrived == "":
        return alternatives("connection-cleared", "default-connection", "headers-not-inherited")
    if words.header == "Upgrade":
        return alternatives("headers-not-inherited", "proxypass-order", "connection-cleared")
    if words.header == "Connection" and words.arrived == "close":
        # nginx from 1.29.7 on sends none by itself, and an empty one is not sent at all.
        return alternatives("headers-not-inherited", "map-twice")
    return alternatives(*_LOST_WAYS)


def _page(seen: Observations, attempt: Attempt, symptom: str) -> Finding:
    """An ordinary answer: the wrong path, or an upgrade that got lost before an ordinary page."""
    nowhere = seen.variants.get("nowhere")
    is_everywhere = nowhere is not None and fingerprints.is_same_answer(attempt, nowhere)
    if is_everywhere:
        cause = (
            "A path that does not exist is answered in the same way: this is a page for everything"
            " that is not found (an app of one page, try_files, or a prefix that was stripped)."
        )
    else:
        cause = (
            "An ordinary page is there: either this is not the path of the WebSocket, or the"
            " request reaches the right service as an ordinary one, without its Upgrade."
        )
    return finding(
        "page-instead",
        hop="public",
        symptom=symptom,
        cause=cause,
        fix="Compare the path with the service's manual; then look at where the proxy sends it,"
        f" and whether it passes Upgrade on; {ASK_THE_HOST}.",
        attempt=attempt,
        or_else=alternatives("upgrade-not-forwarded", "wrong-route"),
    )


def _own_page(seen: Observations, attempt: Attempt, symptom: str) -> Finding:
    """The proxy (or web server) refuses by itself; no service was asked."""
    responder = fingerprints.responder_of(attempt)
    who = responder.name if responder else "the web server"
    status = attempt.status_code
    if status == 403:
        also = seen.plain is not None and seen.plain.status_code == 403
        return finding(
            "handshake-refused",
            hop="proxy",
            symptom=symptom,
            cause=f"{who} itself refuses it by a rule, with each Origin that was tried and none"
            + (", and ordinary requests to this path too." if also else ", and only upgrades."),
            fix="Look for deny, Require or http-request deny on this path, and for who may ask.",
            attempt=attempt,
            or_else=alternatives("origin-blocked"),
        )
    if status in (404, 405):
        return finding(
            "wrong-route",
            hop="proxy",
            symptom=symptom,
            cause=f"The answer is a page of {who} itself: the request was not passed on to any"
            " service. No location (ProxyPass, use_backend) has this path, or another site took"
            " the name.",
            fix="Look at which site and which path the web server chooses, and at a default site"
            " that takes the name. If the service itself stands behind a second web server, look"
            " there too.",
            attempt=attempt,
            or_else=alternatives(
                "backend-not-websocket",
                backend_not_websocket=f"a second {who.partition('/')[0]} stands before the service",
            ),
        )
    return unexplained(seen, attempt, symptom, None)


def _sign_of_http_1_0(words: Words) -> str:
    return words.signs.get("http-1.0-upstream", "")
