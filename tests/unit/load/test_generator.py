"""Loads on real servers on loopback: correct ones, and one with each kind of fault."""

from __future__ import annotations

import contextlib
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from deployer.errors import UnreachableError, UsageError
from deployer.load.connection import Target
from deployer.load.figures import Figures
from deployer.load.generator import LoadHooks, LoadPlan, generate_load
from deployer.load.open_files import raise_open_files_limit
from tests.support.certificates.pki import authority, issued, server_context
from tests.support.servers.scripted import Peer, Server, closed_port, websocket_service
from tests.support.waiting import PATIENCE_S, at_most

NAME = "stats.example.com"


def a_load(port: int, **given: Any) -> Figures:
    tls = given.pop("tls", False)
    headers = (("Host", NAME),)
    target = Target(
        address="127.0.0.1", port=port, tls=tls, server_name=NAME, path="/ws", headers=headers
    )
    full = given.pop("full", lambda failures: None)
    last = given.pop("last", lambda: None)
    cancelled = given.pop("cancelled", threading.Event())
    progress = given.pop("progress", lambda words: None)
    settings: dict[str, Any] = {
        "number": 30,
        "rate_per_s": 500.0,
        "hold_s": 0.0,
        "farewell_s": 0.1,
        **given,
    }
    settings.setdefault("slow_rate_per_s", 500.0)
    plan = LoadPlan(targets=(target,), **settings)
    return generate_load(
        plan, LoadHooks(progress=progress, full=full, last=last, cancelled=cancelled)
    )


@contextlib.contextmanager
def scripted(script: Callable[[Peer], None], **settings: Any) -> Iterator[int]:
    with Server(script, **settings) as server:
        yield server.port


def until_it_leaves(peer: Peer) -> None:
    peer.until_it_leaves()


def hello(peer: Peer) -> None:
    peer.upgrade()
    peer.until_it_leaves()


def test_all_open_answer_pings_and_are_closed_politely() -> None:
    codes: list[bytes] = []
    looked: list[int] = []

    def counting(peer: Peer) -> None:
        peer.upgrade()
        while data := peer.connection.recv(100):
            payload = bytes(each ^ data[2 + n % 4] for n, each in enumerate(data[6:14]))
            if data[0] == 0x89:
                peer.send(b"\x8a\x08" + payload)
            if data[0] == 0x88:
                codes.append(payload[:2])
                return

    with scripted(counting) as port:
        figures = a_load(port, full=looked.append, last=lambda: looked.append(len(codes)))
    assert (figures.opened, figures.most_open, figures.answered) == (30, 30, 30)
    assert (figures.failed, figures.ended, figures.unanswered) == ((), (), 0)
    assert looked == [0, 0], "none has failed; and none was closed before the last look"
    assert codes == [(1000).to_bytes(2, "big")] * 30
    assert set(figures.opening) == {"connect", "upgrade", "all"}
    assert figures.pings is not None
    assert figures.pings.count == 60  # at the beginning, and at the end


def test_over_tls(tmp_path: Path) -> None:
    context = server_context(tmp_path, issued(NAME, by=authority("Root")))
    with websocket_service(ssl=context) as port:
        figures = a_load(port, tls=True, number=10)
    assert (figures.opened, figures.answered) == (10, 10)
    assert figures.opening["tls"].count == 10


def test_the_rate_is_not_exceeded() -> None:
    with websocket_service() as port:
        figures = a_load(port, number=20, rate_per_s=50)
    assert figures.opened == 20
    assert 0.3 < figures.ramp_s < at_most(3)
    gaps = [
        after - before
        for before, after in zip(figures.opened_at, figures.opened_at[5:], strict=False)
    ]
    assert min(gaps) > 0.02, "no bursts"


