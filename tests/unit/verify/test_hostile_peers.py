"""Peers that try to hang a verification or exhaust memory: each gets a finding in time."""

from __future__ import annotations

import contextlib
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deployer.model import CheckResult, Finding
from deployer.sites.model import Check, Route, Site, Tls, Upstream
from deployer.verify import required_s, verify_site
from deployer.verify.options import Limits, ProxyAddress
from tests.support.servers.scripted import Front, Peer, Server, dial, redirecting, websocket_service
from tests.support.waiting import PATIENCE_S, at_most

NAME = "stats.example.com"
#: For those whom only the clock ends, and for those who give a reason themselves.
SHORT_S = 0.3
LONG_S = 10.0
#: A message may have 16 MiB, and eight checks run side by side; each holds it once or twice.
MEMORY_BYTES = 256 * 2**20
PLENTY = bytes(2**22)

Script = Callable[[Peer], None]


#: How long a flood lets others run, between what it sends at once.
_TURN_S = 0.0005


def flood(peer: Peer, data: bytes) -> None:
    """Send `data` repeatedly until the peer disconnects, yielding to other threads."""
    with contextlib.suppress(OSError):
        while not peer.stopping.wait(_TURN_S):
            peer.send(data)


# --- what they do before the handshake is done ----------------------------------------------------


def garbage(peer: Peer) -> None:
    flood(peer, bytes(range(256)) * 64)


def endless_header_line(peer: Peer) -> None:
    peer.send(b"HTTP/1.1 101 Switching Protocols\r\nX-Filler: ")
    flood(peer, b"x" * 65536)


def endless_headers(peer: Peer) -> None:
    peer.send(b"HTTP/1.1 200 OK\r\n")
    flood(peer, b"Set-Cookie: a=b\r\n" * 1000)


