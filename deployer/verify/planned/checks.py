"""Which checks a site gets, in the order in which their results are told. Pure.

The certificate of each name and the redirect come first; then each route with all that concerns it;
then the entries under `verify:`. A check through the proxy carries the same probe straight to the
service, its `peer`: when the check fails, the peer tells whose fault it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from deployer.model import Hop
from deployer.sites.model import Check, Route, Site
from deployer.verify.net.redact import without_secrets
from deployer.verify.options import LISTEN_S, ProxyAddress
from deployer.verify.planned import security
from deployer.verify.planned.routing import concrete, is_open, path_at_service, serving_route
from deployer.verify.probe.spec import Endpoint, HttpProbe, PlannedProbe, TlsProbe, UpgradeProbe

Kind = Literal[
    "certificate",
    "redirect",
    "handshake",
    "service",
    "listed-origin",
    "foreign-origin",
    "no-origin",
    "h2c",
    "page",
    "entry",
    "public-name",
    "public-certificate",
    "public-handshake",
    "public-page",
    "old-tls",
    "banner",
    "plain-get",
    "http2",
    "forged",
]

FOREIGN_ORIGIN = "https://origin.invalid"  # RFC 2606: never a real page's
_MOST_ORIGINS = 5
_REDIRECT_TARGET = "/deployer/verify?redirect=kept"
_USER_AGENT = ("User-Agent", "deployer-verify")


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """One address that a name leads to.

    It `is_known` where it is among the host's, which are `known`; `owner` is another host of the
    run that has it. The name `is_mixed` where it leads to the host and elsewhere as well.
    """

    text: str
    port: int
    is_known: bool
    known: tuple[str, ...] = ()
    is_mixed: bool = False
    owner: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedCheck:
    """One check: `probe` decides; `peer` and `plain` run only when it fails.

    `peer` is the same probe sent straight to the service, `plain` a request to the service without
    an upgrade. `prerequisite` is the index, in the list of all checks, of the handshake without
    which this check cannot succeed; at the hop *public* it is the same check on the host itself.
    Public checks also have the indices of two certificate checks, at the same address and on the
    host, and the `address` they connect to.
    """

    kind: Kind
    name: str
    target: str
    hop: Hop
    probe: PlannedProbe
    peer: HttpProbe | TlsProbe | None = None
    plain: HttpProbe | None = None
    prerequisite: int | None = None
    address_certificate: int | None = None
    host_certificate: int | None = None
    address: Address | None = None
    route: Route | None = None

    @property
    def hold_s(self) -> float:
        """How long the check holds a connection in silence."""
        held = isinstance(self.probe, UpgradeProbe) and self.probe.hold_s
        return held or 0.0


def planned_checks(
    site: Site, proxy: ProxyAddress, *, listen_s: float = LISTEN_S
) -> tuple[PlannedCheck, ...]:
    """Every check of `site` at the hops on its host; `listen_s` is a first message's time."""
    return _Planner(site, proxy, listen_s).all()


