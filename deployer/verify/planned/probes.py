"""Build the probes of a site: through its proxy, and directly to its services. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from deployer.sites.model import Check, Route, Site, Upstream
from deployer.sites.values import redirects_http
from deployer.verify.options import ProxyAddress
from deployer.verify.planned.routing import concrete, is_open, path_at_service
from deployer.verify.probe.spec import Endpoint, HttpProbe, Identity, Trust, UpgradeProbe

USER_AGENT = ("User-Agent", "deployer-verify")
_Sent = TypeVar("_Sent", bound=HttpProbe)


class SiteProbes:
    """Builds probes for `site`; `serving` is the proxy's endpoint, `redirecting` its port 80."""

    def __init__(self, site: Site, proxy: ProxyAddress) -> None:
        self._proxy = proxy
        self.domain = concrete(site.domain)
        self.https = site.has_tls
        self.redirects_http = self.https and redirects_http(site)
        self._port = site.serving_port
        line = site.proxy_protocol
        self.redirecting = Endpoint(host=proxy.host, port=proxy.http_port, proxy_line=line)
        self.serving = (
            Endpoint(
                host=proxy.host,
                port=proxy.https_port,
                tls=True,
                identity=identity_of(site),
                proxy_line=line,
            )
            if self.https
            else self.redirecting
        )

    def own_origin(self, route: Route | None, name: str) -> str:
        """Return the origin of the site's own page, or the first one that the route allows."""
        if route is not None and route.origins and not is_open(route):
            return route.origins[0]
        return f"{'https' if self.https else 'http'}://{self._authority(name)}"

    def common_headers(self) -> tuple[tuple[str, str], ...]:
        """Return the headers that every request has."""
        return (("Host", self._authority(self.domain)), USER_AGENT)

    def _authority(self, name: str) -> str:
        return self._proxy.authority(name, https=self.https)

    def get(self, target: str, *, headers: tuple[tuple[str, str], ...]) -> HttpProbe:
        """Return a GET request through the proxy."""
        return HttpProbe(
            uri=f"{'https' if self.https else 'http'}://{self._authority(self.domain)}{target}",
            hop="proxy",
            endpoint=self.serving,
            server_name=self.domain,
            target=target,
            headers=headers,
        )

    def upgrade(self, target: str, *, name: str, origin: str | None) -> UpgradeProbe:
        """Return a handshake through the proxy."""
        origin_header = (("Origin", origin),) if origin is not None else ()
        host = self._authority(name)
        return UpgradeProbe(
            uri=f"{'wss' if self.https else 'ws'}://{host}{target}",
            hop="proxy",
            endpoint=self.serving,
            server_name=name,
            target=target,
            headers=(("Host", host), USER_AGENT, *origin_header),
        )

    def configured(
        self, check: Check, *, name: str, origin: str | None, with_messages: bool = True
    ) -> UpgradeProbe:
        """Return the handshake of `check` through the proxy, with its messages if wanted."""
        probe = self.upgrade(check.path, name=name, origin=origin)
        hidden = frozenset(name.lower() for name, _ in check.headers)
        kept = (field for field in probe.headers if field[0].lower() not in hidden)
        probe = replace(
            probe,
            headers=(*kept, *check.headers),
            hidden=hidden,
            subprotocols=check.subprotocols,
            statuses=check.statuses,
        )
        if not with_messages:
            return probe
        return replace(
            probe, send=check.send, expect=check.expect, expect_is_regex=check.expect_is_regex
        )

    def peer(self, route: Route, probe: UpgradeProbe) -> UpgradeProbe:
        """Return `probe` directly to the route's first upstream, as the proxy would send it."""
        made = replace(
            probe,
            hop="backend",
            target=path_at_service(route, probe.target),
            headers=(*probe.headers, *self._forwarded(probe)),
        )
        return at_upstream(made, route.in_rotation[0])

    def plain_to_service(self, route: Route, probe: HttpProbe) -> HttpProbe:
        """Return a GET without an upgrade directly to the route's first upstream."""
        made = self.to_service(route, probe)
        return replace(made, headers=(*made.headers, ("Connection", "close")))

    def to_service(self, route: Route, probe: HttpProbe) -> HttpProbe:
        """Return `probe` as a plain GET directly to the route's first upstream."""
        kept = tuple(field for field in probe.headers if field[0] not in ("Connection", "Upgrade"))
        made = HttpProbe(
            uri="",
            hop="backend",
            endpoint=probe.endpoint,
            server_name=probe.server_name,
            target=path_at_service(route, probe.target),
            headers=(*kept, *self._forwarded(probe)),
            hidden=probe.hidden,
        )
        return at_upstream(made, route.in_rotation[0])

    def _forwarded(self, probe: HttpProbe) -> tuple[tuple[str, str], ...]:
        """Return the headers that the proxy adds; without them, some apps redirect to HTTPS."""
        host = dict(probe.headers)["Host"]
        return (
            ("X-Real-IP", "127.0.0.1"),
            ("X-Forwarded-For", "127.0.0.1"),
            ("X-Forwarded-Proto", "https" if self.https else "http"),
            ("X-Forwarded-Host", host),
            ("X-Forwarded-Port", str(self._port)),
        )


def identity_of(site: Site) -> Identity | None:
    """Return the certificate that checks of `site` present, if it asks clients for one."""
    clients = site.tls.clients
    if clients is None or clients.certificate is None or clients.key is None:
        return None
    return Identity(certificate=clients.certificate, key=clients.key)


def at_upstream(probe: _Sent, upstream: Upstream) -> _Sent:
    """Return `probe`, which is sent directly to a service, for the service of `upstream`."""
    endpoint = endpoint_of(upstream)
    scheme = "ws" if isinstance(probe, UpgradeProbe) else "http"
    uri = f"{scheme}{'s' * endpoint.tls}://{endpoint}{probe.target}"
    name = upstream.tls_name or probe.server_name
    return replace(probe, uri=uri, endpoint=endpoint, server_name=name)


def endpoint_of(upstream: Upstream) -> Endpoint:
    """Return the address of a service, and how a proxy connects to it."""
    roots = upstream.ca.encode() if upstream.verify == "file" else None
    return Endpoint(
        host=upstream.host,
        port=upstream.port,
        socket=upstream.socket,
        tls=upstream.tls,
        proxy_line=bool(upstream.send_proxy),
        is_binary_line=upstream.send_proxy == "v2",
        trust=Trust(roots_pem=roots) if upstream.verify else None,
    )
