"""Notes on checks: those that can never pass, and routes that are not checked at all."""

from __future__ import annotations

import re
from collections.abc import Iterator

from deployer.sites.lint.note import Note, warning
from deployer.sites.lint.timing import words
from deployer.sites.model import Check, Route, Site
from deployer.sites.paths import example_of, has_placeholders, rest_of, serving
from deployer.sites.values import origin_patterns


def checks(site: Site) -> Iterator[Note]:
    """The notes on the checks of a site."""
    for check in site.verify:
        route = route_of(site, check.path)
        if route is None:
            continue
        yield from _origin(site, route, check)
        yield from _hold(route, check)
        yield from _headers(site, check)
    for route in site.routes:
        if not route.is_probed:
            yield warning(
                "probe-off",
                f"{route.path}: no handshake is made on this route",
                "An apply is confirmed without any proof that the service works: describe the "
                "handshake that it expects in `probe` instead.",
                route.at("probe"),
            )
        if _is_made_up(site, route):
            yield warning(
                "made-up-path",
                f"{route.path}: the handshake is made on {example_of(route.path)}",
                "If the service refuses that, nothing proves that its WebSockets work: set "
                "`probe: {path: …}` to a path that it accepts.",
                route.at("path"),
            )
        if route.probe is not None:
            yield from _origin(site, route, route.probe)
            yield from _headers(site, route.probe)


def _is_made_up(site: Site, route: Route) -> bool:
    """Whether checks make up the segment of a placeholder in the route's path."""
    is_checked = route.websocket and route.is_probed and route.probe is None
    return (
        is_checked
        and has_placeholders(route.path)
        and not any(rest_of(route, each.path.partition("?")[0]) == "" for each in site.verify)
    )


def _headers(site: Site, check: Check) -> Iterator[Note]:
    dropped = [name for name, _ in check.headers if "_" in name]
    if dropped and not site.underscores_in_headers:
        yield warning(
            "check-header-dropped",
            f"{check.path}: the proxy drops {', '.join(dropped)}",
            "Headers with an underscore do not reach the service: set underscores_in_headers on "
            "the site.",
            check.at("headers"),
        )


def _origin(site: Site, route: Route, check: Check) -> Iterator[Note]:
    if check.origin is None or (route.origins and "any" in route.origins):
        return
    if not any(
        re.fullmatch(pattern, check.origin, re.IGNORECASE)
        for pattern in origin_patterns(site, route)
    ):
        yield warning(
            "check-refused",
            f"{check.path}: {check.origin} is not among the origins that the route allows",
            "The check will get 403, and the apply will be rolled back: add it to the route's "
            "origins, or use one of them in the check.",
            check.at("origin"),
        )


def _hold(route: Route, check: Check) -> Iterator[Note]:
    if check.hold_s is None or check.hold_s < route.idle_timeout_s:
        return
    if route.ping_interval_s is None or route.ping_interval_s >= route.idle_timeout_s:
        yield warning(
            "check-too-long",
            f"{check.path}: held idle for {words(check.hold_s)}, but the route closes it "
            f"after {words(route.idle_timeout_s)}",
            "The check will fail, and the apply will be rolled back: shorten hold, or give the "
            "route a longer idle_timeout.",
            check.at("hold"),
        )


def route_of(site: Site, path: str) -> Route | None:
    """The route that serves `path`, which may have a query."""
    return serving(site.routes, path.partition("?")[0])
