"""Held connections, with services that end them in every way."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from deployer.verify.net.stream import Deadline
from deployer.verify.probe.held_connections import HeldConnection, HeldConnections, have_answered
from deployer.verify.probe.spec import Endpoint, UpgradeProbe
from tests.support.servers.pinged import Service
from tests.support.servers.scripted import Server, closed_port, dial
from tests.support.waiting import PATIENCE_S, until


def probe_at(port: int) -> UpgradeProbe:
    return UpgradeProbe(
        uri="ws://x/ws",
        hop="proxy",
        endpoint=Endpoint(host="127.0.0.1", port=port),
        target="/ws",
        headers=(("Host", "x"),),
    )


@pytest.fixture
def flock() -> Iterator[HeldConnections]:
    held = HeldConnections(dial, pause_s=0.02)
    yield held
    held.close()


def held_by(
    flock: HeldConnections, service: Service, server: Server, count: int = 1
) -> tuple[HeldConnection, ...]:
    held = flock.hold(probe_at(server.port), count)
    flock.wait_until_open()
    assert all(each.is_open for each in held), [each.problem for each in held]
    return held


def test_open_connections_answer(flock: HeldConnections) -> None:
    service = Service()
    with Server(service.script) as server:
        held = held_by(flock, service, server, 3)
        assert (
            have_answered(held, since=time.monotonic(), deadline=Deadline(PATIENCE_S)) == [True] * 3
        )
        flock.close()
    assert service.farewells == 3, "they leave with a Close frame"


@pytest.mark.parametrize(("code", "how"), [(1012, "closed"), (None, "reset")])
def test_the_end_of_a_connection_is_recorded(
    flock: HeldConnections, code: int | None, how: str
) -> None:
    service = Service()
    with Server(service.script) as server:
        (held,) = held_by(flock, service, server)
        service.close_code = code
        service.ending.set()
        until(lambda: held.end)
    assert held.end is not None
    assert (held.end.how, held.end.close_code) == (how, code)
    assert have_answered([held], since=0.0, deadline=Deadline(PATIENCE_S)) == [False]


def test_a_hanging_connection_is_open_but_does_not_answer(flock: HeldConnections) -> None:
    service = Service()
    with Server(service.script) as server:
        (held,) = held_by(flock, service, server)
        service.is_mute = True
        assert have_answered([held], since=time.monotonic(), deadline=Deadline(0.1)) == [False]
        assert held.end is None


def test_a_connection_can_be_closed_after_a_delay(flock: HeldConnections) -> None:
    service = Service()
    with Server(service.script) as server:
        (held,) = held_by(flock, service, server)
        held.let_go(0.0, "let go")
        until(lambda: held.end)
    assert held.end is not None
    assert (held.end.how, held.end.words) == ("reset", "let go")


def test_a_closed_port(flock: HeldConnections) -> None:
    (held,) = flock.hold(probe_at(closed_port()), 1)
    flock.wait_until_open()
    assert not held.is_open
    assert "refuses connections" in held.problem


def test_a_page_is_not_a_websocket(flock: HeldConnections) -> None:
    with Server(lambda peer: peer.answer("404 Not Found")) as server:
        (held,) = flock.hold(probe_at(server.port), 1)
        flock.wait_until_open()
    assert (held.is_open, held.problem) == (False, "answered 404 Not Found")
