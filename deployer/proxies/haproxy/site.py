"""Sites as plain values for the templates of the haproxy role.

The layout of the configuration is in ``roles/haproxy/templates`` alone. This module computes the
values: names of sections, the order of routes, conditions; and refuses what HAProxy cannot do.
"""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from itertools import combinations

from deployer.errors import SourceError
from deployer.model import SourceRef
from deployer.proxies.shared import ALONE, Others
from deployer.sites.listeners import check_listeners, in_front
from deployer.sites.locations import location_view
from deployer.sites.model import FAILURES, Rate, Route, Site, Tls, Upstream
from deployer.sites.paths import has_placeholders, ordered, path_of, pattern_of
from deployer.sites.served_file import text_of
from deployer.sites.upstream_tls import tls_view
from deployer.sites.values import (
    GZIP_TYPES,
    PLAIN_FILE,
    PLAIN_HASH,
    PLAIN_PATH,
    REMOVED_HEADERS,
    View,
    address_of,
    certificate_folder,
    challenge_of,
    check_names,
    client_headers,
    clients_view,
    cors_view,
    covers,
    duration,
    has_root_route,
    is_address,
    is_private,
    maintenance_view,
    max_body_of,
    origin_patterns,
    port_view,
    redirect_view,
    refuse_buffering,
    refuse_unless,
    removed_of,
    resolve_view,
    scheme_of,
    slugs_of,
    underscored,
    whole_seconds,
)

# HAProxy stores milliseconds in a signed 32-bit integer.
_LONGEST_S = 2_147_483


def bootstrap(site: Site) -> View:
    """The values of a site that has no certificate yet: it only answers challenges."""
    bare = replace(site, routes=(), redirects=(), tls=Tls(), port=None)
    return {**view(bare, challenge=True), "only_challenges": True}


def view(site: Site, *, challenge: bool = False) -> View:
    """The values that the templates print for a site; routes are ordered longest path first.

    With `challenge`, the site also answers the challenges of an ACME issuer that did not sign its
    current certificate.

    Raises:
        SourceError: a value that would change the meaning of the configuration, or is too large.
    """
    check_names(site)
    refuse_buffering(
        site,
        proxy="HAProxy",
        hint="Remove `buffering: true`, or let nginx serve the site: `proxy: nginx`.",
    )
    if site.tls.clients is not None and is_address(site.domain):
        raise SourceError(
            f"HAProxy cannot verify the certificates of clients of {site.domain}: clients that "
            "connect to an address send no server name",
            source=site.at("tls.client_certificates"),
            hint="Give the site a name, or use another proxy: `proxy: nginx`.",
        )
    name = _section_name(site)
    routes = ordered(site.routes)
    return {
        "domain": site.domain,
        "name": name,
        **_names_view(site, name),
        "tls": site.has_tls,
        "challenge": challenge_of(site, also=challenge),
        "only_challenges": False,
        **port_view(site, challenge=challenge),
        **({"json_log": True} if site.access_log == "json" else {}),
        **maintenance_view(site, folder="/etc/haproxy/deployer/pages"),
        "private": is_private(site),
        "underscores": site.underscores_in_headers,
        **in_front(site),
        "redirects": [{"name": name, "to": to} for name, to in site.redirects],
        "gzip": site.gzip,
        "gzip_types": list(GZIP_TYPES),
        "hsts_s": site.tls.hsts_s if site.has_tls else None,
        "certificate": f"{certificate_folder(site)}/fullchain.pem",
        **clients_view(site, "/etc/haproxy/deployer/cas"),
        "certificate_key": f"{certificate_folder(site)}/privkey.pem",
        # Clients that connect to an address send no server name: its certificate comes first.
        "certificate_rank": [not site.is_default, not is_address(site.domain), name],
        "routes": [
            _route_view(site, route, backend=f"{name}:{slug}")
            for route, slug in zip(routes, slugs_of(routes), strict=True)
        ],
        "has_root_route": has_root_route(site),
    }


def _names_view(site: Site, name: str) -> View:
    names = [each.lower() for each in site.names]
    wildcards = [each for each in names if each.startswith("*")]
    longest = max(map(len, wildcards), default=0)
    return {
        # Exact names come before wildcards, longer wildcards before shorter ones, and the default
        # site comes last: all names end with its empty end.
        "rank": [2 if site.is_default else bool(wildcards), -longest, name],
        "exact_names": [each for each in names if each not in wildcards],
        "wildcard_ends": [
            *(each.removeprefix("*") for each in wildcards),
            *([""] if site.is_default else []),
        ],
        "sni_names": names,
    }


