"""Silence: what ends a connection, and what keeps it open."""

from __future__ import annotations

from collections.abc import Iterator

from deployer.sites.lint.note import Note, warning
from deployer.sites.model import Route, Site

#: What proxies, load balancers and services commonly allow of silence, and then hang up.
_COMMON_S = 60.0
_SHORT_DRAIN_S = 60.0


def timing(site: Site, route: Route) -> Iterator[Note]:
    """The idle timeout of a WebSocket route against its pings."""
    if not route.websocket:
        return
    idle_s, ping_s = route.idle_timeout_s, route.ping_interval_s
    if ping_s is not None and ping_s >= idle_s:
        yield warning(
            "ping-too-late",
            f"{route.path}: a ping every {words(ping_s)} cannot keep open what is closed after "
            f"{words(idle_s)} of silence",
            "Connections will drop with code 1006: make idle_timeout at least twice ping_interval.",
            route.at("idle_timeout", "ping_interval"),
        )
    elif ping_s is not None and ping_s > _COMMON_S:
        yield warning(
            "ping-too-rare",
            f"{route.path}: {words(ping_s)} pass between two pings",
            "Load balancers, CDNs and home routers on the way hang up after one or two minutes of "
            "silence: have the service ping every 30 s.",
            route.at("ping_interval"),
        )
    if ping_s is None and "idle_timeout" not in route.places and route.places:
        yield warning(
            "silence-unsaid",
            f"{route.path}: nothing is said of silence, and after {words(idle_s)} of it a "
            "connection is closed",
            "Write ping_interval where the service sends pings, or else the idle_timeout that "
            "its quiet clients need.",
            route.at("websocket"),
        )
    elif ping_s is None and idle_s <= _COMMON_S:
        yield warning(
            "idle-too-short",
            f"{route.path}: after {words(idle_s)} of silence a connection is closed, and no "
            "ping_interval is said to prevent it",
            "Quiet clients will drop with code 1006: write ping_interval where the service sends "
            "pings, or a longer idle_timeout.",
            route.at("idle_timeout"),
        )


def draining(site: Site) -> Iterator[Note]:
    """The time that open connections are left after a reload."""
    if site.drain_s is None:
        yield warning(
            "drain-uncapped",
            f"{site.domain}: nothing ends the proxy's old processes while they have connections",
            "Each reload may leave some more of them, until memory or Apache's slots run out: "
            "give them a time, such as `drain: 1d`.",
            site.at("drain"),
        )
    elif site.drain_s < _SHORT_DRAIN_S:
        yield warning(
            "drain-short",
            f"{site.domain}: {words(site.drain_s)} after every reload, all open connections are "
            "cut off at once",
            "Certificates are renewed by reloads, too: give them an hour, unless clients may "
            "come back all together.",
            site.at("drain"),
        )


def surviving(site: Site) -> Iterator[Note]:
    """What `require_survival` asks for, where that cannot be had."""
    if not site.require_survival:
        return
    if not any(route.websocket for route in site.routes):
        yield warning(
            "survival-unused",
            f"{site.domain}: require_survival has no effect, for no route is a websocket",
            "Only WebSocket connections are held open around a change: leave it out.",
            site.at("require_survival"),
        )
    elif site.drain_s is not None and site.drain_s < _SHORT_DRAIN_S:
        yield warning(
            "survival-drained",
            f"{site.domain}: all must survive a reload, and {words(site.drain_s)} after it `drain` "
            "ends them",
            "A commit waits for the end of the shortest drains alone, and then passes although "
            "everybody is cut off a little later: give drain an hour.",
            site.at("require_survival"),
        )


def words(seconds: float) -> str:
    """A time in its largest whole unit: ``1 h``, ``90 s``."""
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g} {unit}"
    return f"{seconds:g} s"
