"""What the sites of a listener share: whether a balancer in front sends the PROXY protocol."""

from __future__ import annotations

from collections.abc import Sequence

from deployer.errors import SourceError
from deployer.sites.model import Route, Site
from deployer.sites.values import View, used_ports

#: The host itself, which checks its sites.
_OWN = ("127.0.0.0/8", "::1")


def in_front(site: Site) -> View:
    """The proxies in front of `site`.

    The `trusted_proxies` state the visitor's address in a header, the `balancers` in the PROXY
    protocol. In front of a site with balancers, only the `admitted` may connect.
    """
    ranges = list(site.trusted_proxies)
    if not site.proxy_protocol:
        return {"trusted_proxies": ranges, "balancers": [], "admitted": []}
    admitted = [*(each for each in _OWN if each not in ranges), *ranges]
    return {"trusted_proxies": [], "balancers": ranges, "admitted": admitted}


def check_listeners(sites: Sequence[Site], *, proxy: str, shares_balancers: bool = False) -> None:
    """Check that the sites of a listener expect the same of its connections.

    With `shares_balancers`, the proxy has one list of balancers for all sites.

    Raises:
        SourceError: they do not.
    """
    first: dict[int, Site] = {}
    for site, port in [(each, port) for each in sites for port in used_ports([each])]:
        other = first.setdefault(port, site)
        if site.proxy_protocol != other.proxy_protocol:
            raise _mixed(*((site, other) if site.proxy_protocol else (other, site)), port=port)
        differs = set(site.trusted_proxies) != set(other.trusted_proxies)
        if shares_balancers and site.proxy_protocol and differs:
            raise SourceError(
                f"{site.domain} and {other.domain} on the same port differ in trusted_proxies",
                source=site.at("trusted_proxies") or site.source,
                hint=f"With proxy_protocol, {proxy} has one list for all sites of a port: write the"
                " same for both.",
            )


def refuse_send_proxy(route: Route, *, proxy: str, why: str, other: str) -> None:
    """Refuse upstreams with `send_proxy` behind a proxy that speaks only HTTP to services, which
    the one that is written ``proxy: other`` does not.

    Raises:
        SourceError: the route has one.
    """
    for upstream in route.upstreams:
        if upstream.send_proxy:
            raise SourceError(
                f"{proxy} cannot begin connections to {upstream} with a PROXY header: {why}",
                source=route.at("websocket", "upstream"),
                hint=f"Write `proxy: {other}`, which can. Services that read X-Forwarded-For get "
                "the visitor's address without it.",
            )


def _mixed(one: Site, other: Site, *, port: int) -> SourceError:
    return SourceError(
        f"{one.domain} has proxy_protocol: true, and {other.domain} on the same port {port} does "
        "not",
        source=one.at("proxy_protocol") or other.source,
        hint="A port expects the PROXY header on all of its connections or on none: write "
        "proxy_protocol: true and trusted_proxies for both sites, or for neither.",
    )