def endless_interim_answers(peer: Peer) -> None:
    flood(peer, b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n" * 100)


def drips(peer: Peer) -> None:
    peer.drip(b"HTTP/1.1 101 Switching Protocols\r\nX-Header: ")


def never_reads(peer: Peer) -> None:
    peer.stopping.wait(PATIENCE_S)


def gzip_bomb(peer: Peer) -> None:
    bomb = b"\x1f\x8b\x08" + b"\x00" * 65536
    peer.send(b"HTTP/1.1 404 Not Found\r\nContent-Encoding: gzip\r\n\r\n")
    flood(peer, bomb)


def endless_chunk(peer: Peer) -> None:
    peer.send(b"HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffff\r\n")
    flood(peer, PLENTY)


# --- and after it ---------------------------------------------------------------------------------


def upgraded(then: Script) -> Script:
    def script(peer: Peer) -> None:
        if (peer.header("Upgrade") or "").lower() != "websocket":
            peer.answer("426 Upgrade Required")
            return
        peer.upgrade()
        then(peer)

    script.__name__ = then.__name__
    return script


@upgraded
def nothing_more(peer: Peer) -> None:
    peer.until_it_leaves()


@upgraded
def gigabyte_announced(peer: Peer) -> None:
    peer.send(b"\x82\x7f" + struct.pack("!Q", 2**30))
    peer.until_it_leaves()


@upgraded
def gigabyte_sent(peer: Peer) -> None:
    peer.send(b"\x82\x7f" + struct.pack("!Q", 2**30))
    flood(peer, PLENTY)


@upgraded
def gigabyte_in_fragments(peer: Peer) -> None:
    peer.send(b"\x02\x00")
    flood(peer, b"\x00\x7f" + struct.pack("!Q", len(PLENTY)) + PLENTY)


@upgraded
def endless_empty_fragments(peer: Peer) -> None:
    peer.send(b"\x02\x00")
    flood(peer, b"\x00\x00" * 1024)


@upgraded
def endless_pings(peer: Peer) -> None:
    flood(peer, b"\x89\x04ping" * 1000)


@upgraded
def endless_messages(peer: Peer) -> None:
    flood(peer, b"\x81\x7e\xff\xff" + b"x" * 65535)


@upgraded
def drips_a_frame(peer: Peer) -> None:
    peer.send(b"\x82\x7e\xff\xff")
    peer.drip(b"x")


@upgraded
def frames_of_garbage(peer: Peer) -> None:
    peer.send(b"\xff\xff\xff\xff")
    flood(peer, PLENTY)


def deflates_unasked(peer: Peer) -> None:
    if (peer.header("Upgrade") or "").lower() == "websocket":
        peer.upgrade("Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=8")
        flood(peer, b"\xc1\x05\xf2\x48\xcd\xc9\xc9")
    else:
        peer.answer("426 Upgrade Required")


PEERS: dict[Script, str] = {
    garbage: "not-http",
    endless_header_line: "endless-headers",
    endless_headers: "endless-headers",
    endless_interim_answers: "endless-headers",
    drips: "timeout",
    never_reads: "timeout",
    gzip_bomb: "backend-not-websocket",
    endless_chunk: "backend-not-websocket",
    nothing_more: "no-pong",
    gigabyte_announced: "message-too-big",
    gigabyte_sent: "message-too-big",
    gigabyte_in_fragments: "message-too-big",
    endless_empty_fragments: "no-pong",
    endless_pings: "no-pong",
    endless_messages: "no-pong",
    drips_a_frame: "no-pong",
    frames_of_garbage: "protocol-error",
    deflates_unasked: "bad-negotiation",
}


@contextlib.contextmanager
def bounded() -> Iterator[None]:
    """Fails where this process grows by more than it may at any moment of what is done inside.

    The kernel keeps count of the most that was ever resident, and 5 sets that back: proc(5).
    """
    Path("/proc/self/clear_refs").write_text("5")
    before = resident_most_bytes()
    yield
    grown = resident_most_bytes() - before
    assert grown < MEMORY_BYTES, f"{grown >> 20} MiB more at once"


def resident_most_bytes() -> int:
    status = Path("/proc/self/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024


def a_site(port: int, *, issuer: str = "none", checks: tuple[Check, ...] = ()) -> Site:
    route = Route(
        path="/ws", websocket=True, upstreams=(Upstream(host="127.0.0.1", port=port),), origins=None
    )
    return Site(domain=NAME, tls=Tls(issuer=issuer), routes=(route,), verify=checks)


def verified(
    site: Site, *, front: int, port_80: int = 1, timeout_s: float = SHORT_S
) -> tuple[CheckResult, ...]:
    began = time.monotonic()
    results = verify_site(
        site,
        dial=dial,
        proxy=ProxyAddress(https_port=front, http_port=port_80 if site.has_tls else front),
        limits=Limits(timeout_s=timeout_s, patience_s=0),
    )
    longest_s = required_s([site], timeout_s=timeout_s, patience_s=0)
    assert time.monotonic() - began < at_most(longest_s + 5)
    return results


def named(found: set[str], code: str) -> bool:
    """Whether `code` alone was found; whom the clock ends, it may end at an earlier step."""
    if code in ("no-pong", "timeout"):
        return bool(found) and found <= {"no-pong", "timeout", "service-hangs", "check-failed"}
    return found == {code}


def limit_s(code: str) -> float:
    return SHORT_S if code in ("no-pong", "timeout", "tls-stalled") else LONG_S


def codes(results: tuple[CheckResult, ...], hop: str) -> set[str]:
    found: list[Finding] = [result.finding for result in results if result.finding is not None]
    return {finding.code for finding in found if finding.hop == hop and finding.severity == "error"}


@pytest.mark.parametrize("script", PEERS, ids=lambda script: script.__name__)
def test_a_hostile_service(script: Script) -> None:
    with Server(script) as service, Server(script) as front, bounded():
        timeout_s = limit_s(PEERS[script])
        results = verified(a_site(service.port), front=front.port, timeout_s=timeout_s)
    assert not any(result.ok for result in results if result.name == "handshake")
    assert named(codes(results, "backend"), PEERS[script])


@pytest.mark.parametrize("script", PEERS, ids=lambda script: script.__name__)
def test_a_hostile_proxy_in_front_of_a_healthy_service(script: Script, healthy: int) -> None:
    with Server(script) as front, bounded():
        results = verified(a_site(healthy), front=front.port, timeout_s=limit_s(PEERS[script]))
    proxy_diagnosis = {"backend-not-websocket": "wrong-route"}.get(PEERS[script], PEERS[script])
    found = codes(results, "proxy") - {"origin-open"}  # it does open for every origin
    assert named(found, proxy_diagnosis)
    assert codes(results, "backend") <= {"check-failed"}


@pytest.fixture(scope="module")
def healthy() -> Iterator[int]:
    with websocket_service() as port:
        yield port


def test_a_healthy_service_has_no_finding(healthy: int) -> None:
    fine = Front(backend_port=healthy, origins=(f"http://{NAME}",))
    checks = (Check(path="/ws", send="ping", expect="pong"),)
    with Server(fine) as front, bounded():
        results = verified(a_site(healthy, checks=checks), front=front.port, timeout_s=LONG_S)
    assert [result for result in results if not result.ok] == []


def test_an_expected_message_in_a_flood_of_others(healthy: int) -> None:
    checks = (Check(path="/ws", expect="never comes"),)
    with Server(endless_messages) as service, Server(endless_messages) as front, bounded():
        results = verified(a_site(service.port, checks=checks), front=front.port)
    assert [result.ok for result in results if result.name == "handshake"] == [False, False]


# --- in the TLS handshake -------------------------------------------------------------------------

# A ServerHello's record that announces 200 bytes, of which a part comes (RFC 8446, section 5.1).
_BEGINNING = b"\x16\x03\x03\x00\xc8\x02\x00\x00\xc4\x03\x03" + bytes(40)


def stops_half_way(peer: Peer) -> None:
    peer.connection.recv(4096)
    peer.send(_BEGINNING)
    peer.until_it_leaves()


def drips_tls(peer: Peer) -> None:
    peer.connection.recv(4096)
    peer.drip(_BEGINNING)


def says_nothing(peer: Peer) -> None:
    peer.until_it_leaves()


def tls_garbage(peer: Peer) -> None:
    peer.connection.recv(4096)
    flood(peer, b"\x16\x03\x03\x40\x00" + b"\xee" * 0x4000)


def no_tls_at_all(peer: Peer) -> None:
    peer.connection.recv(4096)
    flood(peer, b"SSH-2.0-OpenSSH_9.2\r\n")


def huge_records(peer: Peer) -> None:
    peer.connection.recv(4096)
    peer.send(b"\x16\x03\x03\xff\xff")
    flood(peer, PLENTY)


@pytest.mark.parametrize(
    ("script", "code"),
    [
        (stops_half_way, "tls-stalled"),
        (drips_tls, "tls-stalled"),
        (says_nothing, "tls-stalled"),
        (tls_garbage, "tls-failed"),
        (huge_records, "tls-failed"),
        (no_tls_at_all, "tls-not-spoken"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_hostile_tls_server(script: Script, code: str, healthy: int) -> None:
    with (
        Server(script, reads_head=False) as front,
        Server(redirecting) as port_80,
        bounded(),
    ):
        site = a_site(healthy, issuer="internal")
        results = verified(site, front=front.port, port_80=port_80.port, timeout_s=limit_s(code))
    assert codes(results, "proxy") == {code}
    assert codes(results, "backend") == set()
