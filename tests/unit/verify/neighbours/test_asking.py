"""Requests to neighbours, at real servers on loopback."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path

import pytest

from deployer.errors import UnreachableError
from deployer.proxies.inspect.names import ServedName
from deployer.verify.neighbours.asking import ask_all
from deployer.verify.neighbours.model import NeighbourAnswer, NeighbourRequest
from deployer.verify.net.access import Access
from deployer.verify.net.stream import Cancelled, Deadline
from tests.support.certificates.pki import authority, issued, server_context
from tests.support.servers.scripted import Peer, Server
from tests.support.waiting import at_most


def dial(*, host: str = "", port: int = 0, timeout_s: float) -> socket.socket:
    return socket.create_connection((host, port), timeout=timeout_s)


def access(limit_s: float = 10.0, **more: threading.Event) -> Access:
    return Access(dial=dial, timeout_s=0.5, until=Deadline(limit_s, **more))


def to(port: int, **more: object) -> NeighbourRequest:
    kind = more.pop("kind", "page")
    path = more.pop("path", "/")
    name = more.pop("name", "a.example.com")
    served = ServedName(
        proxy="nginx",
        name=name,
        asked=name,
        port=port,
        address="127.0.0.1",
        **more,  # type: ignore[arg-type]
    )
    return NeighbourRequest(served=served, kind=kind, path=path)  # type: ignore[arg-type]


def asked(request: NeighbourRequest) -> NeighbourAnswer:
    (answer,) = ask_all([request], access())
    assert answer is not None
    return answer


def by_path(peer: Peer) -> None:
    """A service that answers by host and path, and opens WebSockets at /ws."""
    if peer.target == "/ws" and peer.header("Upgrade") == "websocket":
        peer.answer("101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade")
    elif peer.header("Host") == f"b.example.com:{peer.connection.getsockname()[1]}":
        peer.answer("301 Moved", "Location: https://b.example.com/x?nonce=1")
    else:
        peer.answer("200 OK", "Content-Length: 5", body="hello")


def test_pages_redirects_and_websockets() -> None:
    with Server(by_path) as server:
        page = asked(to(server.port))
        assert (page.status, bool(page.body), page.redirect) == (200, True, "")
        redirect = asked(to(server.port, name="b.example.com"))
        assert (redirect.status, redirect.redirect) == (301, "https://b.example.com/x")
        assert asked(to(server.port, kind="websocket", path="/ws")).status == 101
        assert asked(to(server.port, kind="websocket", path="/no")).status == 200
        assert asked(to(server.port, kind="connection", speaks_http=False)) == NeighbourAnswer()


def test_the_names_in_a_certificate(tmp_path: Path) -> None:
    context = server_context(tmp_path, issued("a.example.com", by=authority("Root")))
    with Server(by_path, tls=context) as server:
        answer = asked(to(server.port, tls=True))
        assert (answer.certificate, answer.is_for_name) == (("a.example.com",), True)
        assert not asked(to(server.port, tls=True, name="b.example.com")).is_for_name


def test_nothing_listens_and_no_answer_in_time() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        assert "refuses connections" in asked(to(port)).failure
    with Server(lambda peer: time.sleep(2)) as server:
        assert "did not answer" in asked(to(server.port)).failure


def test_all_end_at_the_time_limit() -> None:
    with Server(lambda peer: time.sleep(5)) as server:
        began = time.monotonic()
        answers = ask_all([to(server.port)] * 200, access(1.0))
        assert time.monotonic() - began < at_most(3)
    assert None in answers


def test_an_interrupt_and_a_lost_connection_end_it() -> None:
    event = threading.Event()
    event.set()
    with pytest.raises(Cancelled):
        ask_all([to(1)], access(interrupt=event))

    def lost(**_: object) -> socket.socket:
        raise UnreachableError("the connection broke", host="web1")

    with pytest.raises(UnreachableError):
        ask_all([to(1)], Access(dial=lost, timeout_s=0.5, until=Deadline(5.0)))
