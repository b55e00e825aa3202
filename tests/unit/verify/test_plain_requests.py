"""Requests without an upgrade on the path of a WebSocket."""

from __future__ import annotations

from tests.support.servers.scripted import Front, Peer, Server
from tests.unit.verify.test_security import PLAIN, a_site, healthy, named, verified

__all__ = ["healthy"]


def test_a_service_may_refuse_a_plain_get_by_closing_the_connection(healthy: int) -> None:
    def service(peer: Peer) -> None:
        if peer.header("Upgrade") is not None:
            relay(peer)

    def front(peer: Peer) -> None:
        if peer.header("Upgrade") is None and peer.target == "/ws":
            peer.answer("502 Bad Gateway")
        else:
            fine(peer)

    relay = Front(backend_port=healthy, origins=(), checks_origin=False)
    with Server(service) as behind, Server(front) as server:
        fine = Front(backend_port=behind.port, origins=(PLAIN,))
        results = verified(a_site(behind.port), front=server.port, patience_s=600.0)
    check = named(results, "plain GET not upgraded")
    assert check.finding is None
    assert check.detail == "answered 502: the service itself closes such connections"
