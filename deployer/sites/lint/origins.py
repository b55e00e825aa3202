"""Origins: which pages may connect, and which ought to."""

from __future__ import annotations

from collections.abc import Iterator

from deployer.sites.lint.note import Note, warning
from deployer.sites.model import Route, Site


def origins(site: Site, route: Route) -> Iterator[Note]:
    """What is amiss with the origins that a WebSocket route lists."""
    if route.websocket and route.origins and "any" not in route.origins:
        yield from _own(site, route, set(route.origins))


def _own(site: Site, route: Route, listed: set[str]) -> Iterator[Note]:
    scheme, port = ("https", 443) if site.has_tls else ("http", 80)
    of_names = {name: f"{scheme}://{_host(name)}" for name in site.names}
    missing = {
        name: origin
        for name, origin in of_names.items()
        if not {origin, f"{origin}:{port}"} & listed
    }
    for name in site.names if site.has_tls else ():
        if (plain := f"http://{_host(name)}") in listed:
            yield warning(
                "plain-origin",
                f"{route.path}: no page has the origin {plain}",
                "Port 80 leads every request to https, and a page's origin is where it came "
                f"from: write {of_names[name]}.",
                route.at("origins"),
            )
            missing.pop(name, None)
    serves_pages = any(not other.websocket for other in site.routes)
    if not serves_pages or not missing:
        return
    if len(missing) == len(of_names):
        behind = (
            ", unless they are https behind something else that speaks TLS"
            if not site.has_tls and any(origin.startswith("https:") for origin in listed)
            else ""
        )
        yield warning(
            "own-origin-missing",
            f"{route.path}: origins has none of the site's own names",
            f"The site's own pages will get 403 there: add {of_names[site.domain]}{behind}.",
            route.at("origins"),
        )
        return
    named = [origin for name, origin in missing.items() if not name.startswith("*.")]
    if named:
        yield warning(
            "alias-origin-missing",
            f"{route.path}: origins has not all of the site's own names",
            "The same pages are served under each of them, and will get 403 there: add "
            f"{', '.join(named)}.",
            route.at("origins"),
        )


def _host(name: str) -> str:
    return f"[{name}]" if ":" in name else name
