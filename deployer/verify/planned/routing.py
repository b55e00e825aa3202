"""Which route serves a path, and what its service then sees of it. Pure."""

from __future__ import annotations

from deployer.sites.model import Route, Site


def concrete(name: str) -> str:
    """A name to ask for: `name` itself, or one that the wildcard stands for."""
    return name.replace("*", "wildcard", 1) if name.startswith("*.") else name


def serving_route(site: Site, path: str) -> Route | None:
    """The route that serves `path`, query aside: the longest wins, exact before prefix."""
    bare = path.partition("?")[0]

    def serves(route: Route) -> bool:
        prefix = route.path.rstrip("/")
        inside = route.match == "prefix" and bare.startswith(f"{prefix}/")
        return bare == route.path or inside

    candidates = [route for route in site.routes if serves(route)]
    ranked = sorted(candidates, key=lambda route: (len(route.path), route.match == "exact"))
    return ranked[-1] if ranked else None


def path_at_service(route: Route, target: str) -> str:
    """The request target as the service sees it; ``/ws`` is ``/`` where the prefix is stripped."""
    if not route.strip_prefix:
        return target
    rest = target[len(route.path.rstrip("/")) :]
    return rest if rest.startswith("/") else f"/{rest}"


def is_open(route: Route) -> bool:
    """Whether pages of any origin may connect."""
    return route.origins is not None and "any" in route.origins
