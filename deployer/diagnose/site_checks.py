"""Diagnose a site of a playbook from outside, beyond what `verify` checks.

Its pages are searched for the WebSockets that they open, and each WebSocket route is diagnosed like
any other address. Results that `verify` already has are dropped.
"""

from __future__ import annotations

from dataclasses import replace

from deployer.diagnose.handshake_variants import HandshakeOptions
from deployer.diagnose.outside import Outside
from deployer.diagnose.reasons import websocket as websocket_reasons
from deployer.diagnose.url_checks import diagnose_page
from deployer.model import CheckResult
from deployer.sites.model import Check, Route, Site
from deployer.verify.net.address import Address, parse_address
from deployer.verify.planned.routing import probe_of

#: The checks that only exist here; `verify` makes the others, and knows the playbook.
_OWN = frozenset({"sample key", "two subprotocols", "page", "opened by page"})


def site_checks(site: Site, outside: Outside) -> tuple[CheckResult, ...]:
    """Return the outside's own checks of `site`, or a skipped one if no server answers."""
    scheme = "https" if site.has_tls else "http"
    page = parse_address(f"{scheme}://{site.domain.replace('*.', 'any.', 1)}{site.port_in_urls}/")
    lookup, connections = outside.connect(page)
    if all(connection.problem for connection in connections):
        words = "no server answers there" if connections else f"{page.name} {lookup.problem}"
        return (
            CheckResult(
                site=site.domain,
                name="page",
                target=page.page_uri,
                hop="public",
                ok=True,
                skipped=True,
                detail=f"not checked from outside: {words}",
            ),
        )
    found: list[CheckResult] = []
    if any(not route.websocket and route.path == "/" for route in site.routes):
        found += diagnose_page(page, HandshakeOptions(), outside)
    for route in site.routes:
        if route.websocket and route.is_probed:
            probe = probe_of(site, route)
            seen = outside.websocket(_at(page, probe), _options(route, probe))
            found += (
                replace(check, target=route.path) for check in websocket_reasons.results(seen)
            )
    return tuple(check for check in found if check.name in _OWN)


def _at(page: Address, probe: Check) -> Address:
    scheme = "wss" if page.is_secure else "ws"
    return parse_address(f"{scheme}://{page.host}{probe.path}")


def _options(route: Route, probe: Check) -> HandshakeOptions:
    listed = tuple(origin for origin in route.origins or () if origin != "any")
    origin = probe.origin or (listed[0] if listed else None)
    return HandshakeOptions(origin=origin, subprotocols=probe.subprotocols)
