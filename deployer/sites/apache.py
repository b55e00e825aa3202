"""Sites as plain values that the apache role's templates print.

What a config looks like is said in ``roles/apache/templates`` alone. Here stands what can be
computed: which modules are needed, the order of ProxyPass lines, times in whole seconds, patterns.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

from deployer.model import Route, Site, SourceRef, Tls, Upstream
from deployer.sites.values import (
    PLAIN_FILE,
    PLAIN_HOST,
    PLAIN_PATH,
    View,
    certificate_folder,
    challenge_of,
    check_names,
    escaped,
    has_root_route,
    is_address,
    name_prefix,
    ordered,
    origin_patterns,
    path_of,
    refuse_unless,
    scheme_of,
    slugs_of,
)

#: The files that `a2enmod` would link, module by module.
_ALWAYS = ("headers.load", "proxy.load", "proxy.conf", "proxy_http.load")
_FOR_TLS = (
    *("ssl.load", "ssl.conf", "socache_shmcb.load"),
    *("http2.load", "http2.conf", "rewrite.load"),
)
_FOR_LISTS = (
    *("proxy_balancer.load", "proxy_balancer.conf"),
    *("lbmethod_byrequests.load", "slotmem_shm.load"),
)
#: How long a client may be silent amid a request where no route says less.
_TIMEOUT_S = 60


def bootstrap(site: Site) -> View:
    """The values for a site that has no certificate yet: it answers challenges and nothing else."""
    bare = replace(site, routes=(), tls=Tls())
    return {**view(bare, challenge=True), "only_challenges": True}


def view(site: Site, *, challenge: bool = False) -> View:
    """The values that the template prints for a site; routes come with the longest path first.

    With `challenge` it answers those of an ACME issuer, though its own certificate is another's.

    Raises:
        SourceError: a value that Apache would read as something else than it is.
    """
    check_names(site)
    routes = ordered(site.routes)
    prefix = name_prefix(site.domain)
    return {
        "domain": site.domain,
        # A wildcard cannot be a ServerName: one of the names that it stands for is.
        "server_name": site.domain.replace("*", "any"),
        "server_aliases": [name for name in site.names if name != site.domain or "*" in name],
        "tls": site.has_tls,
        "challenge": challenge_of(site, also=challenge),
        "only_challenges": False,
        # Clients name no server when they ask for an address: its site has to come first.
        "link": f"000-{site.domain}" if is_address(site.domain) else site.domain,
        "max_body_bytes": site.max_body_bytes or 0,
        "hsts_s": site.tls.hsts_s if site.has_tls else None,
        "certificate": f"{certificate_folder(site)}/fullchain.pem",
        "certificate_key": f"{certificate_folder(site)}/privkey.pem",
        "websocket": any(route.websocket for route in routes),
        "proxied": any(route.upstreams for route in routes),
        "tls_upstreams": any(upstream.tls for route in routes for upstream in route.upstreams),
        "timeout_s": min([_TIMEOUT_S, *map(_idle_s, (r for r in routes if r.upstreams))]),
        "routes": [
            _route_view(site, route, name=f"{prefix}-{slug}".replace("_", "-"))
            for route, slug in zip(routes, slugs_of(routes), strict=True)
        ],
        "has_root_route": has_root_route(site),
        "file_paths": [escaped(path_of(route)) for route in routes if route.root],
    }


def more_vars(sites: Sequence[Site]) -> dict[str, object]:
    """Which modules the sites need."""
    modules: Iterable[str] = _ALWAYS
    if any(site.has_tls for site in sites):
        modules = (*modules, *_FOR_TLS)
    if any(len(route.upstreams) > 1 for site in sites for route in site.routes):
        modules = (*modules, *_FOR_LISTS)
    return {"apache_modules": list(modules)}


def _idle_s(route: Route) -> int:
    """Apache counts whole seconds."""
    return max(1, math.ceil(route.idle_timeout_s))


def _route_view(site: Site, route: Route, *, name: str) -> View:
    path = path_of(route)
    refuse_unless(PLAIN_PATH, path, what="the path", source=route.source)
    if route.root is not None:
        refuse_unless(PLAIN_FILE, route.root, what="the folder", source=route.source)
    return {
        "path": path,
        "path_pattern": escaped(path),
        "exact": route.match == "exact",
        "websocket": route.websocket,
        "folder": _folder(route, path) if route.root else None,
        "balancer": name if len(route.upstreams) > 1 else None,
        "upstreams": [_upstream(route, each, source=route.source) for each in route.upstreams],
        "stripped": route.strip_prefix and path != "/",
        "timeout_s": _idle_s(route),
        "refused": _refused(site, route),
    }


def _folder(route: Route, path: str) -> str:
    """The folder that a path's files lie in; a `root` is that of the whole site."""
    assert route.root is not None  # noqa: S101 - asked for folders alone
    root = route.root.rstrip("/") or "/"
    return root if route.strip_prefix or path == "/" else f"{root.rstrip('/')}{path}"


def _upstream(route: Route, upstream: Upstream, *, source: SourceRef | None) -> str:
    scheme = scheme_of(route)
    if upstream.socket:
        refuse_unless(PLAIN_FILE, upstream.socket, what="the socket", source=source)
        return f"unix:{upstream.socket}|{scheme}://localhost"
    refuse_unless(PLAIN_HOST, upstream.host, what="the upstream", source=source)
    host = f"[{upstream.host}]" if ":" in upstream.host else upstream.host
    return f"{scheme}://{host}:{upstream.port}"


def _refused(site: Site, route: Route) -> str | None:
    """The condition under which an upgrade is refused, `None` where every page may connect."""
    anywhere = route.origins is not None and "any" in route.origins
    if not route.websocket or (anywhere and not route.require_origin):
        return None
    if anywhere:
        return "-z %{HTTP:Origin}"
    pattern = "|".join(origin_patterns(site, route))
    foreign = f"%{{HTTP:Origin}} !~ m#^({pattern})$#i"
    return foreign if route.require_origin else f"-n %{{HTTP:Origin}} && {foreign}"
