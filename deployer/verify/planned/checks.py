"""Plan the checks of a site, in the order in which their results are reported. Pure.

The certificate of each name and the redirect come first, then each route with all of its checks,
then the entries under `verify:`. A check through the proxy has a `peer`, the same probe directly to
the service: if the check fails, the peer shows which hop is at fault.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from deployer.proxies import PROXIES
from deployer.sites.model import Check, Route, Site, Upstream
from deployer.sites.paths import example_of
from deployer.verify.net.redact import without_secrets
from deployer.verify.options import LISTEN_S, ProxyAddress
from deployer.verify.planned import clients, security
from deployer.verify.planned.model import FOREIGN_ORIGIN, Found, Kind, PlannedCheck
from deployer.verify.planned.probes import USER_AGENT, SiteProbes, at_upstream
from deployer.verify.planned.routing import (
    concrete,
    entry_of,
    is_open,
    made_up,
    probe_of,
    serving_route,
)
from deployer.verify.probe.spec import HttpProbe, NoProbe, PlannedProbe, TlsProbe, UpgradeProbe

_MOST_ORIGINS = 5
_REDIRECT_TARGET = "/deployer/verify?redirect=kept"


def planned_checks(
    site: Site,
    proxy: ProxyAddress,
    *,
    listen_s: float = LISTEN_S,
    found: Mapping[str, Found] | None = None,
) -> tuple[PlannedCheck, ...]:
    """Plan every check of `site` at the hops on its host.

    `listen_s` is how long to wait for a first message that is not required. `found` are the
    WebSockets of whole sites (`discovery/`), by the path of their route.
    """
    return _Planner(site, proxy, listen_s, found or {}).all()


def directly(check: PlannedCheck, upstream: Upstream) -> PlannedCheck:
    """`check`, which has a peer, at the service of `upstream` instead of through the proxy."""
    assert isinstance(check.peer, HttpProbe)  # noqa: S101 - only called with such checks
    probe = at_upstream(check.peer, upstream)
    plain = None if check.plain is None else at_upstream(check.plain, upstream)
    target = f"{check.target} at {probe.endpoint}"
    return replace(
        check,
        hop="backend",
        probe=probe,
        peer=probe,
        plain=plain,
        target=target,
        prerequisite=None,
    )


def _drained(route: Route, target: str, probe: PlannedProbe) -> PlannedCheck:
    """No check of an upstream that gets no new connections: it may be under maintenance."""
    why = NoProbe(uri=probe.uri, hop="backend", endpoint=probe.endpoint, why="it is drained")
    name = "handshake" if route.websocket else "page"
    return PlannedCheck(
        kind="unprobed", name=name, target=target, hop="backend", probe=why, route=route
    )


class _Planner:
    def __init__(
        self, site: Site, proxy: ProxyAddress, listen_s: float, found: Mapping[str, Found]
    ) -> None:
        self._site = site
        self._found = {
            **{each.path: Found(check=probe_of(site, each), opens=False) for each in made_up(site)},
            **found,
        }
        self._listen_s = listen_s
        self._probes = SiteProbes(site, proxy)
        self._prerequisites: dict[str, int] = {}

    def all(self) -> tuple[PlannedCheck, ...]:
        planned = [*self._site_checks(), *self._proxy_checks()]
        probed = [route for route in self._site.routes if route.websocket and route.is_probed]
        for route in self._site.routes:
            if route in probed:
                self._prerequisites[route.path] = len(planned)
                planned += self._websocket_checks(route, with_aliases=route is probed[0])
            elif route.websocket:
                planned += self._unprobed(route)
            else:
                planned += self._pages(route)
            if route.health is not None and route.health.path:
                planned += self._health(route, route.health.path)
            if route.upstreams and route.is_probed:
                planned.append(self._h2c(route))
        planned += self._forged()
        replacing = [entry_of(self._site, route) for route in self._site.routes if route.websocket]
        planned += (
            self._entry(check)
            for check in self._site.verify
            if check.hold_s or not any(check is each for each in replacing)
        )
        return tuple(planned)

    # --- the site as a whole ----------------------------------------------------------------------

    def _site_checks(self) -> Iterator[PlannedCheck]:
        if not self._probes.https:
            return
        for name in self._site.names:
            asked = concrete(name)
            probe = TlsProbe(
                uri=f"https://{asked}",
                hop="proxy",
                endpoint=self._probes.serving,
                server_name=asked,
                issuer=self._site.tls.issuer,
            )
            yield PlannedCheck(
                kind="certificate", name="certificate", target=name, hop="proxy", probe=probe
            )
        if not self._probes.redirects_http:
            return
        uri = f"http://{self._probes.domain}{_REDIRECT_TARGET}"
        yield PlannedCheck(
            kind="redirect",
            name="redirect to https",
            target=f"http://{self._probes.domain}/",
            hop="proxy",
            probe=HttpProbe(
                uri=uri,
                hop="proxy",
                endpoint=self._probes.redirecting,
                target=_REDIRECT_TARGET,
                headers=(("Host", self._probes.domain), USER_AGENT, ("Connection", "close")),
            ),
        )

        if self._site.tls.clients is not None and self._site.tls.clients.verify == "required":
            yield clients.required(self._probes.get("/", headers=self._probes.common_headers()))

    def _proxy_checks(self) -> Iterator[PlannedCheck]:
        """Check the proxy regardless of routes: old TLS versions, and its version banner."""
        get = self._probes.get("/", headers=self._probes.common_headers())
        if self._probes.https:
            probe = security.old_tls(get)
            yield PlannedCheck(
                kind="old-tls", name="old TLS refused", target="TLS 1.1", hop="proxy", probe=probe
            )
        if not PROXIES[self._site.proxy].traits.sends_server_header:
            return  # it does not name itself in responses
        headers = (*get.headers, ("Connection", "close"))
        banner = replace(get, headers=headers, limit_s=security.PLAIN_S)
        if PROXIES[self._site.proxy].traits.keeps_server_header and self._probes.redirects_http:
            # A Server header may be the service's; that of a redirect is always the proxy's.
            banner = replace(
                banner,
                uri=f"http://{self._probes.domain}/",
                endpoint=self._probes.redirecting,
                server_name=None,
            )
        yield PlannedCheck(
            kind="banner",
            name="no version disclosed",
            target=self._site.proxy,
            hop="proxy",
            probe=banner,
        )

    # --- routes -----------------------------------------------------------------------------------

    def _websocket_checks(self, route: Route, *, with_aliases: bool) -> Iterator[PlannedCheck]:
        found = self._found.get(route.path)
        setting = found.check if found else probe_of(self._site, route)
        main = replace(
            self._probes.configured(
                setting,
                name=self._probes.domain,
                origin=setting.origin or self._probes.own_origin(route, self._probes.domain),
            ),
            listen_s=self._listen_s,
        )
        target = without_secrets(setting.path)
        check = self._through(route, main, kind="handshake", name="handshake", target=target)
        yield replace(check, represents_route=True)
        peer, plain = self._probes.peer(route, main), self._probes.plain_to_service(route, main)
        for upstream in dict.fromkeys(route.upstreams):
            probe = at_upstream(peer, upstream)
            if upstream.drained:
                yield _drained(route, f"{target} at {probe.endpoint}", probe)
                continue
            yield PlannedCheck(
                kind="service",
                name="handshake",
                target=f"{target} at {probe.endpoint}",
                hop="backend",
                probe=probe,
                plain=at_upstream(plain, upstream),
                route=route,
                found=found,
            )
        for alias in self._site.served_names[1:] if with_aliases else ():
            asked = concrete(alias)
            probe = self._probes.configured(
                setting,
                name=asked,
                origin=setting.origin or self._probes.own_origin(route, asked),
                with_messages=False,
            )
            alias_target = f"{asked}{target}"
            yield self._through(
                route, probe, kind="handshake", name="handshake", target=alias_target
            )
        if route.auth is not None and setting.headers:
            yield self._without_session(route, setting)
        yield from self._origin_checks(route, setting)
        yield from self._protocol_checks(route, main)

    def _without_session(self, route: Route, setting: Check) -> PlannedCheck:
        """Check that a handshake without the probe's headers is refused: the proxy asks."""
        bare = replace(setting, headers=(), statuses=(101,))
        own = self._probes.own_origin(route, self._probes.domain)
        probe = self._from(bare, setting.origin or own)
        check = self._through(
            route, probe, kind="no-session", name="login required", target=route.path
        )
        return replace(check, prerequisite=self._prerequisites[route.path], peer=None, plain=None)

    def _unprobed(self, route: Route) -> Iterator[PlannedCheck]:
        """Check only what the proxy answers itself: the service must be left alone."""
        yield PlannedCheck(
            kind="unprobed",
            name="handshake",
            target=route.path,
            hop="proxy",
            probe=NoProbe(
                uri=self._probes.upgrade(route.path, name=self._probes.domain, origin=None).uri,
                hop="proxy",
                endpoint=self._probes.serving,
                why="probe: false",
            ),
            route=route,
        )
        if not is_open(route):
            yield self._foreign_origin(route, Check(path=example_of(route.path)))

    def _protocol_checks(self, route: Route, main: UpgradeProbe) -> Iterator[PlannedCheck]:
        """Check a request without an upgrade, and a WebSocket over HTTP/2."""
        prerequisite = self._prerequisites[route.path]
        headers = tuple(field for field in main.headers if field[0] != "Origin")
        get = replace(self._probes.get(main.target, headers=headers), hidden=main.hidden)
        yield PlannedCheck(
            kind="plain-get",
            name="plain GET not upgraded",
            target=route.path,
            hop="proxy",
            probe=security.plain(get),
            peer=replace(self._probes.plain_to_service(route, get), limit_s=security.PLAIN_S),
            prerequisite=prerequisite,
            route=route,
        )
        if self._probes.https:
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

    def _origin_checks(self, route: Route, setting: Check) -> Iterator[PlannedCheck]:
        prerequisite = self._prerequisites[route.path]
        listed = () if is_open(route) else route.origins or ()
        for origin in listed[1:_MOST_ORIGINS]:
            check = self._through(
                route,
                self._from(setting, origin),
                kind="listed-origin",
                name="listed origin",
                target=f"{route.path} from {origin}",
            )
            yield replace(check, prerequisite=prerequisite)
        if not is_open(route):
            yield replace(self._foreign_origin(route, setting), prerequisite=prerequisite)
        name = "missing origin refused" if route.require_origin else "no origin needed"
        probe = self._from(setting, None)
        check = self._through(route, probe, kind="no-origin", name=name, target=route.path)
        yield replace(check, prerequisite=prerequisite)

    def _from(self, setting: Check, origin: str | None) -> UpgradeProbe:
        """Return the handshake of a page with that origin."""
        return self._probes.configured(
            setting, name=self._probes.domain, origin=origin, with_messages=False
        )

    def _foreign_origin(self, route: Route, setting: Check) -> PlannedCheck:
        check = self._through(
            route,
            self._from(setting, FOREIGN_ORIGIN),
            kind="foreign-origin",
            name="foreign origin refused",
            target=route.path,
        )
        return replace(check, peer=None, plain=None)

    def _h2c(self, route: Route) -> PlannedCheck:
        """Check that h2c is refused: it opens a tunnel that bypasses every rule of the proxy."""
        get = self._probes.get(example_of(route.path), headers=self._probes.common_headers())
        return PlannedCheck(
            kind="h2c",
            name="h2c refused",
            target=route.path,
            hop="proxy",
            probe=security.h2c(get),
            peer=security.h2c(self._probes.to_service(route, get)) if route.upstreams else None,
            prerequisite=self._prerequisites.get(route.path),
            route=route,
        )

    def _forged(self) -> Iterator[PlannedCheck]:
        """Check on an echo path that forged client addresses do not reach the service."""
        trusted = self._site.trusted_proxies
        if self._site.echo is None:
            return
        if trusted and not self._site.proxy_protocol:
            from deployer.sites.client_ranges import includes_loopback

            if includes_loopback(trusted):
                return  # the site believes what these checks say
        get = self._probes.get(self._site.echo, headers=self._probes.common_headers())
        yield PlannedCheck(
            kind="forged",
            name="forged addresses dropped",
            target=self._site.echo,
            hop="proxy",
            probe=security.forged(get),
            route=serving_route(self._site, self._site.echo),
        )

    def _pages(self, route: Route) -> Iterator[PlannedCheck]:
        """Check the page through the proxy, and at each of several services: it chose one."""
        page = self._page(route)
        yield page
        if len(route.upstreams) > 1:
            for upstream in dict.fromkeys(route.upstreams):
                made = directly(page, upstream)
                yield made if not upstream.drained else _drained(route, made.target, made.probe)

    def _health(self, route: Route, path: str) -> Iterator[PlannedCheck]:
        """Check what the proxy will request to find out whether each service works."""
        headers = (*self._probes.common_headers(), ("Connection", "close"))
        asked = self._probes.get(path, headers=headers)
        for upstream in dict.fromkeys(route.in_rotation):
            probe = at_upstream(replace(asked, hop="backend"), upstream)
            target = f"{path} at {probe.endpoint}"
            yield PlannedCheck(
                kind="health", name="health", target=target, hop="backend", probe=probe, route=route
            )

    def _page(self, route: Route) -> PlannedCheck:
        headers = (*self._probes.common_headers(), ("Connection", "close"))
        probe = self._probes.get(example_of(route.path), headers=headers)
        return PlannedCheck(
            kind="page",
            name="page",
            target=route.path,
            hop="proxy",
            probe=probe,
            peer=self._probes.plain_to_service(route, probe) if route.upstreams else None,
            route=route,
        )

    def _entry(self, check: Check) -> PlannedCheck:
        route = serving_route(self._site, check.path)
        own = self._probes.own_origin(route, self._probes.domain)
        probe = replace(
            self._probes.configured(check, name=self._probes.domain, origin=check.origin or own),
            hold_s=check.hold_s,
        )
        held = f" held for {check.hold_s:g} s" if check.hold_s else ""
        target = f"{without_secrets(check.path)}{held}"
        return self._through(route, probe, kind="entry", name="verify", target=target)

    def _through(
        self, route: Route | None, probe: UpgradeProbe, *, kind: Kind, name: str, target: str
    ) -> PlannedCheck:
        found = self._found.get(route.path) if route is not None and kind != "entry" else None
        has_service = route is not None and route.websocket and bool(route.upstreams)
        return PlannedCheck(
            kind=kind,
            name=name,
            target=target,
            hop="proxy",
            probe=probe,
            peer=self._probes.peer(route, probe) if route is not None and has_service else None,
            plain=self._probes.plain_to_service(route, probe)
            if route is not None and has_service
            else None,
            route=route,
            found=found,
        )
