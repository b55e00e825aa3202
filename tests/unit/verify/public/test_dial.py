"""Connections from this machine: names, addresses, time limits; and requests without secrets."""

from __future__ import annotations

import socket
import threading
import time

import pytest

from deployer.errors import UsageError
from deployer.verify.net.redact import format_request, without_secrets
from deployer.verify.public.dial import PublicDial, overrides_from
from tests.support.servers.scripted import Peer, Server, closed_port
from tests.support.waiting import at_most

#: No resolver is asked for it: a label has 63 letters at most (RFC 1035, section 2.3.4).
UNKNOWN = f"{'x' * 64}.invalid"


def says_hello(peer: Peer) -> None:
    peer.send(b"hello")


def test_an_override_replaces_dns_only_for_its_port() -> None:
    dial = PublicDial(overrides_from([f"{UNKNOWN.upper()}:443:192.0.2.7,[2001:db8::1]"]))
    found = dial.lookup(UNKNOWN, 443)
    assert found.addresses == ("192.0.2.7", "2001:db8::1")
    assert found.is_overridden
    assert dial.addresses(UNKNOWN, 80) == ()
    assert "does not resolve" in dial.lookup(UNKNOWN, 80).problem


def test_connects_to_the_first_address_that_answers() -> None:
    with Server(says_hello, reads_head=False) as server:
        dial = PublicDial({("a.invalid", server.port): "127.0.0.2,127.0.0.1"})
        line = dial(host="a.invalid", port=server.port, timeout_s=5.0)
        with line:
            assert line.recv(5) == b"hello"
            assert line.getpeername()[0] == "127.0.0.1"


def test_nothing_listens_and_no_address_is_known() -> None:
    dial = PublicDial()
    with pytest.raises(ConnectionRefusedError):
        dial(host="127.0.0.1", port=closed_port(), timeout_s=5.0)
    with pytest.raises(socket.gaierror, match="does not resolve"):
        dial(host=UNKNOWN, port=443, timeout_s=5.0)


def test_an_address_that_never_answers_costs_its_time_limit_and_an_interrupt_none() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        filling = [socket.socket() for _ in range(4)]
        for each in filling:
            each.setblocking(False)
            each.connect_ex(("127.0.0.1", port))
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            PublicDial()(host="127.0.0.1", port=port, timeout_s=0.05)
        interrupt = threading.Event()
        interrupt.set()
        with pytest.raises(TimeoutError):
            PublicDial(interrupt=interrupt)(host="127.0.0.1", port=port, timeout_s=60.0)
        assert time.monotonic() - began < at_most(2)
        for each in filling:
            each.close()


@pytest.mark.parametrize(
    "given", ["a.example", "a.example:443", "a.example:https:192.0.2.1", ":443:192.0.2.1", "a:1:b"]
)
def test_an_invalid_override_is_refused(given: str) -> None:
    with pytest.raises(UsageError, match="NAME:PORT:ADDRESS"):
        overrides_from([given])


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/ws?token=abc&room=7", "/ws?token=…&room=7"),
        ("/chat/1?t=abc", "/chat/1?t=…"),
        ("/ws?password=a&usr=b", "/ws?password=…&usr=…"),
        ("/ws?auth_token=abc", "/ws?auth_token=…"),
        ("/ws?session_version_id=3&chat=token", "/ws?session_version_id=3&chat=token"),
        ("bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.sig", "bearer …"),
        ('{"access_token": "abc", "user": {"id": 1}}', '{"access_token": "…", "user": {"id": 1}}'),
        ("You sent\nCookie: sid=abc; b=c\nHost: a", "You sent\nCookie: …\nHost: a"),
        ("HTTP_COOKIE: no; Authorization: Basic abc", "HTTP_COOKIE: no; Authorization: …"),
        ('{"error": "invalid token", "code": 4001}', '{"error": "invalid token", "code": 4001}'),
        ("no cookie: log in first", "no cookie: log in first"),
    ],
)
def test_secrets_in_a_url_are_hidden(text: str, shown: str) -> None:
    assert without_secrets(text) == shown


def test_a_request_is_shown_without_credentials() -> None:
    headers = (("Host", "a.example"), ("Cookie", "sid=opensesame"), ("Sec-WebSocket-Key", "abc="))
    assert format_request("/ws", headers) == (
        "GET /ws HTTP/1.1\nHost: a.example\nCookie: …\nSec-WebSocket-Key: …"
    )
    endless = format_request("/ws", [("X-Long", "x" * 400)] * 100)
    assert len(endless) <= 4097
