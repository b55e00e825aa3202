"""One of several services is down: the route's `health` decides whether that fails a commit."""

from __future__ import annotations

from dataclasses import replace

from deployer.model import CheckResult
from deployer.sites.model import Health, Route, Site, Tls, Upstream
from tests.support.servers.scripted import (
    Front,
    Peer,
    Server,
    closed_port,
    websocket_service,
)
from tests.support.verified_sites import NAME, PLAIN, verified


def results(site: Site, *, served_by: int) -> list[CheckResult]:
    with Server(Front(backend_port=served_by, origins=(PLAIN,))) as front:
        found = verified(site, https_port=front.port, http_port=front.port)
    return [each for each in found if each.hop == "backend"]


def health_of(found: list[CheckResult]) -> list[CheckResult]:
    return [each for each in found if each.name == "health"]


def a_site(*ports: int, health: Health | None) -> Site:
    upstreams = tuple(Upstream(host="127.0.0.1", port=port) for port in ports)
    route = Route(path="/ws", websocket=True, upstreams=upstreams, health=health)
    return Site(domain=NAME, tls=Tls(), routes=(route,))


def test_one_that_is_down_is_reported_and_fails_nothing_if_others_answer() -> None:
    with websocket_service() as port:
        dead = closed_port()
        site = a_site(dead, port, health=Health())
        down, up = results(site, served_by=port)
        (strict, _) = results(a_site(dead, port, health=None), served_by=port)
    assert (down.ok, up.ok, strict.ok) == (True, True, False)
    assert down.finding is not None
    assert (down.finding.code, down.finding.severity) == ("service-down", "warning")
    assert "other upstreams of the route serve its clients" in down.detail
    assert strict.finding is not None
    assert strict.finding.severity == "error"


def test_one_that_answers_wrongly_fails() -> None:
    with websocket_service() as port, Server(lambda peer: peer.answer("404 Not Found")) as wrong:
        bad, good = results(a_site(wrong.port, port, health=Health()), served_by=port)
    assert (bad.ok, good.ok) == (False, True)


def test_all_are_down() -> None:
    found = results(a_site(closed_port(), closed_port(), health=Health()), served_by=closed_port())
    assert [each.ok for each in found] == [False, False]


def test_the_path_that_the_proxy_will_request() -> None:
    def service(peer: Peer) -> None:
        if peer.target != "/ws":
            peer.answer("204 No Content" if peer.target == "/up?a=b" else "404 Not Found")
            return
        peer.upgrade()
        peer.until_it_leaves()

    with Server(service) as one, Server(service) as other:
        site = a_site(one.port, other.port, health=Health(path="/up?a=b"))
        good = health_of(results(site, served_by=one.port))
        wrong = replace(site.routes[0], health=Health(path="/down"))
        bad = health_of(results(replace(site, routes=(wrong,)), served_by=one.port))
    assert [each.ok for each in good] == [True, True]
    assert [(each.ok, each.detail) for each in bad] == [(False, "answered 404")] * 2
    assert bad[0].finding is not None
    assert "takes a service out of rotation" in bad[0].finding.cause
