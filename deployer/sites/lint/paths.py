"""Paths: what is reached there, and what is not."""

from __future__ import annotations

from collections.abc import Iterator

from deployer.sites.lint.note import Note, warning
from deployer.sites.model import Route, Site
from deployer.sites.values import is_challenged

_CHALLENGES = "/.well-known/acme-challenge"
#: Ends of paths that clients of well-known libraries upgrade.
_UPGRADED = frozenset(
    {"cable", "graphql-ws", "socket.io", "sockjs", "websocket", "websockets", "ws", "wss"}
)
_NOT_FOR_PAGES = ("/etc", "/root", "/proc", "/sys", "/dev", "/boot", "/run", "/var/lib/deployer")


def paths(site: Site, route: Route) -> Iterator[Note]:
    """What is amiss with where a route is, and with what it shows."""
    bare = route.path.rstrip("/")
    if is_challenged(site) and (bare == _CHALLENGES or bare.startswith(f"{_CHALLENGES}/")):
        yield warning(
            "shadows-challenge",
            f"{route.path} is where the certificate's issuer looks for its challenges",
            "On port 80 the issuer's answers come first there, so that this route serves "
            "port 443 alone.",
            route.at("path"),
        )
    if route.strip_prefix and not bare:
        yield warning(
            "strips-nothing",
            f"{route.path}: there is no prefix to strip",
            "strip_prefix takes the route's path away, and here it is `/`: leave strip_prefix out.",
            route.at("strip_prefix"),
        )
    yield from _slashes(site, route)
    yield from _socket_io(route)
    if route.upstreams and _looks_upgraded(site, bare):
        yield warning(
            "upgrade-refused",
            f"{route.path} looks like a WebSocket, and an `upstream` route lets none through",
            "Its handshakes would reach the service as ordinary requests, and be answered with "
            "400, 404 or 426: write `websocket:` instead, which passes plain HTTP too.",
            route.at("upstream"),
        )
    if route.root is not None and _is_not_for_pages(route.root):
        yield warning(
            "root-exposed",
            f"{route.path}: the folder {route.root} has more than pages in it",
            "Everything below it that the proxy can read is shown to everyone: use a folder that "
            "has only what is for them, such as /var/www/NAME.",
            route.at("root"),
        )


def _looks_upgraded(site: Site, path: str) -> bool:
    """Whether a path has the name of a WebSocket, and no route of it is one."""
    there = (route for route in site.routes if route.path.rstrip("/") == path)
    return path.rpartition("/")[2] in _UPGRADED and not any(route.websocket for route in there)


def _slashes(site: Site, route: Route) -> Iterator[Note]:
    if route.match != "exact" or not route.path.endswith("/") or route.path == "/":
        return
    without = route.path.rstrip("/")
    others = {other.path.rstrip("/") for other in site.routes if other is not route}
    if without not in others and not without.endswith("/socket.io"):
        yield warning(
            "exact-slash",
            f"{route.path} alone is served, and {without} is not",
            "A client that asks without the slash is not led here, and a WebSocket client would "
            f"follow no redirect: write {without}, with `match: prefix` if both are meant.",
            route.at("path"),
        )


def _socket_io(route: Route) -> Iterator[Note]:
    if not route.path.rstrip("/").endswith("/socket.io") or route.root is not None:
        return
    if route.match == "exact" and not route.path.endswith("/"):
        yield warning(
            "socket-io-path",
            f"{route.path} alone is served, and Socket.IO's clients ask for {route.path}/",
            "They would get 404: leave out `match: exact`.",
            route.at("match"),
        )
    elif route.strip_prefix:
        yield warning(
            "socket-io-path",
            f"{route.path}: Socket.IO's server answers under this path, and would see it stripped",
            "It would answer 404: leave out strip_prefix, unless its own `path` is `/`.",
            route.at("strip_prefix"),
        )


def _is_not_for_pages(root: str) -> bool:
    return root in ("/", "/var", "/var/lib", "/home", "/usr") or any(
        root == folder or root.startswith(f"{folder}/") for folder in _NOT_FOR_PAGES
    )
