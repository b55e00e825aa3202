"""The `verify:` entries: those that can never pass, so that every apply would undo itself."""

from __future__ import annotations

import re
from collections.abc import Iterator

from deployer.sites.lint.note import Note, warning
from deployer.sites.lint.timing import words
from deployer.sites.model import Check, Route, Site
from deployer.sites.values import origin_patterns, path_of


def checks(site: Site) -> Iterator[Note]:
    """What is amiss with the checks of a site."""
    for check in site.verify:
        route = route_of(site, check.path)
        if route is None:
            continue
        yield from _origin(site, route, check)
        yield from _hold(route, check)


def _origin(site: Site, route: Route, check: Check) -> Iterator[Note]:
    if check.origin is None or (route.origins and "any" in route.origins):
        return
    if not any(
        re.fullmatch(pattern, check.origin, re.IGNORECASE)
        for pattern in origin_patterns(site, route)
    ):
        yield warning(
            "check-refused",
            f"{check.path}: {check.origin} is none of the origins that the route allows",
            "The check will get 403, and the apply will undo itself: add it to the route's "
            "origins, or check with one of them.",
            check.at("origin"),
        )


def _hold(route: Route, check: Check) -> Iterator[Note]:
    if check.hold_s is None or check.hold_s < route.idle_timeout_s:
        return
    if route.ping_interval_s is None or route.ping_interval_s >= route.idle_timeout_s:
        yield warning(
            "check-too-long",
            f"{check.path}: held for {words(check.hold_s)} in silence, and the route closes it "
            f"after {words(route.idle_timeout_s)}",
            "The check will fail, and the apply will undo itself: hold it for less, or give the "
            "route a longer idle_timeout.",
            check.at("hold"),
        )


def route_of(site: Site, path: str) -> Route | None:
    """The route that serves a path: the longest wins, an exact one before a prefix."""
    bare = path.partition("?")[0]
    found: Route | None = None
    for route in site.routes:
        own = path_of(route)
        inside = route.match == "prefix" and bare.startswith(f"{own.rstrip('/')}/")
        if (bare == own or inside) and (found is None or _rank(route) > _rank(found)):
            found = route
    return found


def _rank(route: Route) -> tuple[int, bool]:
    return len(path_of(route)), route.match == "exact"
