"""Sites as plain values for the template of the nginx role.

The layout of the configuration is in ``roles/nginx/templates/site.conf.j2`` alone. This module
computes the values: names that are unique in nginx's single namespace, the order of routes, escaped
patterns; and refuses values that would change the meaning of the configuration.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from deployer.errors import SourceError
from deployer.proxies.shared import ALONE, Others
from deployer.sites.listeners import check_listeners, in_front, refuse_send_proxy
from deployer.sites.locations import location_view
from deployer.sites.model import Health, Route, Site, Tls, Upstream
from deployer.sites.paths import (
    before_placeholders,
    escaped,
    has_placeholders,
    ordered,
    path_of,
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
    address_of,
    certificate_folder,
    challenge_of,
    check_names,
    client_headers,
    clients_view,
    cors_view,
    duration,
    has_root_route,
    host_patterns,
    is_address,
    is_private,
    maintenance_view,
    max_body_of,
    name_prefix,
    origin_patterns,
    port_view,
    redirect_view,
    refuse_unless,
    removed_of,
    scheme_of,
    size,
    slugs_of,
    underscored,
    used_ports,
    whole_seconds,
)

# nginx keeps variable and server names in hashes with buckets of 64 bytes. An entry takes its
# length,
# rounded up, and two pointers, so 46 characters fit. The directives that enlarge the buckets are
# allowed only once in a configuration, so they are left to the administrator.
# https://nginx.org/en/docs/hash.html
_LONGEST_HASHED_NAME = 46
_LONGEST_PATTERN = 3000


def bootstrap(site: Site) -> View:
    """The values of a site that has no certificate yet: it only answers challenges."""
    bare = replace(site, routes=(), redirects=(), tls=Tls(), port=None)
    return {**view(bare, challenge=True), "only_challenges": True}


def view(site: Site, *, challenge: bool = False) -> View:
    """The values that the template prints for a site; routes are ordered longest path first.

    With `challenge`, the site also answers the challenges of an ACME issuer that did not sign its
    current certificate.

    Raises:
        SourceError: a value that would change the meaning of the configuration.
    """
    check_names(site)
    prefix = name_prefix(site.domain)
    routes = ordered(site.routes)
    slugs = slugs_of(routes)
    rules = _origin_rules(site, routes, slugs=slugs, prefix=prefix)
    names = "|".join(host_patterns(site))
    long_names = [name for name in site.names if len(name) > _LONGEST_HASHED_NAME]
    return {
        "domain": site.domain,
        "server_names": [name for name in site.names if name not in long_names],
        "server_name_patterns": [escaped(name) for name in long_names],
        "tls": site.has_tls,
        "challenge": challenge_of(site, also=challenge),
        "only_challenges": False,
        **port_view(site, challenge=challenge),
        **({"json_log": f"{prefix}_log"} if site.access_log == "json" else {}),
        **maintenance_view(site, folder="/etc/nginx/deployer-pages"),
        "is_address": is_address(site.domain),
        # A parameter has at most 4096 bytes; more names need a map, which takes a variable.
        "host_pattern": names if len(names) <= _LONGEST_PATTERN else None,
        "host_patterns": host_patterns(site),
        "named": f"{prefix}_named",
        "redirects": [{"name": name, "to": to} for name, to in site.redirects],
        "removed_headers": list(REMOVED_HEADERS),
        **in_front(site),
        **{f"{place}_snippet": text for place, text in site.snippets},
        # Without TLS, the scheme that clients use may be known to a proxy in front.
        "scheme": f"{prefix}_scheme" if _is_behind_https(site) else None,
        "in_front": f"{prefix}_in_front",
        "private": is_private(site),
        "underscores": site.underscores_in_headers,
        "max_body": _size(site.max_body_bytes or 0),
        "gzip": site.gzip,
        "gzip_types": list(GZIP_TYPES),
        "hsts_s": site.tls.hsts_s if site.has_tls else None,
        "certificate": f"{certificate_folder(site)}/fullchain.pem",
        **clients_view(site, "/etc/nginx/deployer-cas"),
        "certificate_key": f"{certificate_folder(site)}/privkey.pem",
        "websocket": any(route.websocket for route in routes),
        "plain": any(route.upstreams and not route.websocket for route in routes),
        "origin_rules": list({str(rule["variable"]): rule for rule in rules.values()}.values()),
        "routes": [
            _route_view(site, route, prefix=prefix, slug=slug, rule=rules.get(slug))
            for route, slug in zip(routes, slugs, strict=True)
        ],
        "has_root_route": has_root_route(site),
    }


def _is_behind_https(site: Site) -> bool:
    """Whether a proxy in front may end TLS, and says so in a header."""
    return bool(site.trusted_proxies) and not site.has_tls and not site.proxy_protocol


def more_vars(sites: Sequence[Site], others: Others = ALONE) -> dict[str, object]:
    """The variables that concern nginx as a whole.

    Raises:
        SourceError: two sites that would both have to be the port's default.
    """
    check_listeners(sites, proxy="nginx")
    first: dict[int, Site] = {}
    for other in (site for site in sites if _has_default_server(site)):
        one = first.setdefault(other.serving_port, other)
        if one is other:
            continue
        raise SourceError(
            f"{other.domain} and {one.domain} are both addresses or the default, and clients that"
            " connect to an address send no server name",
            source=other.source,
            hint="Make one of them an alias of the other.",
        )
    headers = client_headers(sites)
    return {
        "nginx_is_default": any(80 in used_ports([s]) for s in sites if s.is_default),
        "nginx_client_headers": headers,
        "nginx_underscored_headers": underscored(headers),
    }


def _has_default_server(site: Site) -> bool:
    return site.is_default or (site.has_tls and is_address(site.domain))


def _size(count: int) -> str:
    return size(count) if count else "0"


def _route_view(site: Site, route: Route, *, prefix: str, slug: str, rule: View | None) -> View:
    path = path_of(route)
    refuse_unless(PLAIN_PATH, path, what="the path", source=route.source)
    if route.root is not None:
        refuse_unless(PLAIN_FILE, route.root, what="the folder", source=route.source)
        for name in route.response_headers.remove:
            raise SourceError(
                f"nginx cannot remove {name} from the files of {route.path}",
                source=route.at("response_headers.remove", "response_headers"),
                hint="It removes headers of services only.",
            )
    for _, hashed in route.users:
        refuse_unless(PLAIN_HASH, hashed, what="the hash", source=route.at("basic_auth"))
    why = "only its stream module can, which forwards TCP"
    refuse_send_proxy(route, proxy="nginx", why=why, other="haproxy")
    return {
        "path": path,
        "path_pattern": pattern_of(path),
        "raw_path_pattern": pattern_of(path, segment="[^/?]+"),
        "fixed_path": before_placeholders(path),
        "has_placeholders": has_placeholders(path),
        "exact": route.match == "exact",
        "websocket": route.websocket,
        "root": route.root,
        "upstream": f"{prefix}_{slug}",
        "servers": [address_of(upstream, source=route.source) for upstream in route.upstreams],
        "parameters": [_parameters(route, upstream) for upstream in route.upstreams],
        "method": _method(route),
        "shared_zone": bool(route.health) or any(each.max_conns for each in route.upstreams),
        **_next_upstream(route),
        **_resolved(route),
        "cookie": f"{prefix}_{slug}" if route.sticky else None,
        "scheme": scheme_of(route),
        **tls_view(route, f"/etc/nginx/deployer-cas/{_file_of(site, slug)}.pem"),
        "buffering": route.buffering,
        "timeout": duration(route.pause_s),
        "max_body": None if route.max_body_bytes is None else _size(max_body_of(site, route)),
        "index": route.index,
        "spa": route.spa,
        **_access(site, route, prefix=prefix, slug=slug),
        **({"snippet": route.snippet} if route.snippet else {}),
        **cors_view(route),
        **_asked(site, route),
        **location_view(site, route),
        "redirect": _redirect_view(site, route, variable=f"{prefix}_{slug}_to"),
        **_headers(site, route),
        "stripped": f"{prefix}_{slug}_path" if route.strip_prefix and path != "/" else None,
        "refused": rule["variable"] if rule else None,
    }


def _access(site: Site, route: Route, *, prefix: str, slug: str) -> View:
    return {
        "allow": list(route.allow),
        "deny": list(route.deny),
        "users": [f"{name}:{hashed}" for name, hashed in route.users],
        "users_file": _file_of(site, slug),
        "domain": site.domain,
        "limits": _limits(route, f"{prefix}_{slug}"),
    }


def _file_of(site: Site, slug: str) -> str:
    """The name of a file of a route."""
    return f"{site.domain.replace('*', '_')}.{slug}"


def _headers(site: Site, route: Route) -> View:
    own = {name.lower() for name, _ in route.request_headers.set}
    return {
        "request_headers": _pairs(route.request_headers.set),
        "removed_headers": [
            *removed_of(site, route),
            *(name for name in REMOVED_HEADERS if name.lower() not in own),
        ],
        "own_headers": [name for name in ("Host", "Origin") if name.lower() in own],
        "response_headers": _pairs(route.response_headers.set),
        "hidden_headers": list(route.response_headers.remove),
    }


def _limits(route: Route, name: str) -> list[View]:
    given = (("requests", route.request_rate), ("handshakes", route.handshake_rate))
    return [
        {
            "zone": f"{name}_{kind}",
            "key": "deployer_client" if kind == "requests" else "deployer_handshake_client",
            "rate": f"{rate.count}r/{'s' if rate.seconds == 1 else 'm'}",
            "burst": rate.count - 1,
        }
        for kind, rate in given
        if rate is not None
    ]


def _pairs(headers: Sequence[tuple[str, str]]) -> list[View]:
    return [{"name": name, "value": value} for name, value in headers]


def _redirect_view(site: Site, route: Route, *, variable: str) -> View | None:
    view = redirect_view(site, route)
    if view is None:
        return None
    return {**view, "variable": variable}


def _asked(site: Site, route: Route) -> View:
    """Who is asked about the requests of a route, if its playbook says so."""
    if route.auth is None:
        return {}
    from deployer.sites.forward_auth import auth_view

    return {"auth": auth_view(site, route, route.auth)}


def _next_upstream(route: Route) -> View:
    """The answers after which the next server is asked, if there are some.

    Raises:
        SourceError: servers should be checked by requests of nginx's own.
    """
    if route.health is None:
        return {}
    if route.health.path:
        raise SourceError(
            f"nginx cannot check {route.health.path} itself: only its commercial version can",
            source=route.at("health.path", "health"),
            hint="Remove `path`: an upstream whose requests fail gets none for a `pause`. Or write "
            "`proxy: haproxy`.",
        )
    statuses = [f"http_{status}" for status in route.health.statuses]
    return {"next_upstream": statuses} if statuses else {}


def _resolved(route: Route) -> View:
    """How often names are looked up, if nginx can do so.

    Raises:
        SourceError: it cannot, because that needs a group of servers.
    """
    if route.resolve_s is None:
        return {}
    if len(route.upstreams) > 1 or route.upstreams[0].max_conns:
        several = "several upstreams" if len(route.upstreams) > 1 else "an upstream with max_conns"
        raise SourceError(
            f"nginx before 1.27.3 looks up no names of {several} again, as on {route.path}",
            source=route.at("resolve"),
            hint="Write one upstream: nginx uses every address of its name. Or write `proxy: "
            "haproxy`.",
        )
    return {"resolve_s": whole_seconds(route.resolve_s)}


def _parameters(route: Route, upstream: Upstream) -> str:
    """What follows the address of one of several servers."""
    health = route.health or Health()
    words = [f"fail_timeout={whole_seconds(health.pause_s)}s"]
    words += [f"max_fails={health.fails}"] if health.fails != 1 else []
    words += [f"weight={upstream.weight}"] if upstream.weight != 1 else []
    words += [f"max_conns={upstream.max_conns}"] if upstream.max_conns else []
    words += ["down"] if upstream.drained else []
    return " ".join([*words, *(["backup"] if upstream.backup else [])])


def _method(route: Route) -> str:
    """How one of several servers is chosen.

    Raises:
        SourceError: nginx cannot do so if there is a backup.
    """
    regular = [each for each in route.upstreams if not each.backup]
    if len(regular) == 1:
        return "round_robin"
    method = "cookie" if route.sticky else route.balance
    if method in ("source", "cookie") and len(regular) < len(route.upstreams):
        raise SourceError(
            f"nginx has no backups where a client stays with its server, as on {route.path}",
            source=route.at("websocket", "upstream"),
            hint="Remove `backup: true`: another server takes over in any case. Or write `balance: "
            "round_robin`.",
        )
    return method


def _origin_rules(
    site: Site, routes: Sequence[Route], *, slugs: Sequence[str], prefix: str
) -> dict[str, View]:
    """The origin rule of each WebSocket route, by slug; routes with equal rules share one."""
    shared: dict[tuple[tuple[str, ...], bool], View] = {}
    rules: dict[str, View] = {}
    for route, slug in zip(routes, slugs, strict=True):
        anywhere = route.origins is not None and "any" in route.origins
        if not route.websocket or (anywhere and not route.require_origin):
            continue
        patterns = (".+",) if anywhere else origin_patterns(site, route)
        own = route.origins is None and not route.require_origin
        key = (patterns, route.require_origin)
        if key not in shared:
            shared[key] = {
                "variable": f"{prefix}_foreign" if own else f"{prefix}_{slug}_refused",
                "patterns": patterns,
                "require_origin": route.require_origin,
            }
        rules[slug] = shared[key]
    return rules
