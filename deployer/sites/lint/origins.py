"""Notes on origins: the pages that may connect, and those that should be able to."""

from __future__ import annotations

from collections.abc import Iterator

from deployer.sites.lint.note import Note, warning
from deployer.sites.model import Route, Site


def origins(site: Site, route: Route) -> Iterator[Note]:
    """The notes on the origins of a WebSocket route."""
    if route.websocket and route.origins and "any" not in route.origins:
        yield from _own(site, route, set(route.origins))


def _own(site: Site, route: Route, listed: set[str]) -> Iterator[Note]:
    scheme, port = ("https", 443) if site.has_tls else ("http", 80)
    of_names = {name: f"{scheme}://{_host(name)}{site.port_in_urls}" for name in site.names}
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
                "Port 80 redirects every request to https, so pages have an https origin: "
                f"write {of_names[name]}.",
                route.at("origins"),
            )
            missing.pop(name, None)
    serves_pages = any(not other.websocket for other in site.routes)
    if not serves_pages or not missing:
        return
    if len(missing) == len(of_names):
        behind = (
            ", unless something in front of the proxy terminates TLS"
            if not site.has_tls and any(origin.startswith("https:") for origin in listed)
            else ""
        )
        yield warning(
            "own-origin-missing",
            f"{route.path}: origins contains none of the site's own names",
            f"The site's own pages will get 403: add {of_names[site.domain]}{behind}.",
            route.at("origins"),
        )
        return
    named = [origin for name, origin in missing.items() if not name.startswith("*.")]
    if named:
        yield warning(
            "alias-origin-missing",
            f"{route.path}: origins does not contain all of the site's own names",
            "The same pages are served under each of them, and will get 403: add "
            f"{', '.join(named)}.",
            route.at("origins"),
        )


def _host(name: str) -> str:
    return f"[{name}]" if ":" in name else name
