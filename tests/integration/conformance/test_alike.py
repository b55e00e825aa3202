"""One site behind three proxies: every header and every frame of theirs, compared.

What may differ is named here: `Date`, the name in `Server`, how a proxy says that a connection goes
on, and the words of the error pages and the marks of files that are its own.
"""

from __future__ import annotations

import socket
from operator import itemgetter
from typing import Any

import pytest

from tests.integration.conformance.world import DOMAIN, PLAIN, UPGRADE, Answer, World, read_answer

pytestmark = pytest.mark.lab

_OWN = {"date", "server", "connection", "keep-alive"}
_OF_ONE_HOP = {"connection", "keep-alive", "te", "expect", "transfer-encoding", "content-length"}
#: Of what a proxy says itself, and not a service.
_OWN_PAGE = {
    "content-length",
    "content-type",
    "etag",
    "last-modified",
    "accept-ranges",
    "cache-control",
}

_REQUESTS: list[tuple[str, dict[str, Any]]] = [
    ("/ws", {}),
    ("/ws/x%2Fy?q=%20", {}),
    ("/ws", {"method": "HEAD"}),
    ("/ws", {"method": "POST", "headers": ["Content-Length: 3"], "body": b"abc"}),
    ("/ws", {"method": "POST", "headers": ["Transfer-Encoding: chunked"], "body": b"0\r\n\r\n"}),
    ("/ws", {"headers": ["Accept-Encoding: gzip", "If-None-Match: x"]}),
    (
        "/ws",
        {"headers": ["X-Forwarded-For: 6.6.6.6", "Forwarded: for=6.6.6.6", "X-A: 1", "X-A: 2"]},
    ),
    ("/ws", {"headers": ["Expect: 100-continue", "Content-Length: 0"], "method": "POST"}),
    ("/cut/x?y", {"headers": ["Origin: https://evil.example"]}),
    ("/plain", {"headers": ["Cookie: a=1", "Authorization: Basic eDp5", "TE: trailers"]}),
    ("/secure", {}),
    ("/ws/deep", {}),
    ("/a.b", {"name": PLAIN, "tls": False}),
    ("/", {}),
    ("/nothing", {}),
    ("/exact/", {}),
    ("/ws/x?y=%2F", {"tls": False}),
]


def said(world: World, target: str, *, headers: tuple[str, ...] = (), **options: Any) -> Answer:
    return world.ask(target, *headers, **options)


def of_the_service(answer: Answer) -> bool:
    return "x-of-the-service" in answer


def comparable(answer: Answer) -> tuple[int, list[tuple[str, str]], Any]:
    """What has to be the same: headers by name, those of one name in their order."""
    own = _OWN | ({"content-length"} if of_the_service(answer) else _OWN_PAGE)
    headers = sorted((pair for pair in answer.headers if pair[0] not in own), key=itemgetter(0))
    body: Any = None
    if of_the_service(answer) and answer.body:
        body = {**answer.echoed.document, "headers": {}}
        for name, value in answer.echoed.document["headers"]:
            # How a proxy speaks to a service is its own business, as is whether it writes two
            # values in one row (RFC 9110, section 5.3).
            if name.lower() not in _OF_ONE_HOP:
                body["headers"].setdefault(name.lower(), []).extend(value.split(", "))
    return answer.status, headers, body


def without_hsts(answer: Answer) -> tuple[int, list[tuple[str, str]], Any]:
    """The same; Apache adds no headers to a 101."""
    status, headers, body = comparable(answer)
    return status, [pair for pair in headers if pair[0] != "strict-transport-security"], body


@pytest.mark.parametrize(
    ("target", "options"),
    _REQUESTS,
    ids=[f"{n}-{target}" for n, (target, _) in enumerate(_REQUESTS)],
)
def test_the_same_answer(alike: list[World], target: str, options: dict[str, Any]) -> None:
    first, *others = [comparable(said(world, target, **options)) for world in alike]
    for other, world in zip(others, alike[1:], strict=True):
        assert other == first, world.front


@pytest.mark.parametrize(
    "words", [(), ("Origin: https://evil.example",), (f"Origin: https://{DOMAIN}",)]
)
@pytest.mark.parametrize(
    "more",
    [
        (),
        ("Sec-WebSocket-Protocol: v2.chat",),
        ("Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",),
    ],
)
def test_the_same_handshake(
    alike: list[World], words: tuple[str, ...], more: tuple[str, ...]
) -> None:
    first, *others = [without_hsts(world.upgrade("/ws", *words, *more)) for world in alike]
    for other, world in zip(others, alike[1:], strict=True):
        assert other == first, world.front
    assert first[0] == (403 if "evil" in "".join(words) else 101)