class _Planner:
    def __init__(self, site: Site, proxy: ProxyAddress, listen_s: float) -> None:
        self._site = site
        self._listen_s = listen_s
        self._proxy = proxy
        self._domain = concrete(site.domain)
        self._https = site.has_tls
        self._redirecting = Endpoint(host=proxy.host, port=proxy.http_port)
        self._serving = (
            Endpoint(host=proxy.host, port=proxy.https_port, tls=True)
            if self._https
            else self._redirecting
        )
        self._prerequisites: dict[str, int] = {}

    def all(self) -> tuple[PlannedCheck, ...]:
        planned = [*self._of_site(), *self._of_proxy()]
        first_websocket = next((route for route in self._site.routes if route.websocket), None)
        for route in self._site.routes:
            if route.websocket:
                self._prerequisites[route.path] = len(planned)
                planned += self._of_websocket(route, with_aliases=route is first_websocket)
            else:
                planned.append(self._page(route))
            if route.upstreams:
                planned.append(self._h2c(route))
        planned += self._forged()
        planned += (self._entry(check) for check in self._site.verify)
        return tuple(planned)

    # --- the site as a whole ----------------------------------------------------------------------

    def _of_site(self) -> Iterator[PlannedCheck]:
        if not self._https:
            return
        for name in self._site.names:
            asked = concrete(name)
            probe = TlsProbe(
                uri=f"https://{asked}",
                hop="proxy",
                endpoint=self._serving,
                server_name=asked,
                issuer=self._site.tls.issuer,
            )
            yield PlannedCheck(
                kind="certificate", name="certificate", target=name, hop="proxy", probe=probe
            )
        uri = f"http://{self._domain}{_REDIRECT_TARGET}"
        yield PlannedCheck(
            kind="redirect",
            name="redirect to https",
            target=f"http://{self._domain}/",
            hop="proxy",
            probe=HttpProbe(
                uri=uri,
                hop="proxy",
                endpoint=self._redirecting,
                target=_REDIRECT_TARGET,
                headers=(("Host", self._domain), _USER_AGENT, ("Connection", "close")),
            ),
        )

    def _of_proxy(self) -> Iterator[PlannedCheck]:
        """What the proxy does whatever the route: old versions of TLS, and its own version."""
        get = self._get("/", headers=self._ordinary())
        if self._https:
            probe = security.old_tls(get)
            yield PlannedCheck(
                kind="old-tls", name="old TLS refused", target="TLS 1.1", hop="proxy", probe=probe
            )
        if self._site.proxy == "haproxy":
            return  # it puts no name of its own into answers
        headers = (*get.headers, ("Connection", "close"))
        banner = replace(get, headers=headers, limit_s=security.PLAIN_S)
        if self._site.proxy == "apache" and self._https:
            # Apache lets a service's own Server pass; its redirect is nobody else's answer.
            banner = replace(
                banner, uri=f"http://{self._domain}/", endpoint=self._redirecting, server_name=None
            )
        yield PlannedCheck(
            kind="banner",
            name="no version told",
            target=self._site.proxy,
            hop="proxy",
            probe=banner,
        )

    # --- routes -----------------------------------------------------------------------------------

    def _of_websocket(self, route: Route, *, with_aliases: bool) -> Iterator[PlannedCheck]:
        own = self._own_origin(route, self._domain)
        main = replace(
            self._upgrade(route.path, name=self._domain, origin=own), listen_s=self._listen_s
        )
        yield self._through(route, main, kind="handshake", name="handshake", target=route.path)
        peer = self._peer(route, main)
        yield PlannedCheck(
            kind="service",
            name="handshake",
            target=f"{route.path} at {peer.endpoint}",
            hop="backend",
            probe=peer,
            plain=self._plain(route, main),
            route=route,
        )
        for alias in self._site.aliases if with_aliases else ():
            asked = concrete(alias)
            probe = self._upgrade(route.path, name=asked, origin=self._own_origin(route, asked))
            target = f"{asked}{route.path}"
            yield self._through(route, probe, kind="handshake", name="handshake", target=target)
        yield from self._of_origins(route)
        yield from self._of_strangers(route, main)

    def _of_strangers(self, route: Route, main: UpgradeProbe) -> Iterator[PlannedCheck]:
        """A WebSocket as nobody opens it here, and as browsers do where HTTP/2 lets them."""
        prerequisite = self._prerequisites[route.path]
        get = self._get(route.path, headers=self._ordinary())
        yield PlannedCheck(
            kind="plain-get",
            name="plain GET opens nothing",
            target=route.path,
            hop="proxy",
            probe=security.plain(get),
            peer=replace(self._plain(route, get), limit_s=security.PLAIN_S),
            prerequisite=prerequisite,
            route=route,
        )
        if self._https:
            foreign = None if is_open(route) else FOREIGN_ORIGIN
            yield PlannedCheck(
                kind="http2",
                name="WebSocket over HTTP/2",
                target=route.path,
                hop="proxy",
                probe=security.over_http2(main, foreign_origin=foreign),
                prerequisite=prerequisite,
                route=route,
            )

    def _of_origins(self, route: Route) -> Iterator[PlannedCheck]:
        prerequisite = self._prerequisites[route.path]
        listed = () if is_open(route) else route.origins or ()
        for origin in listed[1:_MOST_ORIGINS]:
            probe = self._upgrade(route.path, name=self._domain, origin=origin)
            check = self._through(
                route,
                probe,
                kind="listed-origin",
                name="listed origin",
                target=f"{route.path} from {origin}",
            )
            yield replace(check, prerequisite=prerequisite)
        if not is_open(route):
            probe = self._upgrade(route.path, name=self._domain, origin=FOREIGN_ORIGIN)
            check = self._through(
                route,
                probe,
                kind="foreign-origin",
                name="foreign origin refused",
                target=route.path,
            )
            yield replace(check, peer=None, plain=None, prerequisite=prerequisite)
        name = "missing origin refused" if route.require_origin else "no origin needed"
        probe = self._upgrade(route.path, name=self._domain, origin=None)
        check = self._through(route, probe, kind="no-origin", name=name, target=route.path)
        yield replace(check, prerequisite=prerequisite)

    def _h2c(self, route: Route) -> PlannedCheck:
        """RFC 7540's cleartext upgrade would open a tunnel past every rule of the proxy."""
        get = self._get(route.path, headers=self._ordinary())
        return PlannedCheck(
            kind="h2c",
            name="h2c refused",
            target=route.path,
            hop="proxy",
            probe=security.h2c(get),
            peer=security.h2c(self._straight(route, get)) if route.upstreams else None,
            prerequisite=self._prerequisites.get(route.path),
            route=route,
        )

    def _forged(self) -> Iterator[PlannedCheck]:
        """Where an answer repeats the request's headers, one can see whose word is passed on."""
        if self._site.echo is None:
            return
        get = self._get(self._site.echo, headers=self._ordinary())
        yield PlannedCheck(
            kind="forged",
            name="forged addresses dropped",
            target=self._site.echo,
            hop="proxy",
            probe=security.forged(get),
            route=serving_route(self._site, self._site.echo),
        )

    def _page(self, route: Route) -> PlannedCheck:
        host = self._authority(self._domain)
        headers = (("Host", host), _USER_AGENT, ("Connection", "close"))
        probe = self._get(route.path, headers=headers)
        return PlannedCheck(
            kind="page",
            name="page",
            target=route.path,
            hop="proxy",
            probe=probe,
            peer=self._plain(route, probe) if route.upstreams else None,
            route=route,
        )

    def _entry(self, check: Check) -> PlannedCheck:
        route = serving_route(self._site, check.path)
        own = self._own_origin(route, self._domain)
        probe = replace(
            self._upgrade(check.path, name=self._domain, origin=check.origin or own),
            subprotocols=check.subprotocols,
            send=check.send,
            expect=check.expect,
            expect_is_regex=check.expect_is_regex,
            hold_s=check.hold_s,
        )
        held = f" held for {check.hold_s:g} s" if check.hold_s else ""
        target = f"{without_secrets(check.path)}{held}"
        return self._through(route, probe, kind="entry", name="verify", target=target)

    # --- probes -----------------------------------------------------------------------------------

    def _own_origin(self, route: Route | None, name: str) -> str:
        """The origin of the site's own page, or the first one that the route allows."""
        if route is not None and route.origins and not is_open(route):
            return route.origins[0]
        return f"{'https' if self._https else 'http'}://{self._authority(name)}"

    def _ordinary(self) -> tuple[tuple[str, str], ...]:
        """The headers that every request has."""
        return (("Host", self._authority(self._domain)), _USER_AGENT)

    def _authority(self, name: str) -> str:
        return self._proxy.authority(name, https=self._https)

    def _get(self, target: str, *, headers: tuple[tuple[str, str], ...]) -> HttpProbe:
        return HttpProbe(
            uri=f"{'https' if self._https else 'http'}://{self._authority(self._domain)}{target}",
            hop="proxy",
            endpoint=self._serving,
            server_name=self._domain,
            target=target,
            headers=headers,
        )

    def _upgrade(self, target: str, *, name: str, origin: str | None) -> UpgradeProbe:
        origin_header = (("Origin", origin),) if origin is not None else ()
        host = self._authority(name)
        return UpgradeProbe(
            uri=f"{'wss' if self._https else 'ws'}://{host}{target}",
            hop="proxy",
            endpoint=self._serving,
            server_name=name,
            target=target,
            headers=(("Host", host), _USER_AGENT, *origin_header),
        )

    def _through(
        self, route: Route | None, probe: UpgradeProbe, *, kind: Kind, name: str, target: str
    ) -> PlannedCheck:
        has_service = route is not None and route.websocket and bool(route.upstreams)
        return PlannedCheck(
            kind=kind,
            name=name,
            target=target,
            hop="proxy",
            probe=probe,
            peer=self._peer(route, probe) if route is not None and has_service else None,
            plain=self._plain(route, probe) if route is not None and has_service else None,
            route=route,
        )

    def _peer(self, route: Route, probe: UpgradeProbe) -> UpgradeProbe:
        """The same probe, straight to the route's first upstream, as the proxy would send it."""
        target = path_at_service(route, probe.target)
        endpoint = _upstream_of(route)
        return replace(
            probe,
            uri=f"{'wss' if endpoint.tls else 'ws'}://{endpoint}{target}",
            hop="backend",
            endpoint=endpoint,
            target=target,
            headers=(*probe.headers, *self._forwarded(probe)),
        )

    def _plain(self, route: Route, probe: HttpProbe) -> HttpProbe:
        """A GET without any wish to upgrade, straight to the route's first upstream."""
        made = self._straight(route, probe)
        return replace(made, headers=(*made.headers, ("Connection", "close")))

    def _straight(self, route: Route, probe: HttpProbe) -> HttpProbe:
        """The same as an ordinary request of the route's first upstream."""
        target = path_at_service(route, probe.target)
        endpoint = _upstream_of(route)
        kept = tuple(field for field in probe.headers if field[0] not in ("Connection", "Upgrade"))
        return HttpProbe(
            uri=f"{'https' if endpoint.tls else 'http'}://{endpoint}{target}",
            hop="backend",
            endpoint=endpoint,
            server_name=probe.server_name,
            target=target,
            headers=(*kept, *self._forwarded(probe)),
        )

    def _forwarded(self, probe: HttpProbe) -> tuple[tuple[str, str], ...]:
        """What the proxy adds: an app that forces HTTPS would answer with a redirect without it."""
        host = dict(probe.headers)["Host"]
        return (
            ("X-Real-IP", "127.0.0.1"),
            ("X-Forwarded-For", "127.0.0.1"),
            ("X-Forwarded-Proto", "https" if self._https else "http"),
            ("X-Forwarded-Host", host),
            ("X-Forwarded-Port", "443" if self._https else "80"),
        )


def _upstream_of(route: Route) -> Endpoint:
    upstream = route.upstreams[0]
    return Endpoint(
        host=upstream.host, port=upstream.port, socket=upstream.socket, tls=upstream.tls
    )
