"""Find the route that serves a path, and the path as its service sees it. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from deployer.sites.model import Check, Route, Site
from deployer.sites.paths import example_of, has_placeholders, rest_of, serving


def concrete(name: str) -> str:
    """Return a name to request: `name` itself, or one that matches the wildcard."""
    return name.replace("*", "wildcard", 1) if name.startswith("*.") else name


def serving_route(site: Site, path: str) -> Route | None:
    """Return the route that serves `path`, which may have a query."""
    return serving(site.routes, path.partition("?")[0])


def probe_of(site: Site, route: Route) -> Check:
    """Return how `route` is checked: its `probe`, a `verify:` entry on its path, or by default."""
    return route.probe or entry_of(site, route) or Check(path=example_of(route.path))


def entry_of(site: Site, route: Route) -> Check | None:
    """Return the `verify:` entry that replaces the default check of `route`, if there is one.

    It is on the route's own path, or on any path of a whole site.
    """
    if route.probe is not None or not route.is_probed:
        return None
    served = [each for each in site.verify if serving_route(site, each.path) == route]
    on_path = (each for each in served if rest_of(route, each.path.partition("?")[0]) in ("", "/"))
    return next(on_path, served[0] if served and route.path == "/" else None)


def undescribed(site: Site) -> Iterator[Route]:
    """The WebSocket routes of `site` that do not say how they are checked."""
    for route in site.routes:
        is_described = route.probe is not None or entry_of(site, route) is not None
        if route.websocket and route.is_probed and not is_described:
            yield route


def made_up(site: Site) -> Iterator[Route]:
    """The routes of `site` whose checks have to make up the segment of a placeholder."""
    for route in site.routes:
        is_described = route.probe is not None or entry_of(site, route) is not None
        if has_placeholders(route.path) and route.is_probed and not is_described:
            yield route


def is_whole_site(route: Route) -> bool:
    """Whether `route` serves a whole service, whose WebSocket may be on any path."""
    return route.path == "/" and route.match == "prefix"


def path_at_service(route: Route, target: str) -> str:
    """Return the request target as the service sees it: ``/ws`` is ``/`` if it is stripped."""
    if not route.strip_prefix:
        return target
    path, mark, query = target.partition("?")
    rest = (rest_of(route, path) or "") + mark + query
    return rest if rest.startswith("/") else f"/{rest}"


def is_open(route: Route) -> bool:
    """Whether pages of any origin may connect."""
    return route.origins is not None and "any" in route.origins