def masked(first: int, payload: bytes) -> bytes:
    """A client's frame; its mask of zeros leaves the payload as it is."""
    size = len(payload)
    length = bytes([0x80 | size]) if size < 126 else bytes([0xFF]) + size.to_bytes(8, "big")
    return bytes([first]) + length + bytes(4) + payload


@pytest.mark.parametrize("name", [DOMAIN, PLAIN])
def test_methods_for_proxies(alike: list[World], name: str) -> None:
    tls = name == DOMAIN
    asked = [("TRACE", "/ws"), ("TRACE", "/a.b"), ("CONNECT", f"{name}:{443 if tls else 80}")]
    found = {
        (world.front, method, target): world.ask(target, method=method, name=name, tls=tls).status
        for world in alike
        for method, target in asked
    }
    for (front, method, target), status in found.items():
        assert status == (405 if method == "TRACE" else 400), (front, method, target)


def test_a_malformed_connect(alike: list[World]) -> None:
    for world in alike:
        assert world.ask("/ws", method="CONNECT").status in (400, 405)


_KEY = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
_ODD_UPGRADES: dict[str, tuple[str, list[str]]] = {
    "POST": ("POST", ["Sec-WebSocket-Version: 13", _KEY, "Content-Length: 0"]),
    "PUT": ("PUT", ["Sec-WebSocket-Version: 13", _KEY, "Content-Length: 0"]),
    "HEAD": ("HEAD", ["Sec-WebSocket-Version: 13", _KEY]),
    "version 8": ("GET", ["Sec-WebSocket-Version: 8", _KEY]),
    "version 0": ("GET", ["Sec-WebSocket-Version: 0", _KEY]),
    "version 14": ("GET", ["Sec-WebSocket-Version: 14", _KEY]),
    "two versions": ("GET", ["Sec-WebSocket-Version: 13, 8", _KEY]),
    "no version": ("GET", [_KEY]),
}


@pytest.mark.parametrize("name", _ODD_UPGRADES)
@pytest.mark.parametrize("origin", [f"https://{DOMAIN}", "https://evil.example"])
@pytest.mark.parametrize("path", ["/ws", "/plain"])
def test_odd_upgrades(alike: list[World], name: str, origin: str, path: str) -> None:
    method, rows = _ODD_UPGRADES[name]
    rows = ["Connection: Upgrade", "Upgrade: websocket", f"Origin: {origin}", *rows]
    first, *others = [without_hsts(world.ask(path, *rows, method=method)) for world in alike]
    for other, world in zip(others, alike[1:], strict=True):
        assert other == first, world.front


_FRAMES = {
    "text": masked(0x81, "grüß dich".encode()),
    "binary": masked(0x82, bytes(range(125))),
    "empty": masked(0x81, b""),
    "large": masked(0x82, bytes(range(256)) * 1024),
    "fragments": masked(0x01, b"one ") + masked(0x00, b"two ") + masked(0x80, b"three"),
    "ping between fragments": masked(0x01, b"one ") + masked(0x89, b"?") + masked(0x80, b"two"),
    "compressed": masked(0xC1, b"\xf2\x48\xcd\xc9\xc9\x07\x00"),  # RFC 7692, section 7.2.3.1
    "reserved bits": masked(0xB1, b"unknown"),
    "reserved kind": masked(0x8B, b"unknown"),
    "close": masked(0x88, (4001).to_bytes(2, "big") + b"as agreed"),
}


@pytest.mark.parametrize("name", _FRAMES)
def test_the_same_frames(alike: list[World], name: str) -> None:
    sent = _FRAMES[name] + masked(0x88, (1000).to_bytes(2, "big"))
    first, *others = [everything(world, sent) for world in alike]
    for other, world in zip(others, alike[1:], strict=True):
        assert other == first, world.front


def everything(world: World, sent: bytes) -> bytes:
    """All that comes back, to the end of the connection, after the service's first message."""
    with world.connect() as line:
        rows = ["GET /ws HTTP/1.1", f"Host: {DOMAIN}", *UPGRADE, "", ""]
        line.sendall("\r\n".join(rows).format("websocket").encode())
        received = b""
        while b"\r\n\r\n" not in received:
            received += line.recv(65536)
        head, _, received = received.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 ")
        line.sendall(sent)
        while data := _more(line):
            received += data
    size = int.from_bytes(received[2:4], "big")
    assert received[:2] == bytes([0x81, 126])
    return received[4 + size :]


def _more(line: socket.socket) -> bytes:
    try:
        return line.recv(65536)
    except ConnectionResetError:
        return b""


def test_the_same_connection_serves_many_requests(alike: list[World]) -> None:
    for world in alike:
        with world.connect() as line:
            for number in range(20):
                line.sendall(f"GET /ws?{number} HTTP/1.1\r\nHost: {DOMAIN}\r\n\r\n".encode())
                assert read_answer(line).echoed.target == f"/ws?{number}"
