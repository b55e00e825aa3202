"""A service that refuses the headers of a proxy that it does not trust."""

from __future__ import annotations

from tests.support.servers.scripted import Peer
from tests.support.verified_sites import findings, named
from tests.unit.verify.discovery.test_find import checked


def test_a_service_that_does_not_trust_the_proxy_fails_with_the_reason() -> None:
    """Like Home Assistant without trusted_proxies."""

    def distrusts(peer: Peer) -> None:
        refused = peer.header("X-Forwarded-For")
        peer.answer("400 Bad Request" if refused else "200 OK", body="a page")

    results = checked(distrusts)
    failed = named(results, "handshake", hop="backend")
    assert not failed.ok
    finding = next(each for each in findings(results) if each.hop == "backend")
    assert "refuses requests with X-Forwarded-For" in finding.cause
    assert "trusted_proxies" in finding.fix
