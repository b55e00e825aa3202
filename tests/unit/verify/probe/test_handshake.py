"""One handshake with a misbehaving peer: a clear failure, in time, and never a crash."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from deployer.verify.net.access import Access
from deployer.verify.net.stream import Deadline
from deployer.verify.probe.attempt import Attempt, printable
from deployer.verify.probe.handshake import attempt_upgrade
from deployer.verify.probe.spec import Endpoint, UpgradeProbe
from tests.support.servers.scripted import Peer, Server, closed_port, dial, websocket_service
from tests.support.waiting import at_most

SHORT_S = 0.06


def attempted(port: int, *, timeout_s: float = 5.0, **probe: Any) -> Attempt:
    asked = UpgradeProbe(
        uri="ws://stats.example.com/ws",
        hop="backend",
        endpoint=Endpoint(host="127.0.0.1", port=port),
        target="/ws",
        headers=(("Host", "stats.example.com"),),
    )
    access = Access(dial=dial, timeout_s=timeout_s, until=Deadline(20.0))
    return attempt_upgrade(replace(asked, **probe), access)


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True) -> bytes:
    return bytes([(0x80 if fin else 0) | opcode, len(payload)]) + payload


def pong_to(received: bytes) -> bytes:
    """The pong to a client's ping: its payload, unmasked (RFC 6455, section 5.3)."""
    start = received.index(b"\x89\x88")
    mask, masked = received[start + 2 : start + 6], received[start + 6 : start + 14]
    return frame(0xA, bytes(byte ^ mask[i % 4] for i, byte in enumerate(masked)))


# --- peers ----------------------------------------------------------------------------------------


def closes(peer: Peer) -> None:
    """Send nothing."""


def resets(peer: Peer) -> None:
    peer.connection.setsockopt(1, 13, struct.pack("ii", 1, 0))  # SO_LINGER 0: a reset on close


def never_answers(peer: Peer) -> None:
    peer.until_it_leaves()


def drips_a_head(peer: Peer) -> None:
    peer.send(b"HTTP/1.1 101 Switching Protocols\r\n")
    peer.drip(b"X-Header: endless\r\n")


def huge_head(peer: Peer) -> None:
    peer.send(b"HTTP/1.1 101 Switching Protocols\r\n" + b"X-Header: endless\r\n" * 4000)
    peer.until_it_leaves()


def half_a_head(peer: Peer) -> None:
    peer.send(b"HTTP/1.1 101 Swi")


def speaks_ssh(peer: Peer) -> None:
    peer.send(b"SSH-2.0-OpenSSH_9.2\r\n")
    peer.until_it_leaves()


def sends_zeros(peer: Peer) -> None:
    peer.send(bytes(1000))
    peer.until_it_leaves()


def sends_a_tls_alert(peer: Peer) -> None:
    peer.send(b"\x15\x03\x01\x00\x02\x02\x46")


def malformed_status(peer: Peer) -> None:
    peer.send(b"HTTP/1.1 abc Hello\r\n\r\n")


def http_2_by_name(peer: Peer) -> None:
    peer.send(b"HTTP/2 101 Switching Protocols\r\n\r\n")


def bare_101(peer: Peer) -> None:
    peer.answer("101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade")


def no_upgrade_header(peer: Peer) -> None:
    accept = f"Sec-WebSocket-Accept: {peer.accept}"
    peer.answer("101 Switching Protocols", "Connection: Upgrade", accept)


def closing_connection_header(peer: Peer) -> None:
    accept = f"Sec-WebSocket-Accept: {peer.accept}"
    peer.answer("101 Switching Protocols", "Upgrade: websocket", "Connection: close", accept)


def unwanted_subprotocol(peer: Peer) -> None:
    peer.upgrade("Sec-WebSocket-Protocol: chat.v9")


def unwanted_extension(peer: Peer) -> None:
    peer.upgrade("Sec-WebSocket-Extensions: permessage-deflate")


def masked_frame(peer: Peer) -> None:
    peer.upgrade()
    peer.send(b"\x81\x81abcd\x00")
    peer.until_it_leaves()


def enormous_frame(peer: Peer) -> None:
    peer.upgrade()
    peer.send(b"\x82\x7f" + struct.pack("!Q", 2**40))
    peer.until_it_leaves()


def never_pongs(peer: Peer) -> None:
    peer.upgrade()
    peer.until_it_leaves()


def pongs_wrongly(peer: Peer) -> None:
    peer.upgrade()
    peer.send(frame(0xA, b"not that"))
    peer.until_it_leaves()


def fails_inside(peer: Peer) -> None:
    peer.upgrade()
    peer.send(frame(0x8, struct.pack("!H", 1011) + b"boom"))
    peer.until_it_leaves()


def drips_a_message(peer: Peer) -> None:
    peer.upgrade()
    peer.send(b"\x82\x7e\xff\xff")
    peer.drip(b"x")