def more_vars(sites: Sequence[Site], others: Others = ALONE) -> dict[str, object]:
    """The variables that concern HAProxy as a whole.

    Raises:
        SourceError: two sites that HAProxy could not distinguish, or a time that is too long.
    """
    every = [*sites, *others.sites]
    check_listeners(every, proxy="HAProxy", shares_balancers=True)
    for site in every:
        if site.drain_s is not None and site.drain_s > _LONGEST_S:
            raise _too_long("drain", site.drain_s, source=site.source)
    logs = {site.access_log: site for site in reversed(every)}
    if len(logs) > 1:
        raise SourceError(
            f"{logs['json'].domain} has access_log: json, and {logs['usual'].domain} has not; "
            "HAProxy has one format for all sites of a port",
            source=logs["json"].at("access_log"),
            hint="Write access_log: json in each site of the host, or let nginx or Apache serve.",
        )
    for one, other in combinations(every, 2):
        if covers(one, other) and covers(other, one):
            raise SourceError(
                f"{one.domain} and {other.domain} each have a name that the other's wildcard"
                " matches",
                source=other.source,
                hint="HAProxy could not distinguish them: move each name to the site of its"
                " wildcard.",
            )
    routes = [route for site in every for route in site.routes]
    own = client_headers(every)
    roots = sorted({route.root.rstrip("/") or "/" for route in routes if route.root is not None})
    return {
        "haproxy_unix_sockets": any(each.socket for route in routes for each in route.upstreams),
        "haproxy_static_roots": [{"root": root, "name": _name_of_root(root)} for root in roots],
        "haproxy_client_headers": own,
        "haproxy_removed_headers": list(REMOVED_HEADERS),
        "haproxy_underscored_headers": underscored(own),
        "haproxy_own": [_section_name(site) for site in sites],
        "haproxy_site_files": [
            {
                "domain": site.domain,
                "name": _section_name(site),
                "private": is_private(site),
                "content": text_of(site),
            }
            for site in (*sites, *others.unfiled)
        ],
        "haproxy_gone": [posixpath.basename(path).removesuffix(".json") for path in others.gone],
        "haproxy_kept": others.kept,
    }


def _section_name(site: Site) -> str:
    """A domain as a section name, where no star is allowed; no domain has a `_`."""
    return site.domain.lower().replace("*", "_")


def _name_of_root(root: str) -> str:
    """The name of the link to a folder of files, part of a path: ``var:www:stats``."""
    name = root.strip("/").replace("/", ":") or ":"
    return name if name.isascii() else sha256(root.encode()).hexdigest()[:16]


def _route_view(site: Site, route: Route, *, backend: str) -> View:
    path = path_of(route)
    refuse_unless(PLAIN_PATH, path, what="the path", source=route.source)
    if route.root is not None:
        refuse_unless(PLAIN_FILE, route.root, what="the folder", source=route.source)
    if route.auth is not None and route.auth.service.tls:
        raise SourceError(
            f"HAProxy cannot ask {route.auth.service} about the requests of {path}: it asks without"
            " TLS",
            source=route.at("auth_request"),
            hint="Write an http:// URL of a service on the same host or network, or use nginx:"
            " `proxy: nginx`.",
        )
    if route.pause_s > _LONGEST_S:
        key = "idle_timeout" if route.websocket or "idle_timeout" in route.places else "timeout"
        raise _too_long(key, route.pause_s, source=route.source)
    return {
        "path": path,
        "path_pattern": pattern_of(path),
        "condition": _condition(route, path),
        "backend": backend,
        "exact": route.match == "exact",
        "websocket": route.websocket,
        "root": _name_of_root(route.root) if route.root is not None else None,
        "servers": [
            address_of(upstream, source=route.source, unix="unix@") for upstream in route.upstreams
        ],
        "allow": list(route.allow),
        "deny": list(route.deny),
        "parameters": [_parameters(upstream) for upstream in route.upstreams],
        "balance": _balance(route),
        "sticky": route.sticky,
        **_health(site, route),
        **resolve_view(route),
        "users": _users(route),
        "request_rate": _rate(route.request_rate),
        "handshake_rate": _rate(route.handshake_rate),
        "index": route.index,
        "spa": f"{path.rstrip('/')}/{route.index}" if route.spa else None,
        **({"snippet": route.snippet} if route.snippet else {}),
        **cors_view(route),
        **_asked(site, route),
        **location_view(site, route),
        "redirect": redirect_view(site, route),
        "request_headers": _pairs(route.request_headers.set),
        "removed_headers": removed_of(site, route),
        "response_headers": _pairs(route.response_headers.set),
        "hidden_headers": list(route.response_headers.remove),
        "scheme": scheme_of(route),
        **tls_view(route, f"/etc/haproxy/deployer/cas/{backend.replace(':', '.')}.pem"),
        "timeout": duration(route.pause_s),
        "max_body_bytes": max_body_of(site, route),
        "stripped": route.strip_prefix and path != "/",
        "rule": _rule(site, route),
    }


