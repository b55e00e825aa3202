"""HTTP/2 for clients, and WebSockets over it if the proxy supports that; over HTTP/1.1 if not."""

from __future__ import annotations

import json

import pytest

from tests.integration.conformance.http2 import Http2, negotiated
from tests.integration.conformance.world import DOMAIN, Echoed, Front, World, echoed

pytestmark = [pytest.mark.lab, pytest.mark.every_release]


def has_rfc8441(front: Front) -> bool:
    """HAProxy from 2.4. Apache could, and would hold back the first message: see its role."""
    return front.proxy == "haproxy" and front.image != "debian-11"


def test_a_request(world: World) -> None:
    with Http2(world) as client:
        assert client.ask("/").body == b"home\n"
        answer = client.ask("/plain/x%2Fy?q", ("x-forwarded-for", "6.6.6.6"))
        assert answer["strict-transport-security"] == "max-age=600"
        found = answer.echoed
        assert found.target == "/plain/x%2Fy?q"
        assert found.header("Host") == [DOMAIN]
        assert found.header("X-Forwarded-For") == [world.own_address]
        assert found.header("X-Forwarded-Proto") == ["https"]
        assert found.header("X-Forwarded-Host") == [DOMAIN]
        assert client.ask("/plain", body=b"x" * 30_000).echoed.document["body_bytes"] == 30_000
        assert client.ask("/nothing").status == 404
        assert client.ask("/cut/x").echoed.target == "/x"


def test_http1_next_to_it(world: World) -> None:
    for offered, chosen in (("h2", "h2"), ("http/1.1", "http/1.1")):
        with world.connect(alpn=offered) as line:
            assert negotiated(line) == chosen
    with world.connect() as line:
        assert negotiated(line) is None
    with world.open("/ws") as connection:
        assert echoed(connection).service == "echo"


def test_it_is_announced_where_the_proxy_can(world: World) -> None:
    with Http2(world) as client:
        client.ask("/")
        assert client.allows_websockets == has_rfc8441(world.front)


@pytest.mark.parametrize(
    "path", ["/ws", "/ws/deep/x", "/cut/x%2Fy?q", "/exact", "/secure", "/pair"]
)
def test_a_websocket_over_http2(world: World, path: str) -> None:
    if not has_rfc8441(world.front):
        with Http2(world) as client:
            assert not client.allows_websockets
        return
    with Http2(world) as client:
        client.ask("/")
        answer = client.connect(path, ("origin", f"https://{DOMAIN}"))
        assert answer.status == 200
        found = Echoed(json.loads(client.exchange()))
        assert found.target == path.removeprefix("/cut")
        assert found.header("Upgrade") == ["websocket"]
        assert found.header("X-Forwarded-For") == [world.own_address]
        assert found.header("Host") == [DOMAIN]
        for text in ("hello", "again"):
            assert client.exchange(text) == text


@pytest.mark.parametrize(
    ("path", "origin", "status"),
    [
        ("/ws", f"https://{DOMAIN}:443", 200),
        ("/ws", None, 200),
        ("/ws", "https://evil.example", 403),
        ("/ws", f"http://{DOMAIN}", 403),
        ("/strict", None, 403),
        ("/strict", "https://a.example", 200),
        ("/open", "https://evil.example", 200),
        ("/exact/", None, 404),
    ],
)
def test_origins_over_http2(world: World, path: str, origin: str | None, status: int) -> None:
    headers = [("origin", origin)] if origin else []
    with Http2(world) as client:
        client.ask("/")
        if client.allows_websockets:
            assert client.connect(path, *headers).status == status
        else:
            assert not has_rfc8441(world.front)


def test_a_plain_route_is_no_websocket_over_http2_either(world: World) -> None:
    with Http2(world) as client:
        client.ask("/")
        if client.allows_websockets:
            answer = client.connect("/plain")
            assert answer.status != 200 or Echoed(json.loads(answer.body)).header("Upgrade") == []
        else:
            assert not has_rfc8441(world.front)
