"""Look for a service's WebSocket: in its page, and by what is known about such services.

Few requests, one after the other, all of them directly to the service: its page, the scripts of the
page if it is not that of a known service, and at most three handshakes, each of which is closed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import islice

from deployer.errors import UsageError
from deployer.sites.model import Check, Route, Site
from deployer.verify.discovery.known import (
    MQTT,
    KnownService,
    by_page,
    endpoints,
    hubs,
    named_by,
    opened_by_page,
)
from deployer.verify.net.access import Access
from deployer.verify.net.address import Address, parse_address
from deployer.verify.net.stream import Deadline
from deployer.verify.options import ProxyAddress
from deployer.verify.page.fetch import Document, fetch_document
from deployer.verify.page.websockets import parse_page, scripts_to_read, websockets_of
from deployer.verify.planned.follow_ups import without_forwarded
from deployer.verify.planned.model import Found
from deployer.verify.planned.probes import SiteProbes
from deployer.verify.planned.routing import is_whole_site, serving_route, undescribed
from deployer.verify.probe.attempt import UNCONNECTED, Attempt
from deployer.verify.probe.handshake import attempt_upgrade
from deployer.verify.probe.spec import HttpProbe, UpgradeProbe

_MOST_HANDSHAKES = 3
_MOST_REDIRECTS = 3
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
#: A service may not answer ordinary requests, or hang on a handshake on the wrong path.
_STEP_S = 3.0
_PAUSE_S = 0.1
_OK, _BAD_REQUEST, _UPGRADE_REQUIRED = 200, 400, 426


def find_websockets(
    site: Site, proxy: ProxyAddress, access: Access, *, patience_s: float = 0.0
) -> dict[str, Found]:
    """Look for the WebSocket of each whole site in `site`, by the path of its route.

    Also look on routes named after a known service, such as ``/socket.io``: its WebSocket may need
    a query or a subprotocol. A service that does not listen yet is asked again for `patience_s`.

    Raises: `DeployerError` if the connection to the host is lost.
    """
    found = {}
    patience = Deadline(patience_s, within=access.until)
    for route in undescribed(site):
        if is_whole_site(route):
            services: tuple[KnownService, ...] = ()
        elif not (services := _named_by(site, route)):
            continue
        search = _Search(site, route, *_directly(site, route, proxy), access)
        look = partial(search.named, services) if services else search.websocket
        websocket = look()
        while search.is_unreachable and not patience.has_passed():
            access.until.pause(_PAUSE_S)
            websocket = look()
        if websocket is not None:
            found[route.path] = websocket
    return found


def _named_by(site: Site, route: Route) -> tuple[KnownService, ...]:
    """The services that `route` is named after; one with a login is known to refuse a check."""
    if route.login or route.strip_prefix:
        return ()
    return tuple(each for each in named_by(route.path) if serving_route(site, each.path) == route)


def identify(
    site: Site, route: Route, peer: UpgradeProbe, plain: HttpProbe, access: Access
) -> KnownService | None:
    """Return the service that a route leads to, or a WebSocket that its page opens; no handshake.

    `peer` and `plain` are a handshake and a request directly to the service.
    """
    whole = replace(route, path="/")
    return next(_Search(site, whole, peer, plain, access).known(), None)


def _directly(site: Site, route: Route, proxy: ProxyAddress) -> tuple[UpgradeProbe, HttpProbe]:
    probes = SiteProbes(site, proxy)
    main = probes.configured(
        Check(path=route.path),
        name=probes.domain,
        origin=probes.own_origin(route, probes.domain),
        with_messages=False,
    )
    return probes.peer(route, main), probes.plain_to_service(route, main)


class _Search:
    """`peer` and `plain` are a handshake and a request directly to the service."""

    def __init__(
        self, site: Site, route: Route, peer: UpgradeProbe, plain: HttpProbe, access: Access
    ) -> None:
        self._site, self._route = site, route
        self._access = replace(access, timeout_s=min(_STEP_S, access.timeout_s))
        self._peer, self._plain = peer, plain
        self._answers_upgrades_only = self._has_page = False
        self.is_unreachable = False

    def websocket(self) -> Found | None:
        """The WebSocket; `None` if the service answers nothing, or its own path opens one."""
        refusing: Found | None = None
        for service in islice(self.known(), _MOST_HANDSHAKES):
            attempt = self._attempt(service)
            found = _found(service)
            if attempt.status_code == 101:
                return found
            if attempt.status_code is not None and refusing is None:
                refusing = replace(found, opens=False)
        own = Check(path=self._route.path)
        if self.is_unreachable:
            return None
        if self._answers_upgrades_only:
            return Found(check=own, opens=False)
        attempt = attempt_upgrade(self._peer, self._access)
        if attempt.status_code == 101:
            return None
        if refusing is None and not self._has_page and self._attempt(MQTT).status_code == 101:
            return _found(MQTT)
        # Without an answer, the refusal of a known path says more.
        if refusing is not None or attempt.status_code is None:
            return refusing
        if attempt.status_code == _BAD_REQUEST and self._distrusts_the_proxy():
            return None
        return Found(check=own, opens=False, has_page=self._has_page)

    def named(self, services: tuple[KnownService, ...]) -> Found | None:
        """The WebSocket of one of `services`, unless the route's own path opens one.

        One on the same path that needs a query is tried first: without it, Socket.IO keeps a
        handshake waiting.
        """
        own = self._route.path.rstrip("/")
        same = [each for each in services if each.path.partition("?")[0].rstrip("/") == own]
        for service in (each for each in same if "?" in each.path):
            if (found := self._opened(service)) or self.is_unreachable:
                return found
        if self._reached(attempt_upgrade(self._peer, self._access)).status_code == 101:
            return None
        rest = [each for each in services if not (each in same and "?" in each.path)]
        asked = () if self.is_unreachable else rest[:_MOST_HANDSHAKES]
        return next(filter(None, map(self._opened, asked)), None)

    def _opened(self, service: KnownService) -> Found | None:
        if self._reached(self._attempt(service)).status_code != 101:
            return None
        return _found(service)

    def _reached(self, attempt: Attempt) -> Attempt:
        failure = attempt.failure
        self.is_unreachable = failure is not None and failure.code in UNCONNECTED
        return attempt

    def known(self) -> Iterator[KnownService]:
        """What the page shows: the known service, or else the WebSockets that it opens."""
        document, at = self._page()
        status = document.attempt.status_code
        server = next(
            (value for name, value in document.attempt.answer.headers if name.lower() == "server"),
            "",
        )
        # websockify opens on every path, and each connection counts at a VNC server.
        is_websockify = server.lower().startswith("websockify")
        self._answers_upgrades_only = status == _UPGRADE_REQUIRED or is_websockify
        self._has_page = status == _OK
        self._reached(document.attempt)
        if self._answers_upgrades_only or self.is_unreachable:
            return
        service = by_page(_head_and_page(document))
        if service is not None:
            yield service
            return
        yield from self._opened_by(document, at)
        for service in endpoints():
            asked = fetch_document(self._get(service.mark_path), self._access)
            if asked.attempt.status_code is not None and service.mark.search(asked.text):
                yield service

    def _distrusts_the_proxy(self) -> bool:
        """Whether requests of clients that are no proxies get a different answer."""
        page = fetch_document(without_forwarded(self._get(self._route.path)), self._access)
        return page.attempt.status_code not in (None, _BAD_REQUEST)

    # --- the page ---------------------------------------------------------------------------------

    def _page(self) -> tuple[Document, Address]:
        """Fetch the page, and follow redirects within the service."""
        target = self._route.path
        for _ in range(_MOST_REDIRECTS):
            document = fetch_document(self._get(target), self._access)
            at = self._address(target)
            if document.attempt.status_code not in _REDIRECTS:
                break
            headers = {name.lower(): value for name, value in document.attempt.answer.headers}
            there = at.redirect_target(headers.get("location", ""))
            if there is None or not self._is_own(there):
                break
            target = there.target
        return document, at

    def _opened_by(self, document: Document, at: Address) -> Iterator[KnownService]:
        if document.attempt.status_code != 200:
            return
        page = parse_page(document.text)
        scripts = [
            fetch_document(self._get(each.target), self._access).text
            for each in scripts_to_read(page, at)
        ]
        yield from hubs("\n".join((*page.scripts, *scripts)))
        for opened in websockets_of(page, at, more=tuple(scripts)):
            if self._is_own(opened.address):
                yield opened_by_page(opened.address.target, opened.subprotocols)

    def _is_own(self, address: Address) -> bool:
        """Whether the route serves the address."""
        here = self._address(self._route.path)
        if address.name != here.name or address.port not in (here.port, 80, 443):
            return False
        served = serving_route(self._site, address.target)
        return served is None or [*map(str, served.upstreams)] == [*map(str, self._route.upstreams)]

    def _address(self, target: str) -> Address:
        headers = dict(self._plain.headers)
        scheme, host = headers.get("X-Forwarded-Proto", "http"), headers["Host"]
        try:
            return parse_address(f"{scheme}://{host}{target}")
        except UsageError:
            return parse_address(f"{scheme}://{host}/")

    def _get(self, target: str) -> HttpProbe:
        accept = (("Accept", "text/html,*/*"),)
        probe = self._plain
        return replace(probe, target=target, headers=(*probe.headers, *accept))

    def _attempt(self, service: KnownService) -> Attempt:
        probe: UpgradeProbe = replace(
            self._peer, target=service.path, subprotocols=service.subprotocols
        )
        return attempt_upgrade(probe, self._access)


def _found(service: KnownService) -> Found:
    check = Check(path=service.path, subprotocols=service.subprotocols)
    return Found(check=check, opens=True, service=service.name, needs=service.needs)


def _head_and_page(document: Document) -> str:
    head = "\n".join(f"{name}: {value}" for name, value in document.attempt.answer.headers)
    return f"{head}\n\n{document.text[:200_000]}"
