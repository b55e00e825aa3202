"""Diagnose one URL from outside: a WebSocket, or a page with the WebSockets that it opens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from deployer.diagnose.handshake_variants import HandshakeOptions
from deployer.diagnose.outside import Outside, PageObservations
from deployer.diagnose.reasons import page as page_reasons
from deployer.diagnose.reasons import websocket as websocket_reasons
from deployer.model import CheckResult
from deployer.verify.net.address import Address, has_scheme, parse_address
from deployer.verify.page.websockets import PageWebSocket

UrlResult = tuple[tuple[CheckResult, ...], bool]


def diagnose_url(url: str, options: HandshakeOptions, outside: Outside) -> UrlResult:
    """Return the checks, and whether any connection was accepted.

    Raises: UsageError if `url` is not an address.
    """
    result = _diagnose(parse_address(url), options, outside)
    if not has_scheme(url) and not result[1]:
        again = _diagnose(parse_address(f"http://{url}"), options, outside)
        return again if again[1] else result
    return result


def _diagnose(address: Address, options: HandshakeOptions, outside: Outside) -> UrlResult:
    if address.is_websocket:
        seen = outside.websocket(address, options)
        return websocket_reasons.results(seen), seen.is_reached
    seen = outside.reached(address, options)
    found = websocket_reasons.reach_results(seen)
    if not seen.is_reached or seen.is_stopped:
        return found, seen.is_reached
    return _without_repetition((*found, *diagnose_page(address, options, outside))), True


def diagnose_page(
    address: Address, options: HandshakeOptions, outside: Outside
) -> tuple[CheckResult, ...]:
    """Check a page and every WebSocket that it opens, or the address as a WebSocket itself."""
    page = outside.page(address, options)
    if not page.opened and not page.is_endless:
        handshake = outside.handshake(address, options)
        if handshake.status_code == 101 or page_reasons.is_websocket_answer(page.attempt):
            return websocket_reasons.results(outside.websocket(address, options))
    checks = [page_reasons.result(page)]
    handshakes, intended = {}, {}
    for opened in page.opened:
        asked = _page_options(options, page, opened)
        there = opened.address
        if not page_reasons.is_asked(page, opened):
            continue
        if opened.intended is not None:
            handshakes[there.uri] = outside.handshake(there, asked)
            if handshakes[there.uri].status_code != 101:
                there = opened.intended
        seen = outside.websocket(there, asked)
        if opened.intended is there and seen.handshake is not None:
            intended[opened.address.uri] = seen.handshake
        checks += websocket_reasons.results(seen)
    checks += page_reasons.opened_results(page, handshakes, intended)
    return _without_repetition(checks)


def _page_options(
    options: HandshakeOptions, page: PageObservations, opened: PageWebSocket
) -> HandshakeOptions:
    """Return the page's own handshake options; only the page's server gets the credentials."""
    return replace(
        options,
        origin=options.origin or page.address.origin,
        subprotocols=options.subprotocols or opened.subprotocols,
        headers=options.headers if opened.address.name == page.address.name else (),
    )


def _without_repetition(checks: Sequence[CheckResult]) -> tuple[CheckResult, ...]:
    """Keep the first result of each kind: several WebSockets may share a server."""
    kept: dict[tuple[str, str], CheckResult] = {}
    for check in checks:
        kept.setdefault((check.name, check.target), check)
    return tuple(kept.values())
