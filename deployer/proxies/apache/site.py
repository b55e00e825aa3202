"""Sites as plain values for the templates of the apache role.

The layout of the configuration is in ``roles/apache/templates`` alone. This module computes the
values: the modules, the order of locations, the services with their own pool, times in whole
seconds, patterns.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from deployer.errors import SourceError
from deployer.proxies.apache.named_routes import Named, pattern
from deployer.proxies.apache.services import (
    DIGITS,
    health_view,
    is_spread,
    need_a_pool,
    pause_s,
    pools,
    service,
    share_views,
    target,
)
from deployer.proxies.apache.tls_names import check_tls_name
from deployer.proxies.shared import ALONE, Others
from deployer.sites.listeners import check_listeners, in_front, refuse_send_proxy
from deployer.sites.locations import location_view
from deployer.sites.model import Route, Site, Tls
from deployer.sites.paths import (
    before_placeholders,
    escaped,
    has_placeholders,
    ordered,
    pattern_of,
)
from deployer.sites.upstream_tls import tls_view
from deployer.sites.values import (
    GZIP_TYPES,
    PLAIN_FILE,
    PLAIN_HASH,
    PLAIN_PATH,
    REMOVED_HEADERS,
    View,
    certificate_folder,
    challenge_of,
    check_names,
    client_headers,
    clients_view,
    cors_view,
    covers,
    has_root_route,
    host_patterns,
    is_address,
    is_private,
    maintenance_view,
    max_body_of,
    origin_patterns,
    port_view,
    redirect_view,
    refuse_buffering,
    refuse_unless,
    resolve_view,
    slugs_of,
    underscored,
)

#: The files that `a2enmod` would link, module by module.
_ALWAYS = (
    *("alias.load", "alias.conf", "authz_core.load", "headers.load", "setenvif.load"),
    *("setenvif.conf", "proxy.load", "proxy.conf", "proxy_http.load", "rewrite.load"),
)
_FOR_TLS = ("ssl.load", "ssl.conf", "socache_shmcb.load")
_FOR_HTTP2 = ("http2.load", "http2.conf")
_FOR_LEAST_CONN = ("lbmethod_bybusyness.load",)
_FOR_CHECKS = ("proxy_hcheck.load",)
_FOR_GZIP = ("filter.load", "deflate.load", "deflate.conf")
_FOR_USERS = ("auth_basic.load", "authn_core.load", "authn_file.load", "authz_user.load")
_FOR_ADDRESSES = ("authz_host.load",)
_FOR_TRUSTED = ("remoteip.load",)
_FOR_SPA = ("dir.load", "dir.conf")
_FOR_POOLS = (
    *("proxy_balancer.load", "proxy_balancer.conf"),
    *("lbmethod_byrequests.load", "slotmem_shm.load"),
)
#: How long a client may pause during a request, unless a route has a shorter timeout.
_TIMEOUT_S = 60
#: A limit for requests that is none.
_UNLIMITED = 2**63 - 1


def bootstrap(site: Site) -> View:
    """The values of a site that has no certificate yet: it only answers challenges."""
    bare = replace(site, routes=(), redirects=(), tls=Tls(), port=None)
    return {**view(bare, challenge=True), "only_challenges": True}


def view(site: Site, *, challenge: bool = False) -> View:
    """The values that the template prints for a site.

    Routes are ordered with the shortest path first: of the locations that match a request, Apache
    applies the last one. With `challenge`, the site also answers the challenges of an ACME issuer
    that did not sign its current certificate.

    Raises:
        SourceError: a value that would change the meaning of the configuration, or more services
            for one route than Apache can choose from.
    """
    check_names(site)
    refuse_buffering(
        site,
        proxy="Apache",
        hint="Remove `buffering: true`, or let nginx serve the site: `proxy: nginx`.",
    )
    longest_first = ordered(site.routes)
    slugs = slugs_of(longest_first)
    routes = [Named(*pair) for pair in zip(longest_first, slugs, strict=True)][::-1]
    alone = need_a_pool(site)
    proxied = [route for route in site.routes if route.upstreams]
    rules = _rules(site, routes)
    views = [
        _route_view(site, named, among=routes, rules=rules, pooled=named.route in alone)
        for named in routes
    ]
    return {
        "domain": site.domain,
        # A wildcard cannot be a ServerName: use one of the names that it matches.
        "server_name": site.domain.replace("*", "any"),
        "server_aliases": [name for name in site.names if name != site.domain or "*" in name],
        "tls": site.has_tls,
        "challenge": challenge_of(site, also=challenge),
        "only_challenges": False,
        **port_view(site, challenge=challenge),
        **({"json_log": True} if site.access_log == "json" else {}),
        **maintenance_view(site, folder="/etc/apache2/deployer-pages"),
        "link": _link(site),
        "host_pattern": "|".join(host_patterns(site)),
        "removed_headers": REMOVED_HEADERS,
        **_settings(site),
        "redirects": [
            {"name_pattern": escaped(name), "to": target} for name, target in site.redirects
        ],
        "marked": any(map(_needs_mark, site.routes)),
        "max_body_bytes": site.max_body_bytes or 0,
        "limits": _limits(site, routes),
        "websocket": any(route.websocket for route in proxied),
        "proxied": bool(proxied),
        "tls_upstreams": any(upstream.tls for route in proxied for upstream in route.upstreams),
        "timeout_s": min([_TIMEOUT_S, *map(pause_s, proxied)]),
        "shares": share_views(proxied),
        "rules": list({str(rule["variable"]): rule for rule in rules.values()}.values()),
        "routes": views,
        "folders": _outermost(str(one["folder"]) for one in views if one["folder"]),
        "has_root_route": has_root_route(site),
        "file_paths": [escaped(named.path) for named in routes if named.route.root],
        "indexes": _indexes(routes),
    }


def _settings(site: Site) -> View:
    """The values that do not depend on routes."""
    return {
        **{f"{place}_snippet": text for place, text in site.snippets},
        **in_front(site),
        "private": is_private(site),
        "underscores": site.underscores_in_headers,
        "gzip": site.gzip,
        "gzip_types": list(GZIP_TYPES),
        "hsts_s": site.tls.hsts_s if site.has_tls else None,
        "certificate": f"{certificate_folder(site)}/fullchain.pem",
        **clients_view(site, "/etc/apache2/deployer-cas"),
        "certificate_key": f"{certificate_folder(site)}/privkey.pem",
    }


def more_vars(sites: Sequence[Site], others: Others = ALONE) -> dict[str, object]:
    """The modules that the sites need."""
    check_listeners(sites, proxy="Apache")
    for one, other in itertools.combinations(sorted(sites, key=_link), 2):
        if covers(one, other):
            raise SourceError(
                f"Apache would serve a name of {other.domain} from the wildcard of {one.domain}",
                source=other.source,
                hint="Apache uses the first site that matches a name: give each wildcard its own "
                "site, or move that name to the site of its wildcard.",
            )
    headers = client_headers(sites)
    return {
        "apache_modules": list(_modules(sites)),
        "apache_ports": sorted({site.serving_port for site in sites} - {80, 443}),
        "apache_client_headers": headers,
        "apache_underscored_headers": underscored(headers),
    }


def _modules(sites: Sequence[Site]) -> Iterator[str]:
    routes = [route for site in sites for route in site.routes]
    yield from _ALWAYS
    for is_needed, modules in (
        (any(site.has_tls for site in sites), (*_FOR_TLS, *_FOR_HTTP2)),
        (any(each.tls for route in routes for each in route.upstreams), _FOR_TLS),
        (any(need_a_pool(site) for site in sites), _FOR_POOLS),
        (any(route.balance == "least_conn" for route in routes), _FOR_LEAST_CONN),
        (any(route.health and route.health.path for route in routes), _FOR_CHECKS),
        (any(route.users for route in routes), _FOR_USERS),
        (any(route.allow or route.deny for route in routes), _FOR_ADDRESSES),
        (any(site.trusted_proxies for site in sites), _FOR_TRUSTED),
        (any(route.spa for route in routes), _FOR_SPA),
        (any(site.gzip for site in sites), _FOR_GZIP),
        (any(site.underscores_in_headers for site in sites), ("lua.load",)),
        (any(site.access_log == "json" for site in sites), ("env.load",)),
    ):
        yield from modules if is_needed else ()


def _link(site: Site) -> str:
    """The name of the site's link: of the sites that match a name, Apache uses the first.

    Clients that connect to an address send no server name, so its site comes first. A site with a
    wildcard comes after those whose names it matches, the one with the most labels first.
    """
    if site.is_default:
        return f"0+{site.domain}"  # before files such as 000-default.conf
    if is_address(site.domain):
        return f"000-{site.domain}"
    labels = [name.count(".") for name in site.names if name.startswith("*")]
    return f"~{max(0, 9 - min(labels))}-{site.domain}" if labels else site.domain


def _is_guarded(route: Route) -> bool:
    return bool(route.allow or route.deny or route.users)


def _needs_mark(route: Route) -> bool:
    """Whether there are directives for its requests that its location cannot have."""
    changes = (*route.request_headers.set, *route.request_headers.remove)
    changes += (*route.response_headers.set, *route.response_headers.remove)
    return bool(changes or route.redirect or route.sticky or route.cors or route.rewrite_location)


def _indexes(routes: Sequence[Named]) -> list[View]:
    """The file of a folder by path, the longest first; empty if all have the usual one."""
    if all(named.route.index == "index.html" for named in routes):
        return []
    return [
        {
            "path_pattern": pattern(named.path),
            "exact": named.route.match == "exact",
            "file": named.route.index,
        }
        for named in reversed(routes)
        if named.route.root
    ]


def _limits(site: Site, routes: Sequence[Named]) -> list[View]:
    """The sizes of requests by path, the last match counts; empty if the site has one limit."""
    proxied = [named for named in routes if named.route.upstreams]
    if all(named.route.max_body_bytes is None for named in proxied):
        return []
    return [
        {
            "path_pattern": pattern(named.path),
            "exact": named.route.match == "exact",
            "bytes": max_body_of(site, named.route) or _UNLIMITED,
        }
        for named in proxied
    ]


def _route_view(
    site: Site, named: Named, *, among: Sequence[Named], rules: Mapping[str, View], pooled: bool
) -> View:
    _check_route(named)
    check_tls_name(site, named.route)
    why = "mod_proxy has no such setting"
    refuse_send_proxy(named.route, proxy="Apache", why=why, other="haproxy")
    route, path = named.route, named.path
    file = f"{site.domain.replace('*', '_')}.{named.slug}"
    services = [service(named, upstream) for upstream in route.upstreams]
    around = [other for other in among if other != named and other.covers(named)]
    return {
        "path": path,
        "path_pattern": pattern(path),
        "raw_path_pattern": pattern_of(path, segment=r"[^/?\s]+"),
        "fixed_path": before_placeholders(path),
        "has_placeholders": has_placeholders(path),
        "exact": route.match == "exact",
        "websocket": route.websocket,
        "folder": _folder(route, path) if route.root else None,
        "inside": bool(around),
        "slug": named.slug,
        "allow": list(route.allow),
        "deny": list(route.deny),
        "users": [f"{name}:{hashed}" for name, hashed in route.users],
        "users_file": file,
        **tls_view(route, f"/etc/apache2/deployer-cas/{file}.pem"),
        "index": route.index,
        "spa": route.spa,
        **({"snippet": route.snippet} if route.snippet else {}),
        **cors_view(route),
        **location_view(site, route),
        "redirect": redirect_view(site, route),
        "request_headers": _pairs(route.request_headers.set),
        "removed_headers": list(route.request_headers.remove),
        "response_headers": _pairs(route.response_headers.set),
        "hidden_headers": list(route.response_headers.remove),
        "log_upstream": services[0].partition("://")[2] if services else "",
        "target": target(named, services, pooled=pooled) if services else None,
        "pools": pools(named, services) if pooled else [],
        "chosen": len(services) > 1,
        "spread": len(services) > 1 and is_spread(route),
        "method": "bybusyness" if route.balance == "least_conn" else "byrequests",
        "sticky": route.sticky,
        **health_view(route),
        **resolve_view(route),
        "stripped": route.strip_prefix and path != "/",
        "timeout_s": pause_s(route),
        "rule": rules[named.slug]["variable"] if named.slug in rules else None,
        # Rules of enclosing locations and of the distribution's /server-status must not apply.
        "free": named.is_granted
        or any(
            other.slug in rules or other.is_granted or _is_guarded(other.route) for other in around
        ),
    }


def _check_route(named: Named) -> None:
    """Raise `SourceError` for what Apache cannot do."""
    route, path = named.route, named.path
    refuse_unless(PLAIN_PATH, path, what="the path", source=route.source)
    if route.auth:
        raise SourceError(
            f"Apache cannot ask a service about the requests of {path}: no module of Debian does",
            source=route.at("auth_request"),
            hint="nginx and HAProxy can: write `proxy: nginx`. For OpenID Connect, Apache has"
            " libapache2-mod-auth-openidc, which snippets can configure.",
        )
    if route.request_rate or route.handshake_rate:
        raise SourceError(
            f"Apache cannot limit the rate of requests to {path}",
            source=route.at("rate_limit"),
            hint="nginx and HAProxy can: write `proxy: nginx`, or limit it in the service.",
        )
    for _, hashed in route.users:
        refuse_unless(PLAIN_HASH, hashed, what="the hash", source=route.at("basic_auth"))
    if "*" in path:
        raise SourceError(
            f"the path {path} has a star, which matches any text in Apache",
            source=route.source,
            hint="nginx and HAProxy can serve such a path.",
        )
    if route.root is not None:
        refuse_unless(PLAIN_FILE, route.root, what="the folder", source=route.source)
    for upstream in route.upstreams:
        if upstream.max_conns:
            raise SourceError(
                f"Apache cannot limit the connections to {upstream}: each of its processes counts "
                "alone",
                source=route.at("websocket", "upstream"),
                hint="nginx and HAProxy can, for example with `proxy: haproxy`.",
            )
    if len(route.upstreams) > len(DIGITS):
        raise SourceError(
            f"{route.path} has {len(route.upstreams)} upstreams, and Apache can choose from"
            f" {len(DIGITS)}",
            source=route.source,
            hint="nginx and HAProxy support more, for example with `proxy: haproxy`.",
        )


def _pairs(headers: Sequence[tuple[str, str]]) -> list[View]:
    return [{"name": name, "value": value} for name, value in headers]


def _folder(route: Route, path: str) -> str:
    """The folder with a path's files; a `root` is that of the whole site."""
    assert route.root is not None  # noqa: S101 - only called for folders
    root = route.root.rstrip("/")
    return (root if route.strip_prefix or path == "/" else f"{root}{path}") or "/"


def _outermost(folders: Iterable[str]) -> list[str]:
    """The folders that are not inside one of the others."""
    found: list[str] = []
    for folder in sorted(set(folders)):
        if not any(f"{folder}/".startswith(f"{other.rstrip('/')}/") for other in found):
            found.append(folder)
    return found


def _rules(site: Site, routes: Sequence[Named]) -> dict[str, View]:
    """The origin rule of each WebSocket route, by slug; routes with equal rules share one."""
    shared: dict[tuple[str, bool], View] = {}
    rules: dict[str, View] = {}
    for route, slug in ((named.route, named.slug) for named in routes):
        anywhere = route.origins is not None and "any" in route.origins
        if not route.websocket or (anywhere and not route.require_origin):
            continue
        pages = ".+" if anywhere else "|".join(origin_patterns(site, route))
        own = route.origins is None and not route.require_origin
        key = (pages, route.require_origin)
        shared.setdefault(
            key,
            {
                "variable": "may_connect" if own else f"may_connect_{slug}",
                "pages": pages,
                "require_origin": route.require_origin,
            },
        )
        rules[slug] = shared[key]
    return rules
