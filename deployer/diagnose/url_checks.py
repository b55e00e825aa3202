"""Everything about one address from outside: a WebSocket, or a page with those that it opens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from deployer.diagnose.address import Address, has_scheme, parsed
from deployer.diagnose.handshake_variants import Wish
from deployer.diagnose.outside import Outside, PageSeen
from deployer.diagnose.page.websockets import Opened
from deployer.diagnose.reasons import page as reasons_page
from deployer.diagnose.reasons import websocket as reasons_all
from deployer.model import CheckResult

Looked = tuple[tuple[CheckResult, ...], bool]


def looked_at(url: str, wish: Wish, outside: Outside) -> Looked:
    """The checks, and whether anybody took connections at all.

    Raises: UsageError where `url` is no address.
    """
    looked = _asked(parsed(url), wish, outside)
    if not has_scheme(url) and not looked[1]:
        again = _asked(parsed(f"http://{url}"), wish, outside)
        return again if again[1] else looked
    return looked


def _asked(address: Address, wish: Wish, outside: Outside) -> Looked:
    if address.is_websocket:
        seen = outside.websocket(address, wish)
        return reasons_all.results(seen), seen.is_reached
    seen = outside.reached(address, wish)
    found = reasons_all.reach_results(seen)
    if not seen.is_reached or seen.is_stopped:
        return found, seen.is_reached
    return _without_repetition((*found, *looked_at_page(address, wish, outside))), True


def looked_at_page(address: Address, wish: Wish, outside: Outside) -> tuple[CheckResult, ...]:
    """A page and every WebSocket that it opens, or the WebSocket that its address is itself."""
    page = outside.page(address, wish)
    if not page.opened and not page.is_endless:
        handshake = outside.handshake(address, wish)
        if handshake.status_code == 101 or reasons_page.is_websocket_answer(page.attempt):
            return reasons_all.results(outside.websocket(address, wish))
    checks = [reasons_page.result(page)]
    handshakes, meant = {}, {}
    for opened in page.opened:
        asked = _wish_of_page(wish, page, opened)
        there = opened.address
        if not reasons_page.is_asked(page, opened):
            continue
        if opened.meant is not None:
            handshakes[there.uri] = outside.handshake(there, asked)
            if handshakes[there.uri].status_code != 101:
                there = opened.meant
        seen = outside.websocket(there, asked)
        if opened.meant is there and seen.handshake is not None:
            meant[opened.address.uri] = seen.handshake
        checks += reasons_all.results(seen)
    checks += reasons_page.opened_results(page, handshakes, meant)
    return _without_repetition(checks)


def _wish_of_page(wish: Wish, page: PageSeen, opened: Opened) -> Wish:
    """The handshake as the page makes it; a credential is for the server that it was given for."""
    return replace(
        wish,
        origin=wish.origin or page.address.origin,
        subprotocols=wish.subprotocols or opened.subprotocols,
        headers=wish.headers if opened.address.name == page.address.name else (),
    )


def _without_repetition(checks: Sequence[CheckResult]) -> tuple[CheckResult, ...]:
    """The first of those that are about the same thing: several WebSockets share a server."""
    kept: dict[tuple[str, str], CheckResult] = {}
    for check in checks:
        kept.setdefault((check.name, check.target), check)
    return tuple(kept.values())
