"""The services behind routes: their addresses, and the pools from which Apache chooses one."""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Sequence

from deployer.errors import SourceError
from deployer.proxies.apache.named_routes import Named
from deployer.sites.model import Route, Site, Upstream
from deployer.sites.paths import has_placeholders
from deployer.sites.values import (
    View,
    address_of,
    scheme_of,
    whole_seconds,
)

#: The possible first characters of a client's digest.
DIGITS = "0123456789abcdef"


def health_view(route: Route) -> View:
    """When a service is down, if the playbook decides.

    Raises:
        SourceError: Apache cannot count failures of requests, or check sockets.
    """
    health = route.health
    if health is None:
        return {"retry_s": 1 if len(route.upstreams) > 1 else 0, "fail_statuses": []}
    if health.fails != 1 and not health.path:
        raise SourceError(
            f"Apache takes an upstream of {route.path} out of rotation at its first failure",
            source=route.at("health.fails", "health"),
            hint="Remove `fails`, or check the services with `path`, of which Apache counts the "
            "failures.",
        )
    if health.path and any(each.socket for each in route.upstreams):
        raise SourceError(
            f"Apache cannot check the sockets of {route.path}: it counts them all as down",
            source=route.at("health.path", "health"),
            hint="Remove `path`, or let the services listen on ports.",
        )
    interval_s = whole_seconds(health.interval_s)
    check = {"path": health.path, "interval_s": interval_s, "fails": health.fails}
    return {
        "retry_s": interval_s if health.path else whole_seconds(health.pause_s),
        "fail_statuses": list(health.statuses),
        **({"health": check} if health.path else {}),
    }


def share_views(proxied: Sequence[Route]) -> list[View]:
    """How clients are shared among each number of services that a route has."""
    counts = {len(route.upstreams) for route in proxied if not is_spread(route)} - {1}
    return [{"of": count, "classes": _shares(count)} for count in sorted(counts)]


def pause_s(route: Route) -> int:
    """Apache counts whole seconds."""
    return max(1, math.ceil(route.pause_s))


def _options(route: Route) -> tuple[bool, int, float]:
    """The options of its connections to the service."""
    return route.websocket, pause_s(route), route.resolve_s or 0


def need_a_pool(site: Site) -> list[Route]:
    """The routes whose services are a separate `balancer://`.

    Routes to several services, and of the routes to one service those with different options from
    most: Apache finds a worker by the prefix of a URL, so one route's requests could get another's
    options, including `upgrade`. A pool has its own settings of TLS. A worker whose URL ends with
    ``$1`` is not found if that is empty, and its options are lost (seen with 2.4.67 and 2.4.71).
    """
    found = [
        route
        for route in site.routes
        if len(route.upstreams) > 1
        or any(each.verify for each in route.upstreams)
        or (route.upstreams and _is_cut_to_nothing(route))
    ]
    by_service: dict[Upstream, list[Route]] = defaultdict(list)
    for route in site.routes:
        # Workers for sockets differ by a made-up host, which is different for each route.
        if len(route.upstreams) == 1 and not route.upstreams[0].socket:
            by_service[route.upstreams[0]].append(route)
    for routes in by_service.values():
        options = Counter(map(_options, routes))
        usual = max(options, key=lambda one: (options[one], one))
        found += [route for route in routes if _options(route) != usual and route not in found]
    return found


def _is_cut_to_nothing(route: Route) -> bool:
    may_end_there = route.match == "exact" or has_placeholders(route.path)
    return may_end_there and route.strip_prefix and route.path != "/"


def _shares(count: int) -> list[str]:
    """The digits of a digest in `count` parts, which assign clients to services."""
    ends = [round(number * len(DIGITS) / count) for number in range(count + 1)]
    return [DIGITS[begin:end] for begin, end in itertools.pairwise(ends)]


def service(named: Named, upstream: Upstream) -> str:
    scheme, address = scheme_of(named.route), address_of(upstream, source=named.route.source)
    if upstream.socket:
        return f"{address}|{scheme}://{named.slug}.localhost"
    return f"{scheme}://{address}"


def target(named: Named, services: Sequence[str], *, pooled: bool) -> str:
    """The target of a ProxyPass, without the path."""
    if not pooled:
        return services[0]
    if is_spread(named.route):
        return f"balancer://{named.slug}"
    number = f"-${{DOLLAR}}{{service_of_{len(services)}}}" if len(services) > 1 else ""
    return f"balancer://{named.slug}{number}"


def pools(named: Named, services: Sequence[str]) -> list[View]:
    """A pool for each service: that one first, and the others in turn if it does not answer.

    The host of a socket's URL is not used, but must be different for two sockets in one pool.
    """
    if len(services) == 1:
        return [{"name": named.slug, "services": list(services), "parameters": [""]}]
    upstreams = named.route.upstreams
    apart = [
        service.replace("://", f"://{number}.") if service.startswith("unix:") else service
        for number, service in enumerate(services, 1)
    ]
    if is_spread(named.route):
        parameters = [_parameters(number, each) for number, each in enumerate(upstreams, 1)]
        return [{"name": named.slug, "services": apart, "parameters": parameters}]
    return [
        {
            "name": f"{named.slug}-{number + 1}",
            "services": [*apart[number:], *apart[:number]],
            "parameters": [
                (f" lbset={place}" if place else "") + _status(upstream)
                for place, upstream in enumerate([*upstreams[number:], *upstreams[:number]])
            ],
        }
        for number in range(len(apart))
    ]


def is_spread(route: Route) -> bool:
    """Whether Apache's own methods choose the service, not the digits of a client's address."""
    is_even = all(each.weight == 1 and not each.backup for each in route.upstreams)
    return route.sticky or route.balance != "source" or not is_even


def _parameters(number: int, upstream: Upstream) -> str:
    words = [f" route={number}"]
    words += [f" loadfactor={upstream.weight}"] if upstream.weight != 1 else []
    return "".join([*words, _status(upstream)])


def _status(upstream: Upstream) -> str:
    flags = "H" * upstream.backup + "D" * upstream.drained
    return f" status=+{flags}" if flags else ""