REFUSALS: dict[str, tuple[Callable[[Peer], None], str, str]] = {
    "a different status": (
        lambda peer: peer.answer("503 Service Unavailable"),
        "upgrade",
        "answered 503 Service Unavailable",
    ),
    "no answer": (lambda peer: None, "upgrade", "closed it without a Close frame"),
    "no response": (until_it_leaves, "upgrade", "did not answer within 0.2 s"),
    "a wrong key": (
        lambda peer: peer.answer("101 x", "Upgrade: websocket", "Sec-WebSocket-Accept: x"),
        "upgrade",
        "answered 101 with a wrong Sec-WebSocket-Accept",
    ),
    "garbage": (
        lambda peer: peer.send(b"\x00\x01garbage"),
        "upgrade",
        "answered with something that is not HTTP",
    ),
    "endless headers": (
        lambda peer: peer.send(b"HTTP/1.1 101 x\r\nX: " + b"x" * 40_000),
        "upgrade",
        "answered with headers that do not end within 32 KiB",
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_it_stops_if_nothing_opens(name: str) -> None:
    script, phase, words = REFUSALS[name]
    with Server(script) as server:
        timeout_s = 0.2 if script is until_it_leaves else 10.0
        figures = a_load(server.port, number=2000, timeout_s=timeout_s)
        assert 50 <= server.connections <= figures.tried
    (group,) = figures.failed
    assert (group.phase, group.words, group.at_open) == (phase, words, 0)
    assert figures.tried <= 300
    assert "failed" in figures.stopped


def test_on_a_closed_port_it_slows_down() -> None:
    figures = a_load(closed_port(), number=2000, rate_per_s=100, slow_rate_per_s=40.0)
    (group,) = figures.failed
    assert (group.phase, group.words) == ("connect", "refused it: nothing listens there")
    assert 50 <= figures.tried <= 100
    assert figures.ramp_s > 0.4, "some thirty at 40 a second, after twenty at once"


def test_the_number_of_free_connections_is_measured() -> None:
    taken = threading.Semaphore(12)

    def some(peer: Peer) -> None:
        if taken.acquire(blocking=False):
            hello(peer)
        else:
            peer.answer("503 Service Unavailable")

    with scripted(some) as port:
        figures = a_load(port, number=200, timeout_s=2.0)
    assert figures.most_open == 12
    assert figures.failed[0].at_open == 12
    assert figures.unanswered == 12, "this service answers no ping"


def test_early_ends_are_distinguished() -> None:
    number = iter(range(30))

    def leaves(peer: Peer) -> None:
        peer.upgrade()
        place = next(number)
        if place % 3 == 0:
            peer.send(b"\x88\x02\x03\xe9")  # 1001
        if place % 3 == 1:
            hello_again = peer.connection.recv(100)  # the first ping
            assert hello_again
            return
        peer.until_it_leaves()

    with scripted(leaves) as port:
        figures = a_load(port, timeout_s=2.0)
    ways = {group.words: group.count for group in figures.ended}
    assert ways == {"closed it with code 1001": 10, "closed it without a Close frame": 10}
    assert figures.unanswered == 10


def test_large_messages_are_skipped() -> None:
    def talks(peer: Peer) -> None:
        peer.upgrade()
        for _ in range(8):
            peer.send(b"\x82\x7f" + (1 << 20).to_bytes(8, "big") + bytes(1 << 20))
        peer.send(b"\x88\x02\x03\xe8")
        peer.until_it_leaves()

    with scripted(talks) as port:
        figures = a_load(port, number=2, timeout_s=5.0)
    (group,) = figures.ended
    assert (group.words, group.count) == ("closed it with code 1000", 2)


def test_an_interrupt_ends_it_soon_and_closes_what_is_open() -> None:
    cancelled = threading.Event()

    def progress(words: str) -> None:
        cancelled.set()

    began = time.monotonic()
    with websocket_service() as port:
        figures = a_load(
            port, number=5000, rate_per_s=100, hold_s=60, cancelled=cancelled, progress=progress
        )
    assert figures.interrupted
    assert figures.tried < 100
    assert figures.ended == ()
    assert time.monotonic() - began < at_most(5)


def test_more_files_than_the_system_allows_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import resource

    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 4096))

    def refuse(*_: object) -> None:
        raise ValueError("not allowed to raise maximum limit")

    monkeypatch.setattr(resource, "setrlimit", refuse)
    raise_open_files_limit(500)
    with pytest.raises(UsageError, match="--load 5000 needs 5,200 open files on this machine"):
        raise_open_files_limit(5000)


def test_a_peer_that_pings_but_does_not_read_uses_no_memory() -> None:
    def pings(peer: Peer) -> None:
        peer.upgrade()
        many = b"\x89\x7d" + bytes(125)
        with contextlib.suppress(OSError):
            while True:
                peer.send(many * 500)

    with scripted(pings) as port:
        tracemalloc.start()
        try:
            a_load(port, number=2, hold_s=1.0, timeout_s=1.0)
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert most < 8 << 20


def test_no_connection_remains_after_the_host_is_lost() -> None:
    left = threading.Semaphore(0)

    def counted(peer: Peer) -> None:
        peer.upgrade()
        peer.until_it_leaves()
        left.release()

    def lost(failures: int) -> None:
        raise UnreachableError("the connection broke", host="web1", doing="looking")

    with scripted(counted) as port:
        with pytest.raises(UnreachableError):
            a_load(port, number=5, full=lost, timeout_s=1.0)
        assert all(left.acquire(timeout=PATIENCE_S) for _ in range(5))
