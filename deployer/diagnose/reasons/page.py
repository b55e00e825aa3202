"""Check a page and the WebSockets that it opens: their addresses, and whether it may. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping

from deployer.diagnose.outside import CONNECT_FAILURES, PageObservations
from deployer.diagnose.reasons import fingerprints, gateway
from deployer.diagnose.reasons.findings import finding
from deployer.diagnose.reasons.redirect import endless
from deployer.model import CheckResult, Finding
from deployer.verify.judge import causes
from deployer.verify.net.redact import without_secrets
from deployer.verify.page import csp
from deployer.verify.page.websockets import PageWebSocket
from deployer.verify.probe.attempt import Attempt

_HOW = {
    "written": "written out",
    "built": "built from the page's own host",
    "goaccess": "GoAccess's connection",
    "action-cable": "Action Cable's",
    "socket.io": "Socket.IO's",
}


def result(page: PageObservations) -> CheckResult:
    """Return the check of the page itself, with the number of WebSockets that it opens."""
    attempt = page.attempt
    uri = without_secrets(page.address.page_uri)
    found = _page_finding(page, uri)
    words = attempt.failure.words if attempt.failure else f"answered {attempt.status_code}"
    is_read = attempt.status_code == 200 and found is None
    if is_read:
        number = len(page.opened)
        words += f", opens {number or 'no'} visible WebSocket{'s' if number != 1 else ''}"
    return CheckResult(
        site=page.address.name,
        name="page",
        target=uri,
        hop=found.hop if found else "public",
        ok=found is None,
        detail=words,
        seconds=attempt.seconds,
        finding=found,
        skipped=found is None and not is_read,
    )


def _page_finding(page: PageObservations, uri: str) -> Finding | None:
    attempt = page.attempt
    status = attempt.status_code
    if page.is_endless:
        return endless(page.places, attempt, f"{uri} redirects endlessly")
    if status is not None and status >= 500:
        words = f"{uri} answered {status}"
        return gateway.of_page(attempt, words)
    failure = attempt.failure
    if failure is None or failure.code in CONNECT_FAILURES:
        return None  # the handshake's own check has the finding
    if failure.code == "speaks-tls":
        return finding(
            "plain-http-on-https",
            hop="proxy",
            symptom=f"{uri} {failure.words}",
            cause=f"Port {page.address.port} is a TLS port, and http:// is plain HTTP.",
            fix=f"Use https://{page.address.bare_host}:{page.address.port}",
            attempt=attempt,
        )
    return finding(
        causes.general_code(failure),
        hop="public",
        symptom=f"{uri} {failure.words}",
        cause="The page itself is not served, regardless of its WebSockets.",
        fix="Check the web server and its error log first.",
        attempt=attempt,
    )


def opened_results(
    page: PageObservations, handshakes: Mapping[str, Attempt], intended: Mapping[str, Attempt]
) -> tuple[CheckResult, ...]:
    """Return, for each WebSocket of the page, whether a browser would allow it.

    `handshakes` maps each URI to its handshake, `intended` to the handshake at the address that the
    page's author wanted, if that is a different one.
    """
    return tuple(_opened_result(page, opened, handshakes, intended) for opened in page.opened)


def _opened_result(
    page: PageObservations,
    opened: PageWebSocket,
    handshakes: Mapping[str, Attempt],
    intended: Mapping[str, Attempt],
) -> CheckResult:
    uri = opened.address.uri
    is_own = _is_visitors_own(page, opened)
    found = (
        _mixed(page, opened)
        or _forbidden(page, opened)
        or _goaccess(page, opened, handshakes.get(uri), intended.get(uri))
    )
    return CheckResult(
        site=page.address.name,
        name="opened by page",
        target=without_secrets(uri),
        hop=found.hop if found else "public",
        ok=found is None,
        detail=f"{without_secrets(uri)} ({_HOW[opened.how]})"
        + (": on the visitor's own machine, not tested from here" if is_own else ""),
        finding=found,
        skipped=is_own and found is None,
    )


def _mixed(page: PageObservations, opened: PageWebSocket) -> Finding | None:
    address = opened.address
    if not page.address.is_secure or address.is_secure or _is_loopback(address.name):
        return None
    if csp.upgrades_insecure(page.policies):
        return None
    return finding(
        "mixed-content",
        hop="public",
        symptom=f"{without_secrets(page.address.page_uri)} opens {without_secrets(address.uri)}",
        cause="A page served over HTTPS may not open an unencrypted WebSocket: browsers block it"
        " before anything is sent, so no server logs it.",
        fix=f"Write wss:// into the page: wss://{address.bare_host}{without_secrets(address.target)}"
        ", or build the address from location.host.",
    )


def _is_loopback(name: str) -> bool:
    """Whether browsers trust the name without TLS."""
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")


def _forbidden(page: PageObservations, opened: PageWebSocket) -> Finding | None:
    directive = csp.blocking_directive(page.policies, page.address, opened.address)
    if not directive:
        return None
    address = opened.address
    return finding(
        "csp-connect-src",
        hop="public",
        symptom=f"{without_secrets(page.address.page_uri)} opens {without_secrets(address.uri)},"
        " which its own policy forbids",
        cause=f"The page's Content-Security-Policy has {directive!r}, which does not cover"
        f" {address.host}: browsers block the connection before anything is sent.",
        fix=f"Add wss://{address.host} to connect-src of that policy.",
        directive=f"Content-Security-Policy: connect-src 'self' wss://{address.host}",
        attempt=page.attempt,
    )


def _goaccess(
    page: PageObservations,
    opened: PageWebSocket,
    handshake: Attempt | None,
    intended: Attempt | None,
) -> Finding | None:
    """Report a GoAccess page that connects to a different address than its URL, and fails."""
    if opened.how != "goaccess" or opened.intended is None or handshake is None:
        return None
    if handshake.status_code == 101:
        return None
    words = handshake.failure.words if handshake.failure else f"answered {handshake.status_code}"
    works = intended is not None and intended.status_code == 101
    right = opened.intended
    return finding(
        "goaccess-url",
        hop="public",
        symptom=f"{without_secrets(page.address.page_uri)} connects to"
        f" {without_secrets(opened.address.uri)}, which {words}",
        cause=f"--ws-url is {without_secrets(opened.written)}, without a port: the report then adds"
        f" GoAccess's own port{', while the intended address works' if works else ''}.",
        fix=f"Start GoAccess with --ws-url={'wss' if right.is_secure else 'ws'}://"
        f"{right.bare_host}:{right.port}{without_secrets(right.target)}",
        directive=f"--ws-url={'wss' if right.is_secure else 'ws'}://{right.bare_host}:{right.port}"
        f"{without_secrets(right.target)}",
        attempt=handshake,
    )


def is_asked(page: PageObservations, opened: PageWebSocket) -> bool:
    """Whether the address can be tested from this machine instead of a browser.

    Browsers do not try if the page may not open an unencrypted WebSocket; and a WebSocket on the
    visitor's own machine cannot be tested from this one.
    """
    return _mixed(page, opened) is None and not _is_visitors_own(page, opened)


def _is_visitors_own(page: PageObservations, opened: PageWebSocket) -> bool:
    return _is_loopback(opened.address.name) and not _is_loopback(page.address.name)


def is_websocket_answer(attempt: Attempt) -> bool:
    """Whether only a WebSocket service answers an ordinary request like this."""
    words = fingerprints.fingerprint_of(attempt)
    return words is not None and words.meaning == "no-upgrade"
