"""The names that Apache sends to services in TLS, and that their certificates must have."""

from __future__ import annotations

from deployer.errors import SourceError
from deployer.sites.model import Route, Site


def check_tls_name(site: Site, route: Route) -> None:
    """Raise `SourceError` for a name that Apache would not send."""
    for upstream in route.upstreams:
        name = upstream.tls_name
        if name and {name} != {each.lower() for each in site.served_names}:
            raise SourceError(
                f"Apache cannot ask {upstream} for the certificate of {name}: it sends services "
                "the name that the client asked for, which it also passes on as Host",
                source=route.at("websocket", "upstream"),
                hint=f"nginx and HAProxy can: write `proxy: nginx`. Or give the service a "
                f"certificate for {site.domain}, and write an address in the URL, without `sni`.",
            )
