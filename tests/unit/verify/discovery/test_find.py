"""Whole sites at `/`: the service's WebSocket is found, or its refusal is left as it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Never

import pytest

from deployer.commit.canaries import _opened_on_routes
from deployer.model import CheckResult, Finding
from deployer.sites.model import Check, Site
from deployer.verify.discovery.find import find_websockets
from deployer.verify.discovery.known import by_page
from deployer.verify.net.access import Access
from deployer.verify.net.stream import Deadline
from deployer.verify.options import ProxyAddress
from deployer.verify.preflight import preflight_site
from deployer.verify.probe.held_connections import HeldConnections
from tests.support.servers.scripted import Front, Peer, Server, dial
from tests.support.verified_sites import PLAIN, a_site, findings, named, verified
from tests.support.waiting import stretched


class App:
    """A service with a page, and a WebSocket on one path only."""

    def __init__(
        self,
        page: str,
        websocket: str,
        *,
        elsewhere: Callable[[Peer], None] | str = "404 Not Found",
        files: dict[str, str] | None = None,
        redirect: str = "",
        closes: bytes = b"",
    ) -> None:
        self.files = {"/": page, **(files or {})}
        self.websocket, self.elsewhere = websocket, elsewhere
        self.redirect, self.closes = redirect, closes
        self.handshakes: list[str] = []
        self.subprotocols: set[str | None] = set()

    def __call__(self, peer: Peer) -> None:
        if not (peer.header("Upgrade") and peer.header("Sec-WebSocket-Key")):
            self._page(peer)
            return
        self.handshakes.append(peer.target)
        self.subprotocols.add(peer.header("Sec-WebSocket-Protocol"))
        if peer.target == self.websocket:
            self._opened(peer)
        elif isinstance(self.elsewhere, str):
            peer.answer(self.elsewhere, body="no WebSocket here")
        else:
            self.elsewhere(peer)

    def _page(self, peer: Peer) -> None:
        if peer.target == "/" and self.redirect:
            peer.answer("302 Found", f"Location: {self.redirect}")
            return
        text = self.files.get(peer.target)
        status = "404 Not Found" if text is None else "200 OK"
        peer.answer(status, "Content-Type: text/html", body=text or "no such page")

    def _opened(self, peer: Peer) -> None:
        offered = (peer.header("Sec-WebSocket-Protocol") or "").partition(",")[0]
        peer.upgrade(*([f"Sec-WebSocket-Protocol: {offered}"] if offered else []))
        peer.send(self.closes or b"\x88\x02\x03\xe8")
        peer.until_it_leaves()


def a_whole_site(port: int, **settings: Any) -> Site:
    site = a_site(port=port, issuer="none", **settings)
    return replace(site, routes=(replace(site.routes[0], path="/"),))


def checked(
    app: Callable[[Peer], None], *, settings: dict[str, Any] | None = None, **front: Any
) -> tuple[CheckResult, ...]:
    with (
        Server(app) as service,
        Server(Front(backend_port=service.port, origins=(PLAIN,), **front)) as proxy,
    ):
        site = a_whole_site(service.port, **(settings or {}))
        return verified(site, https_port=1, http_port=proxy.port)


def hangs(peer: Peer) -> None:
    """Like Node-RED on a path that is not its own."""
    peer.until_it_leaves()


def drops(peer: Peer) -> None:
    """Like Socket.IO, after a second."""
    peer.connection.close()


STREAMLIT = App("<title>Streamlit</title>", "/_stcore/stream", elsewhere="403 Forbidden")
NODE_RED = App("<title>Node-RED</title>", "/comms", elsewhere=hangs)
SOCKET_IO = App(
    "hello",
    "/socket.io/?EIO=4&transport=websocket",
    files={"/socket.io/": '{"code":0,"message":"Transport unknown"}'},
    elsewhere=drops,
)
RAILS = App('<meta name="csrf-param" content="authenticity_token" />', "/cable")
SCRIPT = App(
    '<script src="/app.js"></script>',
    "/live/chat",
    files={"/app.js": "new WebSocket(`wss://${location.host}/live/chat`)"},
)
HUB = App("<script>new signalR.HubConnectionBuilder().withUrl('/chathub')</script>", "/chathub")
BROKER = App("", "/mqtt", elsewhere="400 Bad Request", redirect="")
BROKER.files.clear()
MOVED = App(
    "",
    "/socket",
    redirect="/lab/",
    files={"/lab/": "<script>new WebSocket('ws://'+location.host+'/socket')</script>"},
)


@pytest.mark.parametrize(
    ("app", "words"),
    [
        (STREAMLIT, ", Streamlit"),
        (NODE_RED, ", Node-RED"),
        (SOCKET_IO, ", Socket.IO"),
        (RAILS, ", Action Cable"),
        (SCRIPT, ", which the page opens"),
        (HUB, ", SignalR"),
        (MOVED, ", which the page opens"),
        (BROKER, ", an MQTT broker"),
    ],
)
def test_the_services_websocket_is_found_and_opened_through_the_proxy(app: App, words: str) -> None:
    results = checked(app)
    assert [(each.name, each.detail) for each in results if not each.ok] == []
    assert findings(results) == []
    for hop in ("proxy", "backend"):
        shaken = named(results, "handshake", hop=hop)
        assert shaken.target.partition(" at ")[0] == app.websocket
        assert shaken.detail.startswith("101")
        assert shaken.detail.endswith(words)
    assert set(app.handshakes) <= {"/", app.websocket}
    assert len(app.handshakes) <= 5, "few: to find it, at both hops, without an Origin"
    app.handshakes.clear()


@pytest.mark.parametrize("app", [STREAMLIT, SCRIPT], ids=["known", "from its page"])
def test_a_proxy_that_loses_the_upgrade_to_it_is_found(app: App) -> None:
    results = checked(app, drops_upgrade=True)
    shaken = named(results, "handshake")
    assert not shaken.ok
    assert shaken.finding is not None
    assert (shaken.finding.code, shaken.finding.hop) == ("upgrade-not-forwarded", "proxy")


def test_subprotocols_of_a_known_service_are_offered() -> None:
    RAILS.subprotocols.clear()
    checked(RAILS)
    assert RAILS.subprotocols == {"actioncable-v1-json, actioncable-unsupported"}


def test_cockpit_closes_without_a_session() -> None:
    page = '<link href="cockpit/static/login.css">'
    closes = b"\x88\x0c\x03\xe9no-session"
    results = checked(App(page, "/cockpit/socket", closes=closes))
    assert [each for each in results if not each.ok] == []
    assert named(results, "handshake").detail == "101, then closed by the service with code 1001"
    (note,) = findings(results)
    assert (note.code, note.severity) == ("websocket-not-opened", "note")
    assert "Cockpit" in note.cause


# --- nothing opens --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "status",
    ["403 Forbidden", "404 Not Found", "426 Upgrade Required", "501 Not Implemented", "200 OK"],
)
def test_a_refusal_that_is_the_same_at_both_hops_passes_with_a_note(status: str) -> None:
    results = checked(App("a page", "/nowhere", elsewhere=status))
    assert [(each.name, each.detail) for each in results if not each.ok] == []
    (note,) = findings(results)
    assert (note.code, note.severity, note.hop) == ("websocket-not-opened", "note", "proxy")
    assert "probe: {path: /PATH}" in note.fix
    assert f"answered {status[:3]}, like the service itself" in named(results, "handshake").detail


def test_a_route_that_announces_a_login_needs_no_note() -> None:
    app = App("<title>n8n.io", "/nowhere", elsewhere="401 Unauthorized")
    results = checked(app, settings={"login": True})
    assert [each for each in results if not each.ok] == []
    assert findings(results) == []


def test_a_service_that_requires_another_upgrade_passes_with_a_note() -> None:
    def wants_another(peer: Peer) -> None:
        peer.answer("426 Upgrade Required", "Upgrade: other", body="not this one")

    results = checked(wants_another)
    assert [each for each in results if not each.ok] == []
    (note,) = findings(results)
    assert "get the same answer" in note.cause


def test_a_service_whose_page_works_fails_where_it_has_no_websocket() -> None:
    """Like Django Channels: its router raises an exception for an unknown path."""
    results = checked(App("a page", "/nowhere", elsewhere="500 Internal Server Error"))
    assert [(each.name, each.detail) for each in results if not each.ok] == []
    (note,) = findings(results)
    assert (note.code, note.severity) == ("websocket-not-opened", "note")


@pytest.mark.parametrize(
    ("page", "status"),
    [("", "500 Internal Server Error"), ("a page", "503 Service Unavailable")],
)
def test_a_service_that_fails_has_not_refused(page: str, status: str) -> None:
    app = App(page, "/nowhere", elsewhere=status)
    if not page:
        app.files.clear()
    results = checked(app)
    assert not named(results, "handshake").ok
    assert not named(results, "handshake", hop="backend").ok


@pytest.mark.parametrize(
    ("front", "code"),
    [
        ({"answers": "403 Forbidden"}, "wrong-route"),
        ({"answers": "404 Not Found"}, "wrong-route"),
        ({"answers": "502 Bad Gateway"}, "bad-gateway"),
        ({"answers": "301 Moved Permanently", "location": "https://x.example/"}, "redirected"),
        ({"drops_upgrade": True}, "upgrade-not-forwarded"),
        ({"prefix": "/app"}, "wrong-route"),
    ],
)
def test_a_refusal_that_differs_between_the_hops_fails(front: dict[str, Any], code: str) -> None:
    def refuses(peer: Peer) -> None:
        if peer.target.startswith("/app"):
            peer.answer("404 Not Found", body="no such path")
        elif peer.header("Upgrade"):
            peer.answer("403 Forbidden", body="log in first")
        else:
            peer.answer("200 OK", body="a page")

    results = checked(refuses, **front)
    shaken = named(results, "handshake")
    assert not shaken.ok
    assert shaken.finding is not None
    assert (shaken.finding.code, shaken.finding.hop) == (code, "proxy")
    assert named(results, "handshake", hop="backend").ok


def test_a_service_that_is_down_fails() -> None:
    with Server(Front(backend_port=1, origins=(PLAIN,))) as proxy:
        results = verified(a_whole_site(1), https_port=1, http_port=proxy.port)
    assert [finding.code for finding in findings(results)] == ["service-down"]


# --- routes that say it ---------------------------------------------------------------------------


def test_an_entry_on_any_path_says_where_the_websocket_is() -> None:
    app = App("<title>Streamlit</title>", "/elsewhere/ws")
    results = checked(app, settings={"verify": [Check(path="/elsewhere/ws")]})
    assert [each for each in results if not each.ok] == []
    assert set(app.handshakes) == {"/elsewhere/ws"}


def test_a_route_with_a_path_of_its_own_must_open() -> None:
    app = App("<title>Streamlit</title>", "/_stcore/stream")
    with (
        Server(app) as service,
        Server(Front(backend_port=service.port, origins=(PLAIN,))) as proxy,
    ):
        site = a_site(port=service.port, issuer="none")
        results = verified(site, https_port=1, http_port=proxy.port)
    assert not named(results, "handshake").ok


def test_preflight_and_canaries_use_what_was_found() -> None:
    app = App("<title>Node-RED</title>", "/comms", elsewhere=hangs)
    with Server(app) as service:
        site = a_whole_site(service.port)
        results = preflight_site(site, dial=dial, is_asked=lambda _: True)
        assert {each.target.partition(" at ")[0] for each in results} >= {"/comms"}
        flock = HeldConnections(dial)
        try:
            list(_opened_on_routes(flock, [site], 1, dial))
        finally:
            flock.close()
    assert set(app.handshakes) == {"/comms"}


def test_soketi_is_recognised_and_other_services_with_its_library_are_not() -> None:
    soketi = by_page("uWebSockets: 20\nContent-Length: 2\n\nOK")
    assert soketi is not None
    assert soketi.name == "Soketi"
    assert by_page("uWebSockets: 20\nContent-Length: 13\n\n<html>OK</html>") is None


# --- routes named after a service -----------------------------------------------------------------


class WithSubprotocol(App):
    """Like Prosody: refuses handshakes without its subprotocol."""

    def __call__(self, peer: Peer) -> None:
        if "xmpp" in (peer.header("Sec-WebSocket-Protocol") or ""):
            super().__call__(peer)
        else:
            peer.answer("501 Not Implemented", body="point your WebSocket client to this URL")


SOKETI = App("OK", "/app/deployer?protocol=7", closes=b"\x88\x02\x0f\xa1")
BELOW = App("", "/chat/socket.io/?EIO=4&transport=websocket", elsewhere=drops)
XMPP = WithSubprotocol("", "/xmpp-websocket")
OPEN = App("", "/api")


@pytest.mark.parametrize(
    ("path", "app", "words"),
    [
        ("/socket.io", SOCKET_IO, ", Socket.IO"),
        ("/socket.io/", SOCKET_IO, ", Socket.IO"),
        ("/chat/socket.io", BELOW, ", Socket.IO"),
        ("/_stcore", STREAMLIT, ", Streamlit"),
        ("/app", SOKETI, ", Soketi"),
        ("/xmpp-websocket", XMPP, ", Prosody"),
        ("/api", OPEN, ""),
    ],
)
def test_a_route_named_after_a_service_is_checked_as_its_clients_connect(
    path: str, app: App, words: str
) -> None:
    app.handshakes.clear()
    with (
        Server(app) as service,
        Server(Front(backend_port=service.port, origins=(PLAIN,))) as proxy,
    ):
        site = a_site(port=service.port, issuer="none")
        site = replace(site, routes=(replace(site.routes[0], path=path),))
        results = verified(site, https_port=1, http_port=proxy.port)
    assert [(each.name, each.detail) for each in results if not each.ok] == []
    shaken = named(results, "handshake")
    assert shaken.target == app.websocket
    assert shaken.detail.startswith("101")
    assert shaken.detail.endswith(words)
    assert len(app.handshakes) <= 5


@pytest.mark.parametrize(
    ("path", "settings"),
    [
        (
            "/websockify",
            {},
        ),  # a handshake on it is all that there is to try, and may be one too many
        ("/socket.io", {"login": True}),
        ("/ws", {}),
    ],
)
def test_other_routes_cost_their_service_nothing_more(path: str, settings: dict[str, Any]) -> None:
    site = a_site(port=1, issuer="none", **settings)
    site = replace(site, routes=(replace(site.routes[0], path=path),))

    def asks(*_: object) -> Never:
        raise AssertionError("the service is asked")

    access = Access(dial=asks, timeout_s=1.0, until=Deadline(1.0))
    assert find_websockets(site, ProxyAddress(), access) == {}


# --- what a wrong path is reported as -------------------------------------------------------------


def finding_at(
    path: str, app: Callable[[Peer], None], *, timeout_s: float = 5.0, **route: Any
) -> Finding:
    with (
        Server(app) as service,
        Server(Front(backend_port=service.port, origins=(PLAIN,))) as proxy,
    ):
        site = a_site(port=service.port, issuer="none")
        site = replace(site, routes=(replace(site.routes[0], path=path, **route),))
        results = verified(site, https_port=1, http_port=proxy.port, timeout_s=timeout_s)
    (finding,) = (each for each in findings(results) if each.severity == "error")
    assert not named(results, "handshake").ok
    return finding


def test_the_finding_names_the_query_that_a_service_requires() -> None:
    finding = finding_at("/socket.io", SOCKET_IO, match="exact")
    assert finding.code == "backend-not-websocket"
    assert "WebSocket on /socket.io requires the query: /socket.io/?EIO=4" in finding.cause


@pytest.mark.parametrize(
    ("path", "app", "words"),
    [
        ("/ws", STREAMLIT, "This is Streamlit, whose WebSocket is on /_stcore/stream, not on /ws."),
        ("/ws", NODE_RED, "This is Node-RED, whose WebSocket is on /comms, not on /ws."),
        ("/ws", SCRIPT, "The service's page opens a WebSocket on /live/chat, not on /ws."),
    ],
    ids=["Streamlit", "Node-RED", "a page"],
)
def test_the_finding_names_the_path_of_the_websocket(path: str, app: App, words: str) -> None:
    finding = finding_at(path, app, timeout_s=stretched(0.5))
    assert (finding.code, finding.hop) == ("backend-not-websocket", "backend")
    assert words in finding.cause
    assert app.websocket.partition("?")[0] in finding.fix


def test_a_403_that_does_not_depend_on_the_origin_is_not_about_the_origin() -> None:
    finding = finding_at("/ws", App("a page", "/nowhere", elsewhere="403 Forbidden"))
    assert finding.code == "backend-not-websocket"
    assert "with and without an Origin" in finding.cause
    assert [other.code for other in finding.alternatives] == ["login-required", "origin-blocked"]


def test_a_redirect_to_a_page_is_no_path_of_the_websocket() -> None:
    def to_a_login(peer: Peer) -> None:
        peer.answer("302 Found", "Location: /login?next=%2Fws")

    finding = finding_at("/ws", to_a_login)
    assert finding.code == "redirected"
    assert "redirects to a page (/login?next=%2Fws)" in finding.cause
    assert "path in the redirect" not in finding.fix


# --- services that lock clients out ---------------------------------------------------------------


class Vnc:
    """Like TigerVNC behind websockify: it counts, and locks out after `limit` connections."""

    def __init__(self, limit: int) -> None:
        self.limit, self.connections, self.left_politely = limit, 0, 0

    def __call__(self, peer: Peer) -> None:
        if not (peer.header("Upgrade") and peer.header("Sec-WebSocket-Key")):
            peer.answer("405 Method Not Allowed", "Server: WebSockify Python/3.11")
            return
        self.connections += 1
        peer.upgrade()
        if self.connections > self.limit:
            peer.send(b"\x82\x2eRFB 003.003\n" + bytes(7) + b"\x1aToo many security failures")
            peer.send(b"\x88\x02\x03\xe8")
            peer.until_it_leaves()
            return
        peer.send(b"\x82\x0cRFB 003.008\n")
        while frame := peer.connection.recv(2):
            data = peer.connection.recv((frame[1] & 0x7F) + 4)
            if frame[0] == 0x89:
                payload = bytes(each ^ data[n % 4] for n, each in enumerate(data[4:]))
                peer.send(bytes([0x8A, len(payload)]) + payload)
            elif frame[0] == 0x88:
                self.left_politely += 1
                return


def test_a_vnc_server_gets_few_connections_and_is_left_politely() -> None:
    vnc = Vnc(limit=4)
    results = checked(vnc)
    assert [(each.name, each.detail) for each in results if not each.ok] == []
    assert vnc.connections == 2, "through the proxy, and directly"
    assert vnc.left_politely == 2
    assert named(results, "no origin needed").skipped
    assert "locks clients out" in named(results, "no origin needed").detail
    with Server(vnc) as service:
        flock = HeldConnections(dial)
        try:
            site = a_site(port=service.port, issuer="none")
            (route,) = _opened_on_routes(flock, [site], 3, dial)
        finally:
            flock.close()
    assert (len(route.held), len(route.twins), vnc.connections) == (0, 1, 3)


def test_a_lockout_is_a_finding_and_not_tried_again() -> None:
    vnc = Vnc(limit=0)
    with (
        Server(vnc) as service,
        Server(Front(backend_port=service.port, origins=(PLAIN,))) as proxy,
    ):
        site = a_whole_site(service.port)
        results = verified(site, https_port=1, http_port=proxy.port, patience_s=5.0)
    (finding,) = (each for each in findings(results) if each.severity == "error")
    assert (finding.code, finding.hop) == ("locked-out", "backend")
    assert "Too many security failures" in finding.symptom
    assert vnc.connections <= 4
