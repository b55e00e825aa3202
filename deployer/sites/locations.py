"""The service's own addresses in its redirects, and paths without a prefix that was stripped."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from deployer.errors import SourceError
from deployer.sites.model import Route, Site
from deployer.sites.paths import escaped, has_placeholders, path_of
from deployer.sites.values import View

_USUAL_PORTS = {"http": 80, "https": 443}


def location_view(site: Site, route: Route) -> View:
    """What a proxy has to rewrite in the answers of `route`: patterns for PCRE, and replacements.

    A ``Location`` that matches `pattern` becomes `to` and what the pattern's group captured. A path
    of a cookie, which begins with a slash, becomes one below `prefix`, unless it is.

    Raises:
        SourceError: the stripped prefix is different for each request.
    """
    if not route.rewrite_location:
        return {}
    prefix = path_of(route) if route.strip_prefix and route.path != "/" else ""
    if has_placeholders(prefix):
        raise SourceError(
            f"{prefix} is different for each request, so redirects and cookies cannot get it back",
            source=route.at("rewrite_location"),
            hint="Remove rewrite_location, or strip_prefix.",
        )
    own = f"(?i:{'|'.join(dict.fromkeys(_own_addresses(site, route)))})(?=[/?#]|$)/*"
    inner = escaped(prefix.strip("/"))
    pattern = f"^{own}(.*)$"
    if prefix:
        pattern = f"^(?:{own}|/(?!/))(?:{inner}(?:/+|(?=[?#]|$)))?(.*)$"
    return {
        "location": {
            "pattern": pattern,
            "to": f"{prefix}/",
            "prefix": prefix,
            "inner_pattern": inner,
        }
    }


def _own_addresses(site: Site, route: Route) -> Iterator[str]:
    """Patterns of the addresses that lead to the site itself, as its service may write them."""
    for upstream in route.upstreams:
        scheme = "https" if upstream.tls else "http"
        for host in _spellings(upstream.host):
            yield _address(scheme, host, upstream.port)
    names = [name for name in site.served_names if not name.startswith("*.")]
    if len(names) < len(site.served_names) or len(names) > 1:
        return  # a redirect may lead from one of them to the other
    for name in names:
        host = f"[{name}]" if ":" in name else name
        yield _address("https" if site.has_tls else "http", host, site.serving_port)
        if site.has_tls:
            yield _address("http", host, 80)


def _spellings(host: str) -> Iterator[str]:
    if not host:
        yield "localhost"  # of a socket
        return
    yield f"[{host}]" if ":" in host else host
    try:
        is_loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        return
    if is_loopback:
        yield "localhost"


def _address(scheme: str, host: str, port: int) -> str:
    number = f"(?::{port})?" if port == _USUAL_PORTS[scheme] or not port else f":{port}"
    return f"{scheme}://{escaped(host)}{number if port else ''}"
