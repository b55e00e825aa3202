"""Notes on upstreams: impossible addresses, and a wrong scheme."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence

from deployer.sites.acme import CHALLENGE_PORT
from deployer.sites.lint.errors import is_here
from deployer.sites.lint.note import Note, warning
from deployer.sites.model import Route, Site, Upstream
from deployer.sites.values import is_challenged

_SCHEMES = {80: "http", 443: "https"}


def upstreams(site: Site, route: Route) -> Iterator[Note]:
    """The notes on the upstreams of a route."""
    place = route.at("websocket", "upstream")
    for upstream in dict.fromkeys(route.upstreams):
        scheme = "https" if upstream.tls else "http"
        if _SCHEMES.get(upstream.port, scheme) != scheme:
            yield warning(
                "scheme-and-port",
                f"{route.path}: {upstream} uses {scheme} on the port of {_SCHEMES[upstream.port]}",
                "The service there answers 400 or nothing, which clients see as 502: correct "
                "the scheme or the port.",
                place,
            )
        if not upstream.tls and _is_public(upstream):
            yield warning(
                "plain-over-the-internet",
                f"{route.path}: {upstream} is a public address, reached without TLS",
                "Messages and cookies would cross the Internet unencrypted: use https://, or "
                "an address of a private network.",
                place,
            )
        if upstream.host in ("0.0.0.0", "::"):  # noqa: S104 - the warning is about it
            yield warning(
                "unspecified-address",
                f"{route.path}: {upstream} is not an address to connect to",
                "A service that listens on it is reachable on all addresses of the host: use one "
                "of them, such as 127.0.0.1.",
                place,
            )
        if upstream.port == CHALLENGE_PORT and is_here(upstream) and is_challenged(site):
            yield warning(
                "challenge-port",
                f"{route.path}: {upstream} is reserved for the issuer's challenges",
                "certbot listens there while a certificate is ordered: let the service "
                "use a different port.",
                place,
            )
        if upstream.socket.startswith(("/tmp/", "/var/tmp/")):  # noqa: S108 - only compared
            yield warning(
                "socket-in-tmp",
                f"{route.path}: {upstream} is in a folder that systemd can make private",
                "With PrivateTmp, the proxy has a different /tmp than the service: put the "
                "socket below /run.",
                place,
            )
    if len(set(route.upstreams)) < len(route.upstreams):
        twice = next(each for each in route.upstreams if route.upstreams.count(each) > 1)
        yield warning(
            "upstream-twice",
            f"{route.path}: {twice} is listed twice",
            "It gets twice the load, and is its own fallback when it fails: list each "
            "upstream once.",
            place,
        )


def both_schemes(sites: Sequence[Site]) -> Iterator[Note]:
    """The notes on ports that are used both with and without TLS."""
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
                        "A port either speaks TLS or does not, so one of the routes gets 502 or "
                        "400: use the same scheme in both.",
                        route.at("websocket", "upstream"),
                    )


def _is_public(upstream: Upstream) -> bool:
    try:
        return ipaddress.ip_address(upstream.host).is_global
    except ValueError:
        return False  # a name, which is not resolved here
