"""Errors that cannot be deployed. Every plan and apply checks for them, so they are fast."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from deployer.sites.lint.note import Note, error
from deployer.sites.model import Site, Upstream
from deployer.sites.paths import nameless, path_of
from deployer.sites.values import used_ports


def errors_of(sites: Sequence[Site]) -> Iterator[Note]:
    """The errors of one host's sites."""
    yield from _names_twice(sites)
    if sites and (other := next((s for s in sites if s.proxy != sites[0].proxy), None)):
        yield error(
            "two-proxies",
            f"{other.domain} uses {other.proxy} on a host where {sites[0].domain} uses "
            f"{sites[0].proxy}",
            "Both would listen on the same ports: use one proxy per host.",
            other.at("proxy"),
        )
    ports = set(used_ports(sites))
    yield from _mixed_ports(sites)
    yield from _defaults_twice(sites)
    for site in sites:
        yield from _paths_twice(site)
        yield from _loops(site, ports)


def _mixed_ports(sites: Sequence[Site]) -> Iterator[Note]:
    first: dict[int, Site] = {}
    for site in sites:
        other = first.setdefault(site.serving_port, site)
        if site.has_tls != other.has_tls:
            with_tls, without = (site, other) if site.has_tls else (other, site)
            yield error(
                "mixed-port",
                f"{with_tls.domain} serves port {site.serving_port} with TLS, and "
                f"{without.domain} without",
                "A port speaks one of both: give the sites different ports.",
                site.at("port", "domain"),
            )


def _defaults_twice(sites: Sequence[Site]) -> Iterator[Note]:
    first: dict[int, Site] = {}
    for site in sites:
        for port in used_ports([site]) if site.is_default else ():
            other = first.setdefault(port, site)
            if other is not site:
                yield error(
                    "two-defaults",
                    f"{site.domain} and {other.domain} are both the default of port {port}",
                    "Only one site can answer the names that no site has: remove `default` from "
                    "one of them.",
                    site.at("default"),
                )
                break


def _names_twice(sites: Sequence[Site]) -> Iterator[Note]:
    owners: dict[str, Site] = {}
    for site in sites:
        for name in dict.fromkeys(site.names):
            owner = owners.setdefault(name, site)
            if owner is not site:
                first = f" ({owner.source})" if owner.source else ""
                yield error(
                    "duplicate-domain",
                    f"{name} already belongs to a different site{first}",
                    "Only one of them would be served: put the routes into one site.",
                    site.source,
                )


def _paths_twice(site: Site) -> Iterator[Note]:
    seen: set[tuple[str, str]] = set()
    for route in site.routes:
        path = nameless(path_of(route))
        if (path, route.match) in seen:
            yield error(
                "duplicate-path",
                f"{site.domain} has {path} twice",
                "Only the first would be reachable: remove one, or give them different paths.",
                route.at("path") or site.source,
            )
        seen.add((path, route.match))


def _loops(site: Site, ports: set[int]) -> Iterator[Note]:
    for route in site.routes:
        for upstream in route.upstreams:
            if upstream.port in ports and is_here(upstream):
                yield error(
                    "upstream-loop",
                    f"{route.path}: the proxy itself listens on {upstream}",
                    "It would forward each request to itself, in a loop: let the service listen "
                    "on a different port, and use that.",
                    route.at("websocket", "upstream") or site.source,
                )


def is_here(upstream: Upstream) -> bool:
    """Whether an upstream is the host itself, by an address that needs no name server."""
    host = upstream.host
    return host in ("localhost", "::1", "0.0.0.0", "::") or host.startswith("127.")  # noqa: S104
