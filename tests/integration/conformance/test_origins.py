"""Which pages may connect, and that nothing but a WebSocket is ever upgraded to."""

from __future__ import annotations

import pytest

from tests.integration.conformance.world import ALIAS, DOMAIN, PLAIN, Echoed, World

pytestmark = pytest.mark.lab

_CASES = [
    ("/ws", None, 101),
    ("/ws", f"https://{DOMAIN}", 101),
    ("/ws", f"https://{DOMAIN}:443", 101),
    ("/ws", f"https://{DOMAIN.upper()}", 101),
    ("/ws", f"HTTPS://{DOMAIN}", 101),
    ("/ws", f"https://{ALIAS}", 101),
    ("/ws", f"http://{DOMAIN}", 403),
    ("/ws", f"https://{DOMAIN}:444", 403),
    ("/ws", f"https://{DOMAIN}.evil.example", 403),
    ("/ws", f"https://evil.example/{DOMAIN}", 403),
    ("/ws", f"https://{DOMAIN}@evil.example", 403),
    ("/ws", f"xhttps://{DOMAIN}", 403),
    ("/ws", "https://liveXexample.com", 403),
    ("/ws", "https://evil.example", 403),
    ("/ws", "null", 403),
    ("/strict", None, 403),
    ("/strict", "https://a.example", 101),
    ("/strict", "https://a.example:443", 101),
    ("/strict", "https://b.example:8443", 101),
    ("/strict", "https://b.example", 403),
    ("/strict", f"https://{DOMAIN}", 403),
    ("/strict", "null", 403),
    ("/open", "https://evil.example", 101),
    ("/open", "null", 101),
    ("/open", None, 101),
    ("/ws/deep", "https://evil.example", 403),
    ("/exact", "https://evil.example", 403),
    ("/cut/x", "https://evil.example", 403),
    ("/pair", "https://evil.example", 403),
]


@pytest.mark.every_release
@pytest.mark.parametrize(("path", "origin", "status"), _CASES)
def test_origins(world: World, path: str, origin: str | None, status: int) -> None:
    headers = [f"Origin: {origin}"] if origin else []
    assert world.upgrade(path, *headers).status == status


@pytest.mark.parametrize("word", ["WebSocket", "WEBSOCKET"])
def test_whatever_the_case_of_the_word(world: World, word: str) -> None:
    assert world.upgrade("/ws", to=word).status == 101
    assert world.upgrade("/ws", "Origin: https://evil.example", to=word).status == 403


@pytest.mark.every_release
@pytest.mark.parametrize(
    ("origins", "status"),
    [
        ((f"https://{DOMAIN}", "https://evil.example"), 101),
        (("https://evil.example", f"https://{DOMAIN}"), 403),
        ((f"https://{DOMAIN}", f"https://{DOMAIN}"), 101),
        ((f"https://{DOMAIN}, https://evil.example",), 101),
        ((f"https://evil.example, https://{DOMAIN}",), 403),
        ((f"https://evil.example,https://{DOMAIN}",), 403),
        (("",), 101),
    ],
)
def test_the_first_of_several_origins_counts(
    world: World, origins: tuple[str, ...], status: int
) -> None:
    rows = [f"Origin: {origin}" for origin in origins]
    answer = world.upgrade("/ws", *rows)
    assert answer.status == status
    if status == 101:
        assert answer.echoed.header("Origin") in ([f"https://{DOMAIN}"], [""], [])
    assert world.upgrade("/strict", *rows).status == 403


def test_origins_matter_for_upgrades_only(world: World) -> None:
    assert world.ask("/ws", "Origin: https://evil.example").status == 200
    assert world.ask("/strict").status == 200


def test_a_site_without_tls_knows_its_own_origin(world: World) -> None:
    for origin, status in ((f"http://{PLAIN}", 101), (f"https://{PLAIN}", 403)):
        answer = world.upgrade("/a.b", f"Origin: {origin}", name=PLAIN, tls=False)
        assert answer.status == status


def everywhere(world: World, path: str, to: str) -> list[Echoed]:
    """What an upgrade makes of a request, with TLS and without."""
    http2 = "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA"
    plain = path if path == "/plain" else "/a.b"
    return [
        world.upgrade(path, http2, to=to).echoed,
        world.upgrade(plain, http2, to=to, name=PLAIN, tls=False).echoed,
    ]


@pytest.mark.every_release
@pytest.mark.parametrize("word", ["h2c", "H2C", "h2c, tls/1.3", "tls/1.3", "xwebsocket"])
@pytest.mark.parametrize("path", ["/ws", "/plain", "/cut"])
def test_no_other_upgrade_reaches_the_service(world: World, word: str, path: str) -> None:
    for found in everywhere(world, path, to=word):
        assert found.header("Upgrade") == []
        assert "upgrade" not in [value.lower() for value in found.header("Connection")]


@pytest.mark.every_release
@pytest.mark.parametrize("words", ["websocket, h2c", "h2c, websocket"])
@pytest.mark.parametrize("path", ["/ws", "/plain", "/cut"])
def test_nor_next_to_a_websocket(world: World, words: str, path: str) -> None:
    for found in everywhere(world, path, to=words):
        # HAProxy 3.0 takes the other word away; the others take it for no WebSocket.
        assert found.header("Upgrade") in ([], ["websocket"])
        assert path != "/plain" or found.header("Upgrade") == []


@pytest.mark.every_release
def test_a_plain_route_does_not_upgrade(world: World) -> None:
    answer = world.upgrade("/plain")
    assert answer.echoed.header("Upgrade") == []
    assert world.upgrade("/plain", "Origin: https://evil.example").status == 200
