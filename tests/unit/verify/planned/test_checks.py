"""Plan the checks of a site."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from deployer.sites.model import Check, Route, Site, Tls, Upstream
from deployer.verify.options import ProxyAddress
from deployer.verify.planned.checks import planned_checks
from deployer.verify.planned.model import FOREIGN_ORIGIN, PlannedCheck
from deployer.verify.planned.routing import concrete, path_at_service, serving_route
from deployer.verify.probe.spec import HttpProbe, NoProbe

APP = (Upstream(host="127.0.0.1", port=3000), Upstream(host="127.0.0.1", port=3001))


def websocket(path: str, **settings: Any) -> Route:
    return Route(path=path, websocket=True, upstreams=APP, **settings)


def planned(*routes: Route, **site: Any) -> tuple[PlannedCheck, ...]:
    settings = {"domain": "a.example", "tls": Tls(issuer="internal"), **site}
    return planned_checks(Site(routes=routes, **settings), ProxyAddress())


def sent(check: PlannedCheck, name: str) -> str | None:
    assert isinstance(check.probe, HttpProbe)
    return dict(check.probe.headers).get(name)


def test_each_of_several_services_gets_the_page() -> None:
    checks = planned(Route(path="/", upstreams=APP), Route(path="/one", upstreams=APP[:1]))
    pages = [f"{check.hop} {check.target}" for check in checks if check.kind == "page"]
    assert pages == [
        "proxy /",
        "backend / at 127.0.0.1:3000",
        "backend / at 127.0.0.1:3001",
        "proxy /one",
    ]


def test_a_placeholder_is_filled_in_unless_a_check_says_how() -> None:
    described = Check(path="/b/main/ws?x=1")
    checks = planned(websocket("/a/{x}"), websocket("/b/{y}/ws"), verify=(described,))
    mains = [check for check in checks if check.represents_route]
    assert [check.target for check in mains] == ["/a/deployer-check", described.path]
    guessed, known = (check.found for check in mains)
    assert guessed is not None
    assert not guessed.opens
    assert known is None
    sent = [check.probe.target for check in checks if isinstance(check.probe, HttpProbe)]
    assert not [target for target in sent if "{" in target]
    stripped = websocket("/c/{z}", strip_prefix=True)
    assert path_at_service(stripped, "/c/1/x?y=/c/2") == "/x?y=/c/2"


def test_order_and_kinds() -> None:
    checks = planned(
        websocket("/ws"),
        websocket("/cable"),
        Route(path="/", root="/var/www"),
        aliases=("www.a.example",),
        verify=(Check(path="/cable"),),
    )
    assert [f"{check.kind} {check.target}" for check in checks] == [
        "certificate a.example",
        "certificate www.a.example",
        "redirect http://a.example/",
        "old-tls TLS 1.1",
        "banner nginx",
        "handshake /ws",
        "service /ws at 127.0.0.1:3000",
        "service /ws at 127.0.0.1:3001",
        "handshake www.a.example/ws",
        "foreign-origin /ws",
        "no-origin /ws",
        "plain-get /ws",
        "http2 /ws",
        "h2c /ws",
        "handshake /cable",
        "service /cable at 127.0.0.1:3000",
        "service /cable at 127.0.0.1:3001",
        "foreign-origin /cable",
        "no-origin /cable",
        "plain-get /cable",
        "http2 /cable",
        "h2c /cable",
        "page /",
    ]
    leaders = {
        check.target: check.prerequisite for check in checks if check.kind == "foreign-origin"
    }
    assert leaders == {"/ws": 5, "/cable": 14}


def test_without_tls_every_check_uses_port_80() -> None:
    checks = planned(websocket("/ws"), tls=Tls())
    without_tls = {"certificate", "redirect", "old-tls", "http2"}
    assert {check.kind for check in checks}.isdisjoint(without_tls)
    through = [check.probe for check in checks if check.hop == "proxy"]
    assert {(probe.endpoint.port, probe.endpoint.tls) for probe in through} == {(80, False)}
    handshake = next(check for check in checks if check.kind == "handshake")
    assert handshake.probe.uri == "ws://a.example/ws"
    assert sent(handshake, "Origin") == "http://a.example"


@pytest.mark.parametrize(
    ("origins", "first", "listed", "foreign"),
    [
        (None, "https://a.example", [], 1),
        (("any",), "https://a.example", [], 0),
        (("any", "https://b.example"), "https://a.example", [], 0),
        (("https://b.example", "https://c.example"), "https://b.example", ["c"], 1),
        (tuple(f"https://{n}.example" for n in "bcdefgh"), "https://b.example", list("cdef"), 1),
    ],
)
def test_origins(
    origins: tuple[str, ...] | None, first: str, listed: list[str], foreign: int
) -> None:
    checks = planned(websocket("/ws", origins=origins))
    by_kind = {check.kind: check for check in checks}
    assert sent(by_kind["handshake"], "Origin") == first
    tried = [sent(check, "Origin") for check in checks if check.kind == "listed-origin"]
    assert tried == [f"https://{name}.example" for name in listed]
    refused = [sent(check, "Origin") for check in checks if check.kind == "foreign-origin"]
    assert refused == [FOREIGN_ORIGIN] * foreign
    assert sent(by_kind["no-origin"], "Origin") is None


def test_the_peer_sends_what_the_proxy_would_send() -> None:
    checks = planned(
        websocket("/api/", strip_prefix=True), verify=(Check(path="/api/chat?id=7", hold_s=9),)
    )
    entry = checks[-1]
    assert entry.hold_s == 9
    assert entry.peer is not None
    assert entry.peer.target == "/chat?id=7"
    assert entry.peer.uri == "ws://127.0.0.1:3000/chat?id=7"
    assert dict(entry.peer.headers)["X-Forwarded-Proto"] == "https"
    assert dict(entry.peer.headers)["Host"] == "a.example"
    assert entry.plain is not None
    assert "Upgrade" not in dict(entry.plain.headers)


def test_an_entry_that_no_websocket_route_serves_has_no_peer() -> None:
    *_, static, nowhere = planned(
        Route(path="/files", root="/srv"), verify=(Check(path="/files/x"), Check(path="/y"))
    )
    assert (static.peer, nowhere.peer) == (None, None)


@pytest.mark.parametrize(
    ("path", "served_by"),
    [
        ("/ws", "/ws exact"),
        ("/ws?x=1", "/ws exact"),
        ("/ws/chat", "/ws prefix"),
        ("/wsx", "/ prefix"),
        ("/ws/deep/er", "/ws/deep prefix"),
    ],
)
def test_the_longest_route_by_whole_segments_serves(path: str, served_by: str) -> None:
    site = Site(
        domain="a.example",
        routes=(
            websocket("/ws"),
            websocket("/ws", match="exact"),
            websocket("/ws/deep"),
            Route(path="/", root="/srv"),
        ),
    )
    route = serving_route(site, path)
    assert route is not None
    assert f"{route.path} {route.match}" == served_by


@pytest.mark.parametrize(
    ("route", "target", "seen"),
    [
        ("/ws", "/ws", "/"),
        ("/ws", "/ws/x", "/x"),
        ("/ws/", "/ws/x", "/x"),
        ("/ws", "/ws?a=1", "/?a=1"),
        ("/", "/x", "/x"),
    ],
)
def test_a_stripped_prefix(route: str, target: str, seen: str) -> None:
    assert path_at_service(websocket(route, strip_prefix=True), target) == seen
    assert path_at_service(websocket(route), target) == target


def test_a_wildcard_is_checked_by_a_matching_name() -> None:
    assert concrete("*.a.example") == "wildcard.a.example"
    assert concrete("a.example") == "a.example"


def test_a_drained_service_is_left_alone() -> None:
    pair = (replace(APP[0], drained=True), APP[1])
    routes = (
        Route(path="/ws", websocket=True, upstreams=pair),
        Route(path="/", upstreams=pair),
    )
    checks = planned(*routes)
    left_alone = [f"{each.hop} {each.target}" for each in checks if each.kind == "unprobed"]
    assert left_alone == ["backend /ws at 127.0.0.1:3000", "backend / at 127.0.0.1:3000"]
    asked = [
        probe.endpoint
        for check in checks
        for probe in (check.probe, check.peer, check.plain)
        if probe is not None and probe.hop == "backend" and not isinstance(probe, NoProbe)
    ]
    assert {endpoint.port for endpoint in asked} == {3001}
