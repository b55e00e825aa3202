"""Notes on time: idle timeouts, pings, and draining after reloads."""

from __future__ import annotations

from collections.abc import Iterator

from deployer.sites.lint.note import Note, warning
from deployer.sites.model import Route, Site

#: A common idle timeout of proxies, load balancers and services.
_COMMON_S = 60.0
_SHORT_DRAIN_S = 60.0


def timing(site: Site, route: Route) -> Iterator[Note]:
    """The notes on the idle timeout and the pings of a WebSocket route."""
    if not route.websocket:
        return
    idle_s, ping_s = route.idle_timeout_s, route.ping_interval_s
    if ping_s is not None and ping_s >= idle_s:
        yield warning(
            "ping-too-late",
            f"{route.path}: a ping every {words(ping_s)} does not prevent the idle timeout of "
            f"{words(idle_s)}",
            "Connections will drop with code 1006: make idle_timeout at least twice ping_interval.",
            route.at("idle_timeout", "ping_interval"),
        )
    elif ping_s is not None and ping_s > _COMMON_S:
        yield warning(
            "ping-too-rare",
            f"{route.path}: the interval between pings is {words(ping_s)}",
            "Load balancers, CDNs and home routers close connections that are idle for one or two "
            "minutes: make the service ping every 30 s.",
            route.at("ping_interval"),
        )
    if ping_s is None and "idle_timeout" not in route.places and route.places:
        yield warning(
            "idle-unspecified",
            f"{route.path}: neither ping_interval nor idle_timeout is set; idle connections close "
            f"after {words(idle_s)}",
            "Set ping_interval if the service sends pings, otherwise the idle_timeout that "
            "its clients need.",
            route.at("websocket"),
        )
    elif ping_s is None and idle_s <= _COMMON_S:
        yield warning(
            "idle-too-short",
            f"{route.path}: connections close after {words(idle_s)} idle, and ping_interval is "
            "not set",
            "Idle clients will drop with code 1006: set ping_interval if the service sends "
            "pings, or a longer idle_timeout.",
            route.at("idle_timeout"),
        )


def draining(site: Site) -> Iterator[Note]:
    """The notes on how long open connections are kept after a reload."""
    if site.drain_s is None:
        yield warning(
            "drain-uncapped",
            f"{site.domain}: the proxy's old processes run as long as they have connections",
            "Each reload may leave more of them, until memory or process slots run out: "
            "set a limit, such as `drain: 1d`.",
            site.at("drain"),
        )
    elif site.drain_s < _SHORT_DRAIN_S:
        yield warning(
            "drain-short",
            f"{site.domain}: {words(site.drain_s)} after every reload, all open connections are "
            "cut at once",
            "Certificate renewals also reload: set an hour, unless all clients may reconnect "
            "at the same time.",
            site.at("drain"),
        )


def surviving(site: Site) -> Iterator[Note]:
    """The notes on a `require_survival` that cannot be satisfied."""
    if not site.require_survival:
        return
    if not any(route.websocket for route in site.routes):
        yield warning(
            "survival-unused",
            f"{site.domain}: require_survival has no effect, because no route is a websocket",
            "Only WebSocket connections are held open during a change: remove it.",
            site.at("require_survival"),
        )
    elif site.drain_s is not None and site.drain_s < _SHORT_DRAIN_S:
        yield warning(
            "survival-drained",
            f"{site.domain}: connections must survive a reload, but `drain` ends them "
            f"{words(site.drain_s)} after it",
            "A commit waits only for very short drains; otherwise it passes although all clients "
            "are cut soon afterwards: set drain to an hour.",
            site.at("require_survival"),
        )


def words(seconds: float) -> str:
    """A time in its largest whole unit: ``1 h``, ``90 s``."""
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g} {unit}"
    return f"{seconds:g} s"
