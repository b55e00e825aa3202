"""Connections that are held open, against services that end them in every way."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from deployer.verify.net.stream import Deadline
from deployer.verify.probe.held import Flock, Held, answering
from deployer.verify.probe.spec import Endpoint, UpgradeProbe
from tests.support.servers.scripted import Peer, Server, closed_port, dial

SOON_S = 3.0


class Service:
    """Answers pings until it is told to end."""

    def __init__(self) -> None:
        self.ending = threading.Event()
        self.close_code: int | None = None
        self.is_mute = False
        self.farewells = 0

    def script(self, peer: Peer) -> None:
        peer.upgrade()
        peer.connection.settimeout(0.02)
        while not self.ending.is_set():
            try:
                data = peer.connection.recv(4096)
            except TimeoutError:
                continue
            if not data:
                return
            if data[0] == 0x88:
                self.farewells += 1
                peer.send(b"\x88\x00")
                return
            if data[0] == 0x89 and not self.is_mute:
                size, mask, masked = data[1] & 127, data[2:6], data[6:]
                payload = bytes(byte ^ mask[i % 4] for i, byte in enumerate(masked[:size]))
                peer.send(bytes([0x8A, size]) + payload)
        if self.close_code is not None:
            peer.send(b"\x88\x02" + self.close_code.to_bytes(2, "big"))


def probe_at(port: int) -> UpgradeProbe:
    return UpgradeProbe(
        uri="ws://x/ws",
        hop="proxy",
        endpoint=Endpoint(host="127.0.0.1", port=port),
        target="/ws",
        headers=(("Host", "x"),),
    )


@pytest.fixture
def flock() -> Iterator[Flock]:
    held = Flock(dial, pause_s=0.02)
    yield held
    held.close()


def held_by(flock: Flock, service: Service, server: Server, count: int = 1) -> tuple[Held, ...]:
    held = flock.hold(probe_at(server.port), count)
    flock.wait_until_open()
    assert all(each.is_open for each in held), [each.problem for each in held]
    return held


def until_ended(held: Held) -> None:
    deadline = time.monotonic() + SOON_S
    while held.end is None:
        assert time.monotonic() < deadline, "it has not ended"
        time.sleep(0.005)


def test_those_that_live_answer(flock: Flock) -> None:
    service = Service()
    with Server(service.script) as server:
        held = held_by(flock, service, server, 3)
        assert answering(held, since=time.monotonic(), deadline=Deadline(SOON_S)) == [True] * 3
        flock.close()
    assert service.farewells == 3, "they leave with a Close frame"


@pytest.mark.parametrize(("code", "how"), [(1012, "closed"), (None, "reset")])
def test_how_it_has_ended(flock: Flock, code: int | None, how: str) -> None:
    service = Service()
    with Server(service.script) as server:
        (held,) = held_by(flock, service, server)
        service.close_code = code
        service.ending.set()
        until_ended(held)
    assert held.end is not None
    assert (held.end.how, held.end.close_code) == (how, code)
    assert answering([held], since=0.0, deadline=Deadline(SOON_S)) == [False]


def test_one_that_hangs_is_open_and_does_not_answer(flock: Flock) -> None:
    service = Service()
    with Server(service.script) as server:
        (held,) = held_by(flock, service, server)
        service.is_mute = True
        assert answering([held], since=time.monotonic(), deadline=Deadline(0.1)) == [False]
        assert held.end is None


def test_one_that_is_let_go(flock: Flock) -> None:
    service = Service()
    with Server(service.script) as server:
        (held,) = held_by(flock, service, server)
        held.let_go(0.0, "let go")
        until_ended(held)
    assert held.end is not None
    assert (held.end.how, held.end.words) == ("reset", "let go")


def test_where_nobody_listens(flock: Flock) -> None:
    (held,) = flock.hold(probe_at(closed_port()), 1)
    flock.wait_until_open()
    assert not held.is_open
    assert "refuses connections" in held.problem


def test_a_page_is_no_canary(flock: Flock) -> None:
    with Server(lambda peer: peer.answer("404 Not Found")) as server:
        (held,) = flock.hold(probe_at(server.port), 1)
        flock.wait_until_open()
    assert (held.is_open, held.problem) == (False, "answered 404 Not Found")
