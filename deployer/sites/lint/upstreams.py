"""Upstreams: services that cannot be meant, or are spoken to in the wrong way."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence

from deployer.sites.acme import CHALLENGE_PORT
from deployer.sites.lint.impossible import is_here
from deployer.sites.lint.note import Note, warning
from deployer.sites.model import Route, Site, Upstream
from deployer.sites.values import is_challenged

_SCHEMES = {80: "http", 443: "https"}


def upstreams(site: Site, route: Route) -> Iterator[Note]:
    """What is amiss with the services behind a route."""
    place = route.at("websocket", "upstream")
    for upstream in dict.fromkeys(route.upstreams):
        scheme = "https" if upstream.tls else "http"
        if _SCHEMES.get(upstream.port, scheme) != scheme:
            yield warning(
                "scheme-and-port",
                f"{route.path}: {upstream} speaks {scheme} to the port of "
                f"{_SCHEMES[upstream.port]}",
                "What listens there answers 400 or nothing, which clients see as 502: correct "
                "the scheme or the port.",
                place,
            )
        if not upstream.tls and _is_public(upstream):
            yield warning(
                "plain-over-the-internet",
                f"{route.path}: {upstream} is a public address, reached without TLS",
                "Messages and cookies would cross the internet for all to read: use https://, or "
                "an address of a private network.",
                place,
            )
        if upstream.host in ("0.0.0.0", "::"):  # noqa: S104 - it is what is warned of
            yield warning(
                "unspecified-address",
                f"{route.path}: {upstream} is no address of a service",
                "A service listens on it to be reached on all of its addresses: name one of "
                "them, such as 127.0.0.1.",
                place,
            )
        if upstream.port == CHALLENGE_PORT and is_here(upstream) and is_challenged(site):
            yield warning(
                "challenge-port",
                f"{route.path}: at {upstream} the issuer's challenges are answered",
                "Something listens there only while a certificate is ordered: have the service "
                "use another port.",
                place,
            )
        if upstream.socket.startswith(("/tmp/", "/var/tmp/")):  # noqa: S108
            yield warning(
                "socket-in-tmp",
                f"{route.path}: {upstream} lies in a folder that services have each their own of",
                "With PrivateTmp, which Debian's Apache has, the proxy sees another /tmp than "
                "the service: put the socket below /run.",
                place,
            )
    if len(set(route.upstreams)) < len(route.upstreams):
        twice = next(each for each in route.upstreams if route.upstreams.count(each) > 1)
        yield warning(
            "upstream-twice",
            f"{route.path}: {twice} is there twice",
            "It gets the share of two, and stands in for itself when it fails: name each "
            "upstream once.",
            place,
        )


def both_schemes(sites: Sequence[Site]) -> Iterator[Note]:
    """One port that is spoken to with TLS and without."""
    seen: dict[tuple[str, int], Upstream] = {}
    for site in sites:
        for route in site.routes:
            for upstream in route.upstreams:
                if upstream.socket:
                    continue
                first = seen.setdefault((upstream.host, upstream.port), upstream)
                if first.tls != upstream.tls:
                    yield warning(
                        "both-schemes",
                        f"{route.path}: {upstream} is {first} elsewhere",
                        "A port speaks TLS or it does not, so that one of the routes gets 502 or "
                        "400: write the same scheme in both.",
                        route.at("websocket", "upstream"),
                    )


def _is_public(upstream: Upstream) -> bool:
    try:
        return ipaddress.ip_address(upstream.host).is_global
    except ValueError:
        return False  # a name: who knows where it leads
