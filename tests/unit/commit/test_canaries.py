"""Where canaries are opened at all, and whose moment counts: over a link that records."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from threading import Event
from typing import Any, cast

import pytest

from deployer.commit.canaries import Canaries, NoCanaries, canaries_around
from deployer.errors import AgentError
from deployer.model import Handler
from deployer.plan.model import HandlerRun, Plan
from deployer.sites.model import Route, Site, Upstream
from deployer.transport import Link
from tests.support.servers.pinged import Service
from tests.support.servers.scripted import Server, dial, websocket_service
from tests.support.waiting import until

RELOAD = Handler(name="reload nginx", action="reload", unit="nginx")
PLAN = Plan(
    host="web1",
    created_at="",
    changes=(),
    handlers=(HandlerRun(handler=RELOAD, stage=0, because=()),),
)
STEP = {"event": "step", "resource_id": "handler:reload nginx", "state": "start"}
CLIENT = "0100007F:C001-0100007F:01BB"


class Host:
    """A link to a host whose proxy is the service itself, at any port that is asked for."""

    def __init__(self, port: int, *, runs: bool = True) -> None:
        self._port = port
        self._runs = runs
        self.asked: list[str] = []

    def request(self, name: str, **fields: Any) -> dict[str, Any]:
        self.asked.append(name)
        worker = {"pid": 7, "websockets": 1, "connections": 1, "is_old": False}
        about = {"workers": [{**worker, "clients": [CLIENT]}], "drain_s": None}
        return {"units": {"nginx": about} if self._runs else {}}

    def open_stream(self, **where: Any) -> Any:
        return dial(**{**where, "host": "127.0.0.1", "port": self._port})


@contextmanager
def around(host: Host, *, plan: Plan = PLAN, count: int = 2) -> Iterator[NoCanaries]:
    service = Upstream(host="127.0.0.1", port=9001)
    site = Site(
        domain="ws.example.com", routes=(Route(path="/ws", websocket=True, upstreams=(service,)),)
    )
    with canaries_around(
        plan,
        (site,),
        cast(Link, host),
        count=count,
        has_systemd=True,
        cancelled=Event(),
        doing=lambda what: None,
    ) as canaries:
        yield canaries


@pytest.fixture
def port() -> Iterator[int]:
    with websocket_service() as found:
        yield found


def test_a_reload_of_a_running_proxy(port: int) -> None:
    host = Host(port)
    with around(host) as canaries:
        canaries.on_event(STEP)
        canaries.changed()
        (check,) = canaries.checks()
        survival = canaries.survival(asks_again=False)
    assert check.detail == "2 of 2 open connections survived the reload of nginx"
    assert survival is not None
    assert survival.others is not None
    assert (survival.others.connections, survival.others.still_open) == (1, 1)


def test_an_end_noticed_before_the_change_that_caused_it() -> None:
    """The connection and the host's message are two streams: either may arrive first."""
    service = Service()
    with Server(service.script) as server, around(Host(server.port), count=1) as canaries:
        assert isinstance(canaries, Canaries)
        service.ending.set()
        (route,) = canaries._routes
        until(lambda: all(held.end for held in route.held))
        canaries.on_event(STEP)
        survival = canaries.survival(asks_again=False)
    assert survival is not None
    (canary,) = survival.routes[0].canaries
    assert canary.after_s == 0.0


def test_a_proxy_that_was_not_changed(port: int) -> None:
    """The commit failed before it came to the proxy."""
    with around(Host(port)) as canaries:
        canaries.on_event({**STEP, "resource_id": "file:/etc/nginx/nginx.conf"})
        assert isinstance(canaries, Canaries)
        assert canaries.survival(asks_again=True) is None


@pytest.mark.parametrize(
    ("about", "asked"),
    [
        ({"count": 0}, []),
        ({"plan": replace(PLAN, handlers=())}, []),
    ],
)
def test_no_requests_without_need(port: int, about: dict[str, Any], asked: list[str]) -> None:
    host = Host(port)
    with around(host, **about) as canaries:
        assert not isinstance(canaries, Canaries)
    assert host.asked == asked


def test_a_proxy_that_is_not_running(port: int) -> None:
    host = Host(port, runs=False)
    with around(host) as canaries:
        assert (canaries.checks(), canaries.survival(asks_again=False)) == ((), None)
    assert host.asked == ["connections"]


@pytest.mark.parametrize(
    ("answer", "note"),
    [
        ("421 Misdirected Request", ""),  # the proxy serves no site of this name yet
        ("502 Bad Gateway", "answered 502 Bad Gateway"),
    ],
)
def test_why_a_route_has_no_canaries(answer: str, note: str) -> None:
    with Server(lambda peer: peer.answer(answer)) as server, around(Host(server.port)) as canaries:
        canaries.on_event(STEP)
        survival = canaries.survival(asks_again=False)
    assert survival is not None
    (route,) = survival.routes
    assert (route.canaries, route.note) == ((), note)


def test_the_apply_continues_if_apache_does_not_report_its_slots(port: int) -> None:
    """Its control program may hang: that must not block the change that fixes it."""

    class Apache(Host):
        def request(self, name: str, **fields: Any) -> dict[str, Any]:
            if name == "places":
                words = "apachectl did not end within 60 s and was killed"
                raise AgentError(words, host="web1", code="internal")
            return {"units": {"apache2": super().request(name, **fields)["units"]["nginx"]}}

    handler = replace(RELOAD, name="reload apache", unit="apache2")
    plan = replace(PLAN, handlers=(HandlerRun(handler=handler, stage=0, because=()),))
    with around(Apache(port), plan=plan) as canaries:
        canaries.on_event({**STEP, "resource_id": "handler:reload apache"})
        survival = canaries.survival(asks_again=False)
    assert survival is not None
    (route,) = survival.routes
    assert route.canaries == ()
    assert route.note.startswith("the host does not report how many processes Apache")