def _asked(site: Site, route: Route) -> View:
    """Who is asked about the requests of a route, if its playbook says so."""
    if route.auth is None:
        return {}
    from deployer.sites.forward_auth import auth_view

    return {"auth": auth_view(site, route, route.auth)}


def _parameters(upstream: Upstream) -> str:
    words = [f" weight {upstream.weight}"] if upstream.weight != 1 else []
    words += [f" maxconn {upstream.max_conns}"] if upstream.max_conns else []
    words += [{"v1": " send-proxy", "v2": " send-proxy-v2"}.get(upstream.send_proxy, "")]
    words += [" disabled"] if upstream.drained else []
    return "".join([*words, *([" backup"] if upstream.backup else [])])


def _health(site: Site, route: Route) -> View:
    """When a server is down, if the playbook decides.

    Raises:
        SourceError: some answers count as failures, and others do not.
    """
    health = route.health
    if health is None:
        return {}
    if health.statuses and len(health.statuses) < len(FAILURES):
        raise SourceError(
            f"HAProxy cannot count only {', '.join(map(str, health.statuses))} as failures of"
            f" {route.path}",
            source=route.at("health.statuses", "health"),
            hint=f"Write statuses: {list(FAILURES)}. Or check the services with `path`.",
        )
    return {
        "health": {
            "fails": health.fails,
            "interval_s": whole_seconds(health.interval_s if health.path else health.pause_s),
            "statuses": list(health.statuses),
            "path": health.path or None,
            "name": site.domain.replace("*", "any"),
        }
    }


def _users(route: Route) -> list[View]:
    for name, hashed in route.users:
        if hashed.startswith("$apr1$"):
            raise SourceError(
                f"HAProxy cannot verify the hash of {name}'s password, an Apache MD5",
                source=route.at("basic_auth"),
                hint="Write one from: openssl passwd -6",
            )
        refuse_unless(PLAIN_HASH, hashed, what="the hash", source=route.at("basic_auth"))
    return [{"name": name, "hash": hashed} for name, hashed in route.users]


def _rate(rate: Rate | None) -> View | None:
    return None if rate is None else {"count": rate.count, "period": f"{rate.seconds}s"}


def _pairs(headers: Sequence[tuple[str, str]]) -> list[View]:
    return [{"name": name, "value": value} for name, value in headers]


def _too_long(key: str, seconds: float, *, source: SourceRef | None) -> SourceError:
    return SourceError(
        f"HAProxy does not support {key} of {seconds / 86400:.4g} days",
        source=source,
        hint=f"The longest time is 24 days: write {key}: 24d.",
    )


def _condition(route: Route, path: str) -> str:
    """The condition for the route's paths, which follows that for its site."""
    if route.match == "exact":
        how, value = ("reg", f"^{pattern_of(path)}$") if has_placeholders(path) else ("str", path)
        return f" {{ var(txn.path) -m {how} {value} }}"
    return f" {{ var(txn.path) -m reg ^{pattern_of(path)}(/|$) }}" if path != "/" else ""


def _balance(route: Route) -> str:
    """How a server is chosen; with cookies by turns, since many clients may share an address."""
    if route.sticky and route.balance == "source":
        return "roundrobin"
    return {"source": "source", "round_robin": "roundrobin", "least_conn": "leastconn"}[
        route.balance
    ]


def _rule(site: Site, route: Route) -> View | None:
    """Which pages may connect; `None` if all may."""
    anywhere = route.origins is not None and "any" in route.origins
    if not route.websocket or (anywhere and not route.require_origin):
        return None
    patterns = (".+",) if anywhere else origin_patterns(site, route)
    return {"patterns": patterns, "require_origin": route.require_origin}
