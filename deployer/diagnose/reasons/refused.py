"""Explain a handshake answered with a status other than 101. Pure.

A variant that upgrades is proof and comes first, then the text of the response, then the status. If
two causes look the same, the finding has the code that covers both.
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

_UPGRADE_LOST_CODES = (
    "headers-not-inherited",
    "proxypass-order",
    "connection-cleared",
    "http-1.0-upstream",
    "map-twice",
)


def finding_of(seen: Observations, attempt: Attempt) -> Finding:
    """Return why the handshake was refused, as far as visible from outside."""
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
    scheme = fingerprints.header(attempt, "www-authenticate").partition(" ")[0]
    wanted = f" ({scheme})" if scheme else ""
    is_own = fingerprints.is_own_page(attempt)
    return finding(
        "login-required",
        hop="proxy" if is_own else "public",
        symptom=symptom,
        cause=f"The handshake requires a login{wanted}; browsers send a page's cookies, and cannot"
        " set other headers on a WebSocket.",
        fix="Send the session's cookie: --header 'Cookie: …', or a token in the path if the service"
        " accepts one there.",
        attempt=attempt,
    )


def _by_path(seen: Observations, attempt: Attempt, symptom: str) -> Finding | None:
    """Return the finding if the same handshake succeeds on a similar path, which is proof."""
    path = seen.address.path
    if seen.opened("slash"):
        toggled = seen.address.with_slash_toggled()
        other = without_secrets(toggled.target) if toggled else ""
        return finding(
            "slash-mismatch",
            hop="public",
            symptom=f"{symptom}; {other} upgrades",
            cause=f"The path is only served as {other}: the proxy's location, its proxy_pass and"
            " the service's own path differ in the trailing slash, or the address itself is"
            " wrong.",
            fix=f"Connect to {other}, or also serve {path}.",
            attempt=attempt,
        )
    if seen.opened("doubled"):
        stem = path.rstrip("/")
        doubled = f"{stem}{stem}"
        return finding(
            "page-instead" if attempt.status_code == 200 else "wrong-route",
            hop="proxy",
            symptom=f"{symptom}; {doubled} upgrades",
            cause=f"The proxy strips {stem} before it forwards to the service, whose WebSocket is"
            f" on {stem}: only {doubled} arrives there as {stem}.",
            fix=f"Do not strip the prefix ({in_each(lambda words: words.strip)}).",
            attempt=attempt,
        )
    return None


def _by_subprotocol(seen: Observations, attempt: Attempt, symptom: str) -> Finding | None:
    """Return the finding if the same handshake succeeds with fewer subprotocols, or none."""
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
        cause="The service cannot select one of several: Go's x/net Handler refuses all if it has"
        " no Handshake function that picks one."
        if with_one
        else "The server does not support the offered subprotocols, and refuses them instead of"
        " ignoring them.",
        fix="Offer only one in clients, or give the service a Handshake function that sets"
        " config.Protocol to one of those offered."
        if with_one
        else "Offer a subprotocol from the service's documentation, or none.",
        attempt=attempt,
    )


def _lost(attempt: Attempt, symptom: str, words: Fingerprint) -> Finding:
    """Return the finding if the service received an ordinary request instead of an upgrade."""
    if words.meaning == "http-1.0":
        return finding(
            "http-1.0-upstream",
            hop="proxy",
            symptom=symptom,
            cause="HTTP/1.1 was sent, but the service rejects the version: the proxy speaks"
            f" HTTP/1.0 to it, which has no upgrades ({in_each(_sign_of_http_1_0)}).",
            fix=f"Use HTTP/1.1 to the service ({in_each(lambda words: words.http_1_0)}).",
            directive="proxy_http_version 1.1;",
            attempt=attempt,
        )
    seen = _as_it_arrived(words)
    return finding(
        "upgrade-not-forwarded",
        hop="proxy",
        symptom=symptom,
        cause=f"This is the response of {words.library} to an ordinary request, but an upgrade was"
        f" sent{seen}: something on the path does not forward Upgrade and Connection.",
        fix=f"Forward both headers. {in_each(lambda words: words.upgrade)}.",
        attempt=attempt,
        or_else=_upgrade_lost_alternatives(words),
    )


def _as_it_arrived(words: Fingerprint) -> str:
    if words.arrived is None or not words.header:
        return f" ({words.header} is missing)" if words.header else ""
    if not words.arrived:
        return f" ({words.header} did not arrive at all)"
    return f" ({words.header} arrived as {words.arrived!r})"


def _upgrade_lost_alternatives(words: Fingerprint) -> tuple[Alternative, ...]:
    """Return the special cases that the received header does not rule out."""
    if words.header == "Connection" and words.arrived == "":
        return alternatives("connection-cleared", "default-connection", "headers-not-inherited")
    if words.header == "Upgrade":
        return alternatives("headers-not-inherited", "proxypass-order", "connection-cleared")
    if words.header == "Connection" and words.arrived == "close":
        # nginx from 1.29.7 sends none by default, and does not send an empty one.
        return alternatives("headers-not-inherited", "map-twice")
    return alternatives(*_UPGRADE_LOST_CODES)


def _page(seen: Observations, attempt: Attempt, symptom: str) -> Finding:
    """Return the finding for an ordinary page: a wrong path, or a lost upgrade."""
    nowhere = seen.variants.get("nowhere")
    is_everywhere = nowhere is not None and fingerprints.is_same_answer(attempt, nowhere)
    if is_everywhere:
        cause = (
            "A path that does not exist gets the same response: this is the fallback page for"
            " everything not found (a single-page app, try_files, or a stripped prefix)."
        )
    else:
        cause = (
            "There is an ordinary page: either this is not the path of the WebSocket, or the"
            " request reaches the right service without its Upgrade."
        )
    return finding(
        "page-instead",
        hop="public",
        symptom=symptom,
        cause=cause,
        fix="Compare the path with the service's documentation; then check where the proxy sends"
        f" it, and whether it forwards Upgrade; {ASK_THE_HOST}.",
        attempt=attempt,
        or_else=alternatives("upgrade-not-forwarded", "wrong-route"),
    )


def _own_page(seen: Observations, attempt: Attempt, symptom: str) -> Finding:
    """Return the finding if the proxy (or web server) itself refuses, without any service."""
    responder = fingerprints.responder_of(attempt)
    who = responder.name if responder else "the web server"
    status = attempt.status_code
    if status == 403:
        also = seen.plain is not None and seen.plain.status_code == 403
        return finding(
            "handshake-refused",
            hop="proxy",
            symptom=symptom,
            cause=f"A rule of {who} itself refuses it, with every Origin that was tried and none"
            + (", and also ordinary requests to this path." if also else ", but only upgrades."),
            fix="Look for deny, Require or http-request deny on this path, and allowed clients.",
            attempt=attempt,
            or_else=alternatives("origin-blocked"),
        )
    if status in (404, 405):
        return finding(
            "wrong-route",
            hop="proxy",
            symptom=symptom,
            cause=f"The response is a page of {who} itself: the request was not forwarded to any"
            " service. No location (ProxyPass, use_backend) matches this path, or a different site"
            " matches the name.",
            fix="Check which site and path the web server selects, and whether a default site takes"
            " the name. If the service is behind a second web server, check that too.",
            attempt=attempt,
            or_else=alternatives(
                "backend-not-websocket",
                backend_not_websocket=f"there is a second {who.partition('/')[0]} before the"
                " service",
            ),
        )
    return unexplained(seen, attempt, symptom, None)


def _sign_of_http_1_0(words: Words) -> str:
    return words.signs.get("http-1.0-upstream", "")
