"""Faults of a service or its proxy, verified through a front: each is named, and no other."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from deployer.sites.model import Check
from tests.support.servers.scripted import (
    Front,
    Peer,
    Server,
)
from tests.support.verified_sites import (
    OFFERING,
    PLAIN,
    a_site,
    drops_politely,
    findings,
    verified,
    wants_its_own_origin,
)
from tests.support.waiting import PATIENCE_S, stretched


def not_found(peer: Peer) -> None:
    peer.answer("404 Not Found", body="Not Found")


def wrong_accept(peer: Peer) -> None:
    wrong = "Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA="
    peer.answer("101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade", wrong)


def to_https(peer: Peer) -> None:
    peer.answer("301 Moved Permanently", f"Location: https://{peer.header('Host')}/ws")


def picky_about_origin(peer: Peer) -> None:
    peer.answer("403 Forbidden", body="origin not allowed")


def tls_only(peer: Peer) -> None:
    peer.answer("400 Bad Request", body="Client sent an HTTP request to an HTTPS server.")


def drops_at_once(peer: Peer) -> None:
    if peer.header("Upgrade"):
        peer.upgrade()


def not_found_without_upgrade(peer: Peer) -> None:
    if peer.header("Upgrade"):
        peer.upgrade()
        peer.send(b"\x88\x00")
        peer.until_it_leaves()
    else:
        peer.answer("404 Not Found", body="Not Found")


def knows_no_subprotocols(peer: Peer) -> None:
    if peer.header("Sec-WebSocket-Protocol"):
        peer.answer("400 Bad Request", body="too many subprotocols")
    else:
        drops_politely(peer)


def says_nothing(peer: Peer) -> None:
    """Opens the connection and only answers pings (ours have eight bytes)."""
    peer.upgrade()
    received = b""
    while True:
        received += peer.connection.recv(4096)
        while len(received) >= 14 and received[:2] == b"\x89\x88":
            mask, masked = received[2:6], received[6:14]
            peer.send(b"\x8a\x08" + bytes(byte ^ mask[i % 4] for i, byte in enumerate(masked)))
            received = received[14:]


def tunnels_h2c(peer: Peer) -> None:
    if peer.header("Upgrade") == "h2c":
        peer.answer("101 Switching Protocols", "Upgrade: h2c", "Connection: Upgrade")
    else:
        peer.answer("426 Upgrade Required", body="no")


@dataclass(frozen=True)
class Fault:
    """A fault, and its expected finding; `says` is part of the text."""

    code: str
    hop: str
    says: str
    front: dict[str, Any]
    service: Callable[[Peer], None] | None = None  # None: the healthy one
    check: Check | None = None


WELCOMED = Check(path="/ws", expect="welcome")


FOREIGN = Check(path="/ws", origin="https://shop.example.com")


FAULTS = {
    "the proxy drops Upgrade": Fault(
        "upgrade-not-forwarded", "proxy", "answered 426", {"drops_upgrade": True}
    ),
    "the proxy drops Upgrade, and the service answers as uvicorn does": Fault(
        "upgrade-not-forwarded",
        "proxy",
        "answered 404",
        {"drops_upgrade": True},
        not_found_without_upgrade,
    ),
    "the proxy speaks HTTP/1.0": Fault(
        "http-1.0-upstream",
        "proxy",
        "HTTP/1.0",
        {"answers": "505 HTTP Version Not Supported"},
    ),
    "a different site answers": Fault(
        "wrong-route", "proxy", "answered 404", {"answers": "404 Not Found"}
    ),
    "a page answers": Fault("page-instead", "proxy", "answered 200", {"answers": "200 OK"}),
    "the proxy has a wrong upstream": Fault(
        "bad-gateway", "proxy", "answered 502", {"answers": "502 Bad Gateway"}
    ),
    "a slash redirect": Fault(
        "slash-redirect",
        "proxy",
        "slash",
        {"answers": "301 Moved Permanently", "location": f"{PLAIN}/ws/"},
    ),
    "a redirect to itself": Fault(
        "redirect-loop",
        "proxy",
        "X-Forwarded-Proto",
        {"answers": "301 Moved Permanently", "location": f"{PLAIN}/ws"},
    ),
    "the accept is changed": Fault(
        "wrong-accept", "proxy", "not a WebSocket service", {"changes_accept": True}
    ),
    "Origin is not checked": Fault(
        "origin-open", "proxy", "answered 101, not 403", {"checks_origin": False}
    ),
    "the site's own Origin is refused": Fault(
        "origin-blocked", "proxy", f"refuses {PLAIN}", {"origins": ()}
    ),
    "the proxy refuses every client": Fault(
        "handshake-refused", "proxy", "with and without Origin", {"answers": "403 Forbidden"}
    ),
    "the proxy requires a login": Fault(
        "login-required", "proxy", "opens the same", {"answers": "401 Unauthorized"}
    ),
    "a missing Origin is refused": Fault(
        "origin-blocked", "proxy", "without Origin", {"refuses_missing_origin": True}
    ),
    "an entry's Origin is not listed": Fault(
        "origin-blocked", "proxy", "refuses https://shop.example.com", {}, check=FOREIGN
    ),
    "the subprotocol is lost": Fault(
        "subprotocol-missing",
        "proxy",
        "none of the offered subprotocols (chat.v2)",
        {"drops_subprotocol": True},
        check=OFFERING,
    ),
    "the proxy closes idle connections": Fault(
        "idle-cut",
        "proxy",
        "proxy_read_timeout",
        {"cuts_after_s": 0.5},
        check=Check(path="/ws", hold_s=1.5),
    ),
    "h2c is forwarded": Fault(
        "h2c-tunnel", "proxy", "answered 101 to Upgrade: h2c", {"passes_h2c": True}, tunnels_h2c
    ),
    "the service has no such path": Fault(
        "backend-not-websocket", "backend", "answered 404", {}, not_found
    ),
    "the service fakes the accept": Fault(
        "wrong-accept", "backend", "not a WebSocket server", {}, wrong_accept
    ),
    "the service redirects": Fault("https-redirect", "backend", "X-Forwarded-Proto", {}, to_https),
    "the service refuses the Origin": Fault(
        "origin-blocked", "backend", "own list", {}, picky_about_origin
    ),
    "the service requires TLS": Fault("upstream-scheme", "backend", "https://", {}, tls_only),
    "the proxy changes Host": Fault(
        "host-rewritten",
        "proxy",
        "refuses with the same response",
        {"host": "SERVICE"},
        wants_its_own_origin,
    ),
    "the service refuses subprotocols": Fault(
        "subprotocols-refused", "backend", "chat.v2", {}, knows_no_subprotocols, OFFERING
    ),
    "the application sends nothing": Fault(
        "silent-after-upgrade", "backend", "answers pings", {}, says_nothing, WELCOMED
    ),
    "the service drops the connection": Fault(
        "connection-dropped", "backend", "closes the connection itself", {}, drops_at_once
    ),
}


@contextlib.contextmanager
def faulty(fault: Fault, *, healthy: int) -> Iterator[tuple[int, int]]:
    with contextlib.ExitStack() as stack:
        port = healthy
        if fault.service is not None:
            port = stack.enter_context(Server(fault.service)).port
        settings = {"origins": (PLAIN,), **fault.front}
        if settings.get("host") == "SERVICE":
            settings["host"] = f"127.0.0.1:{port}"
        front = Server(Front(backend_port=port, **settings))
        yield stack.enter_context(front).port, port


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_named_with_its_hop(name: str, healthy_service: int) -> None:
    fault = FAULTS[name]
    with faulty(fault, healthy=healthy_service) as (front, service):
        checks = [fault.check] if fault.check else []
        site = a_site(port=service, issuer="none", verify=checks)
        patience_s = stretched(0.5) if fault.check is WELCOMED else PATIENCE_S
        results = verified(site, https_port=1, http_port=front, timeout_s=patience_s)
    found = [finding for finding in findings(results) if finding.code == fault.code]
    assert [finding.hop for finding in found] == [fault.hop], findings(results)
    (finding,) = found
    words = f"{finding.symptom} {finding.cause} {finding.fix}"
    assert fault.says in words
