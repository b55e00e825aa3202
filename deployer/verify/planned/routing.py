"""Find the route that serves a path, and the path as its service sees it. Pure."""

from __future__ import annotations

from deployer.sites.model import Route, Site


def concrete(name: str) -> str:
    """Return a name to request: `name` itself, or one that matches the wildcard."""
    return name.replace("*", "wildcard", 1) if name.startswith("*.") else name


def serving_route(site: Site, path: str) -> Route | None:
    """Return the route that serves `path` without its query: the longest, exact before prefix."""
    bare = path.partition("?")[0]

    def serves(route: Route) -> bool:
        prefix = route.path.rstrip("/")
        inside = route.match == "prefix" and bare.startswith(f"{prefix}/")
        return bare == route.path or inside

    candidates = [route for route in site.routes if serves(route)]
    ranked = sorted(candidates, key=lambda route: (len(route.path), route.match == "exact"))
    return ranked[-1] if ranked else None


def path_at_service(route: Route, target: str) -> str:
    """Return the request target as the service sees it: ``/ws`` is ``/`` if it is stripped."""
    if not route.strip_prefix:
        return target
    rest = target[len(route.path.rstrip("/")) :]
    return rest if rest.startswith("/") else f"/{rest}"


def is_open(route: Route) -> bool:
    """Whether pages of any origin may connect."""
    return route.origins is not None and "any" in route.origins