@pytest.mark.parametrize(
    ("script", "code", "says"),
    [
        (closes, "closed", "closed the connection without an answer"),
        (resets, "closed", "the connection"),
        (huge_head, "endless-headers", "32 KiB"),
        (half_a_head, "closed", "in the middle of its answer"),
        (speaks_ssh, "not-http", "not HTTP"),
        (sends_zeros, "not-http", "not HTTP"),
        (sends_a_tls_alert, "speaks-tls", "answered plain HTTP with TLS"),
        (malformed_status, "not-http", "malformed"),
        (http_2_by_name, "not-http", "malformed"),
        (bare_101, "wrong-accept", "without Sec-WebSocket-Accept"),
        (no_upgrade_header, "incomplete-upgrade", "no Upgrade header"),
        (closing_connection_header, "incomplete-upgrade", '"Connection: close"'),
        (unwanted_subprotocol, "bad-negotiation", "not offered"),
        (unwanted_extension, "bad-negotiation", "not offered"),
        (masked_frame, "protocol-error", "RFC 6455 forbids"),
        (enormous_frame, "message-too-big", "16 MiB"),
        (fails_inside, "closed-by-peer", "with code 1011 (boom)"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_peer_that_misbehaves(script: Callable[[Peer], None], code: str, says: str) -> None:
    with Server(script) as server:
        attempt = attempted(server.port)
    assert attempt.failure is not None
    assert (attempt.failure.code, attempt.answer.error) == (code, attempt.failure.words)
    assert says in attempt.failure.words


@pytest.mark.parametrize(
    ("script", "code", "says"),
    [
        (never_answers, "timeout", "did not answer the handshake within 0.06 s"),
        (drips_a_head, "timeout", "its headers had not ended after"),
        (never_pongs, "no-pong", "did not answer a ping"),
        (pongs_wrongly, "no-pong", "did not answer a ping"),
        (drips_a_message, "no-pong", "did not answer a ping"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_peer_that_keeps_us_waiting(script: Callable[[Peer], None], code: str, says: str) -> None:
    began = time.monotonic()
    with Server(script) as server:
        attempt = attempted(server.port, timeout_s=SHORT_S)
    assert attempt.failure is not None
    assert attempt.failure.code == code
    assert says in attempt.failure.words
    assert time.monotonic() - began < at_most(2)


@pytest.fixture(scope="module")
def healthy() -> Iterator[int]:
    with websocket_service() as port:
        yield port


def test_a_healthy_service_has_no_finding(healthy: int) -> None:
    attempt = attempted(healthy, subprotocols=("chat.v2",), send="ping", expect="pong\n")
    assert attempt.failure is None
    assert attempt.answer.subprotocol == "chat.v2"
    assert attempt.note == "first message: 18 bytes of JSON"


def test_nothing_listens() -> None:
    attempt = attempted(closed_port())
    assert attempt.failure is not None
    assert attempt.failure.words == "refuses connections: nothing listens there"


def test_a_polite_close_is_no_failure_unless_the_check_expects_more() -> None:
    def unauthorized(peer: Peer) -> None:
        peer.upgrade()
        peer.send(frame(0x1, b'{"event":"system/disconnect"}'))
        peer.send(frame(0x8, struct.pack("!H", 4401) + b"log in first"))
        peer.until_it_leaves()

    with Server(unauthorized) as server:
        attempt = attempted(server.port)
        demanding = attempted(server.port, expect="hello")
    assert attempt.failure is None
    assert "with code 4401 (log in first) right after the handshake" in attempt.note
    assert demanding.failure is not None
    assert "before the expected message 'hello' arrived" in demanding.failure.words
    assert "system/disconnect" in demanding.failure.evidence


def test_message_fragments_around_a_ping_are_joined() -> None:
    def talkative(peer: Peer) -> None:
        peer.upgrade()
        peer.send(frame(0x1, b'{"a"', fin=False) + frame(0x9, b"you?"))
        received = b""
        while b"\x8a\x84" not in received or b"\x89\x88" not in received:
            received += peer.connection.recv(4096)
        peer.send(frame(0x0, b": 1}") + pong_to(received))
        peer.connection.recv(4096)

    with Server(talkative) as server:
        attempt = attempted(server.port)
    assert attempt.failure is None
    assert attempt.note == "first message: 8 bytes of JSON"


def test_an_unexpected_message_is_quoted_without_what_was_sent(healthy: int) -> None:
    token = "token-0123456789abcdef"
    attempt = attempted(healthy, send=token, expect="welcome", timeout_s=0.1)
    assert attempt.failure is not None
    assert attempt.failure.code == "unexpected-message"
    assert attempt.failure.evidence == 'received: {"type":"welcome"} · (what was sent)'


def test_a_connection_that_ends_while_idle_says_how_and_when() -> None:
    def tires(peer: Peer) -> None:
        peer.upgrade()
        received = b""
        while b"\x89\x88" not in received or len(received) < 14:
            received += peer.connection.recv(4096)
        peer.send(pong_to(received))

    with Server(tires) as server:
        attempt = attempted(server.port, hold_s=5.0)
    assert attempt.failure is not None
    assert attempt.failure.code == "idle-cut"
    assert "without a Close frame after 0.0 s idle (5 s requested" in attempt.failure.words


def test_an_invalid_pattern_and_a_path_with_a_line_break(healthy: int) -> None:
    pattern = attempted(healthy, expect="(", expect_is_regex=True)
    injected = attempted(healthy, target="/ws HTTP/1.1\r\nX-Evil: 1")
    assert pattern.failure is not None
    assert "the expect pattern is invalid" in pattern.failure.words
    assert injected.failure is not None
    assert injected.failure.code == "bad-request"


def test_the_start_of_a_body_is_kept_for_every_framing() -> None:
    def endless(peer: Peer) -> None:
        peer.send(b"HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n")
        peer.send(b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n")
        peer.until_it_leaves()

    def enormous(peer: Peer) -> None:
        peer.send(b"HTTP/1.1 404 Not Found\r\nContent-Length: 99999999\r\n\r\n" + b"x" * 100_000)

    with Server(endless) as one, Server(enormous) as other:
        assert attempted(one.port).answer.body == b"hello world"
        assert len(attempted(other.port).answer.body) == 4096


def test_a_peer_cannot_write_to_the_terminal() -> None:
    assert printable(b"a\x1b[31mb\r\nc\x00") == "a�[31mb c�"
    assert printable("x" * 300) == "x" * 200 + "…"
