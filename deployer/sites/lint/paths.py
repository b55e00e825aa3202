"""Notes on the paths of routes."""

from __future__ import annotations

from collections.abc import Iterator

from deployer.sites.lint.note import Note, warning
from deployer.sites.model import Route, Site
from deployer.sites.values import is_challenged

_CHALLENGES = "/.well-known/acme-challenge"
#: Last path segments that clients of well-known libraries use for WebSockets.
_UPGRADED = frozenset(
    {"cable", "graphql-ws", "socket.io", "sockjs", "websocket", "websockets", "ws", "wss"}
)
_NOT_FOR_PAGES = ("/etc", "/root", "/proc", "/sys", "/dev", "/boot", "/run", "/var/lib/deployer")


def paths(site: Site, route: Route) -> Iterator[Note]:
    """The notes on the path and the folder of a route."""
    bare = route.path.rstrip("/")
    if is_challenged(site) and (bare == _CHALLENGES or bare.startswith(f"{_CHALLENGES}/")):
        yield warning(
            "shadows-challenge",
            f"{route.path} is the path where the certificate's issuer looks for its challenges",
            "On port 80 the challenges take precedence, so this route is served only on port 443.",
            route.at("path"),
        )
    if route.strip_prefix and not bare:
        yield warning(
            "strips-nothing",
            f"{route.path}: there is no prefix to strip",
            "strip_prefix removes the route's path, which is `/` here: remove strip_prefix.",
            route.at("strip_prefix"),
        )
    yield from _slashes(site, route)
    yield from _socket_io(route)
    if route.upstreams and _looks_upgraded(site, bare):
        yield warning(
            "upgrade-refused",
            f"{route.path} looks like a WebSocket, but an `upstream` route does not forward them",
            "Handshakes would reach the service as ordinary requests, and be answered with "
            "400, 404 or 426: use `websocket:` instead, which also forwards plain HTTP.",
            route.at("upstream"),
        )
    if route.root is not None and _is_not_for_pages(route.root):
        yield warning(
            "root-exposed",
            f"{route.path}: the folder {route.root} contains more than pages",
            "Everything below it that the proxy can read would be public: use a folder that "
            "contains only pages, such as /var/www/NAME.",
            route.at("root"),
        )


def _looks_upgraded(site: Site, path: str) -> bool:
    """Whether a path is named like a WebSocket, but has no websocket route."""
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
            f"only {route.path} is served, {without} is not",
            "Requests without the slash do not match, and a WebSocket client would not "
            f"follow a redirect: write {without}, with `match: prefix` if both are meant.",
            route.at("path"),
        )


def _socket_io(route: Route) -> Iterator[Note]:
    if not route.path.rstrip("/").endswith("/socket.io") or route.root is not None:
        return
    if route.match == "exact" and not route.path.endswith("/"):
        yield warning(
            "socket-io-path",
            f"only {route.path} is served, but Socket.IO clients request {route.path}/",
            "They would get 404: remove `match: exact`.",
            route.at("match"),
        )
    elif route.strip_prefix:
        yield warning(
            "socket-io-path",
            f"{route.path}: the Socket.IO server expects this path, but strip_prefix removes it",
            "It would answer 404: remove strip_prefix, unless its own `path` is `/`.",
            route.at("strip_prefix"),
        )


def _is_not_for_pages(root: str) -> bool:
    return root in ("/", "/var", "/var/lib", "/home", "/usr") or any(
        root == folder or root.startswith(f"{folder}/") for folder in _NOT_FOR_PAGES
    )
