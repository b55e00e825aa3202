"""What clients and services see with a real nginx between them."""

from __future__ import annotations

import contextlib
import json
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosedError, InvalidStatus

sys.path.insert(0, str(Path(__file__).parents[1] / "unit/cases/sites"))
import echo_backend
import live_nginx
import site_case
from ws_client import Client

pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(not live_nginx.NGINX, reason="nginx is not installed here"),
]

DOMAIN = "live.example.com"
UPGRADE = (
    "Connection: Upgrade\r\nUpgrade: {}\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


@dataclass
class World:
    """nginx, and the services behind it."""

    nginx: live_nginx.Live
    echo: echo_backend.Backend
    pair: dict[str, contextlib.ExitStack]

    def open(self, path: str, *, port: int | None = None, **options: Any) -> Client:
        """A WebSocket connection; `port` is what the client believes to be speaking to."""
        address = DOMAIN if port is None else f"{DOMAIN}:{port}"
        connection = self.nginx.socket(tls=True, name=DOMAIN)
        try:
            return Client(f"wss://{address}{path}", connection, **options)
        except BaseException:
            connection.close()
            raise

    def ask(
        self,
        path: str,
        *headers: str,
        tls: bool = True,
        host: str = DOMAIN,
        target: str | None = None,
        extra: str = "",
    ) -> tuple[int, dict[str, str], str]:
        """A GET as written: status, headers in lower case, body."""
        with self.nginx.socket(tls=tls, name=DOMAIN) as connection:
            lines = [f"GET {target or path} HTTP/1.1", f"Host: {host}", *headers]
            end = "" if extra else "Connection: close\r\n"
            connection.sendall(("\r\n".join(lines) + f"\r\n{extra}{end}\r\n").encode())
            return _response(connection)


def _response(connection: socket.socket) -> tuple[int, dict[str, str], str]:
    data = b""
    while b"\r\n\r\n" not in data and (more := connection.recv(65536)):
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    while len(body) < int(headers.get("content-length", "0")):
        body += connection.recv(65536)
    return int(status.split()[1]), headers, body.decode(errors="replace")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("nginx")
    (folder / "www/pub/sub").mkdir(parents=True)
    (folder / "www/index.html").write_text("home\n")
    (folder / "www/pub/index.html").write_text("public\n")
    (folder / "www/pub/sub/index.html").write_text("sub\n")
    with contextlib.ExitStack() as stack:
        echo = stack.enter_context(echo_backend.running("echo"))
        in_socket = stack.enter_context(
            echo_backend.running("socket", socket_path=str(folder / "app.sock"))
        )
        pair = {name: stack.enter_context(contextlib.ExitStack()) for name in ("first", "second")}
        addresses = [
            alone.enter_context(echo_backend.running(name)).address for name, alone in pair.items()
        ]
        main = site_case.site(
            domain=DOMAIN,
            aliases=["www.example.net"],
            tls={"issuer": "internal", "hsts_s": 600},
            routes=[
                {"path": "/", "root": str(folder / "www")},
                {"path": "/manual", "root": str(folder / "www/pub"), "strip_prefix": True},
                {"path": "/pub", "root": str(folder / "www")},
                {"path": "/ws", "websocket": echo.address},
                {"path": "/ws/deep", "websocket": in_socket.address},
                {"path": "/exact", "match": "exact", "websocket": echo.address},
                {"path": "/cut", "websocket": echo.address, "strip_prefix": True},
                {
                    "path": "/strict",
                    "websocket": echo.address,
                    "require_origin": True,
                    "origins": ["https://a.example", "https://b.example:8443"],
                },
                {"path": "/open", "websocket": echo.address, "origins": ["any"]},
                {"path": "/brief", "websocket": echo.address, "idle_timeout_s": 0.5},
                {"path": "/pair", "websocket": addresses},
                {"path": "/plain", "upstream": echo.address},
                {"path": "/gone", "websocket": f"http://127.0.0.1:{live_nginx.free_port()}"},
            ],
        )
        plain = site_case.site(
            domain="plain.example.com",
            tls={"issuer": "none"},
            routes=[{"path": "/a.b", "websocket": echo.address}],
        )
        nginx = stack.enter_context(live_nginx.running(folder, [main, plain]))
        yield World(nginx=nginx, echo=echo, pair=pair)


def told(connection: Client) -> dict[str, object]:
    """What the service says that it was asked."""
    answer = json.loads(connection.recv(timeout=10))
    assert isinstance(answer, dict)
    return answer


def header(answer: dict[str, object], name: str) -> list[str]:
    """All values of a header that reached the service."""
    headers = answer["headers"]
    assert isinstance(headers, list)
    return [value for key, value in headers if key.lower() == name.lower()]


def test_a_connection_opens_and_echoes(world: World) -> None:
    # The client checks Sec-WebSocket-Accept itself, and fails on a wrong one.
    with world.open("/ws", origin=f"https://{DOMAIN}") as connection:
        assert told(connection)["path"] == "/ws"
        connection.send("hello")
        assert connection.recv(timeout=10) == "hello"


@pytest.mark.parametrize(
    ("path", "origin", "status"),
    [
        ("/ws", None, 101),
        ("/ws", f"https://{DOMAIN}", 101),
        ("/ws", f"https://{DOMAIN}:443", 101),
        ("/ws", "https://www.example.net", 101),
        ("/ws", f"http://{DOMAIN}", 403),
        ("/ws", f"https://{DOMAIN}:444", 403),
        ("/ws", f"https://{DOMAIN}.evil.example", 403),
        ("/ws", "https://liveXexample.com", 403),
        ("/ws", "https://evil.example", 403),
        ("/ws", "null", 403),
        ("/strict", None, 403),
        ("/strict", "https://a.example", 101),
        ("/strict", "https://b.example:8443", 101),
        ("/strict", "https://b.example", 403),
        ("/strict", f"https://{DOMAIN}", 403),
        ("/open", "https://evil.example", 101),
        ("/open", None, 101),
    ],
)
def test_origins(world: World, path: str, origin: str | None, status: int) -> None:
    headers = [f"Origin: {origin}"] if origin else []
    assert world.ask(path, *headers, extra=UPGRADE.format("websocket"))[0] == status


def test_origins_matter_for_upgrades_only(world: World) -> None:
    assert world.ask("/ws", "Origin: https://evil.example")[0] == 200
    assert world.ask("/strict")[0] == 200


@pytest.mark.parametrize("word", ["h2c", "websocket, h2c", "tls/1.3"])
def test_no_other_upgrade_reaches_the_service(world: World, word: str) -> None:
    status, _, body = world.ask("/ws", extra=UPGRADE.format(word))
    assert status == 200
    assert header(json.loads(body), "Upgrade") == []
    assert "upgrade" not in [value.lower() for value in header(json.loads(body), "Connection")]


def test_a_plain_route_does_not_upgrade(world: World) -> None:
    status, _, body = world.ask("/plain", extra=UPGRADE.format("websocket"))
    assert status == 200
    assert header(json.loads(body), "Upgrade") == []


def test_forwarded_headers_cannot_be_forged(world: World) -> None:
    forged = {
        "X-Forwarded-For": "6.6.6.6",
        "X-Real-IP": "6.6.6.6",
        "X-Forwarded-Proto": "http",
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Port": "1",
        "Forwarded": "for=6.6.6.6",
    }
    with world.open("/ws", additional_headers=forged) as connection:
        answer = told(connection)
    assert header(answer, "X-Forwarded-For") == ["127.0.0.1"]
    assert header(answer, "X-Real-IP") == ["127.0.0.1"]
    assert header(answer, "X-Forwarded-Proto") == ["https"]
    assert header(answer, "X-Forwarded-Host") == [DOMAIN]
    assert header(answer, "X-Forwarded-Port") == [str(world.nginx.https_port)]
    assert header(answer, "Forwarded") == []


@pytest.mark.parametrize("port", [None, 8443])
def test_host_keeps_the_port_that_the_client_named(world: World, port: int | None) -> None:
    with world.open("/ws", port=port) as connection:
        answer = told(connection)
    expected = DOMAIN if port is None else f"{DOMAIN}:{port}"
    assert header(answer, "Host") == [expected]
    assert header(answer, "X-Forwarded-Host") == [expected]


def test_host_of_an_absolute_request_target_wins(world: World) -> None:
    status, _, body = world.ask("", target=f"http://{DOMAIN}/cut/x?y", host="evil.example")
    assert status == 200
    assert json.loads(body)["path"] == "/x?y"
    assert header(json.loads(body), "Host") == [DOMAIN]


@pytest.mark.parametrize(
    ("path", "backend", "seen"),
    [
        ("/ws", "echo", "/ws"),
        ("/ws/", "echo", "/ws/"),
        ("/ws/x?q=1", "echo", "/ws/x?q=1"),
        ("/ws/a%2Fb%3Fc", "echo", "/ws/a%2Fb%3Fc"),
        ("/ws/deep", "socket", "/ws/deep"),
        ("/ws/deep/er", "socket", "/ws/deep/er"),
        ("/ws/deeper", "echo", "/ws/deeper"),
        ("/exact", "echo", "/exact"),
        ("/exact?q", "echo", "/exact?q"),
        ("/cut", "echo", "/"),
        ("/cut?q=1&r=%2F", "echo", "/?q=1&r=%2F"),
        ("/cut/", "echo", "/"),
        ("/cut/x", "echo", "/x"),
        ("/cut/x/?q", "echo", "/x/?q"),
        ("/cut/a%2Fb%3Fc%20d?q=%2F", "echo", "/a%2Fb%3Fc%20d?q=%2F"),
        ("/plain/x%2Fy", "echo", "/plain/x%2Fy"),
    ],
)
def test_paths_reach_the_service(world: World, path: str, backend: str, seen: str) -> None:
    status, _, body = world.ask(path)
    assert status == 200
    assert (json.loads(body)["backend"], json.loads(body)["path"]) == (backend, seen)


@pytest.mark.parametrize("path", ["/wsx", "/wsx/y", "/exact/", "/exact/x", "/exactly", "/cutter"])
def test_other_paths_do_not(world: World, path: str) -> None:
    before = len(world.echo.requests)
    assert world.ask(path)[0] == 404
    assert len(world.echo.requests) == before


def test_the_dot_in_a_path_is_a_dot(world: World) -> None:
    assert world.ask("/a.b", tls=False, host="plain.example.com")[0] == 200
    assert world.ask("/axb", tls=False, host="plain.example.com")[0] == 404


def test_a_site_without_tls_knows_its_own_origin(world: World) -> None:
    for origin, status in (("http://plain.example.com", 101), ("https://plain.example.com", 403)):
        answer = world.ask(
            "/a.b",
            f"Origin: {origin}",
            tls=False,
            host="plain.example.com",
            extra=UPGRADE.format("websocket"),
        )
        assert answer[0] == status


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/", "home\n"),
        ("/pub", "public\n"),
        ("/pub/", "public\n"),
        ("/pub/index.html", "public\n"),
        ("/manual", "public\n"),
        ("/manual/sub", "sub\n"),
        ("/manual/sub/index.html", "sub\n"),
    ],
)
def test_static_files(world: World, path: str, body: str) -> None:
    status, headers, text = world.ask(path)
    assert (status, headers["content-type"], text) == (200, "text/html", body)


def test_port_80_redirects_to_https(world: World) -> None:
    status, headers, _ = world.ask("/ws/x?q=%2F", tls=False)
    assert (status, headers["location"]) == (308, f"https://{DOMAIN}/ws/x?q=%2F")


@pytest.mark.parametrize(
    ("path", "extra", "status"),
    [
        ("/", "", 200),
        ("/nothing", "", 404),
        ("/ws", UPGRADE.format("websocket"), 101),
        ("/strict", UPGRADE.format("websocket"), 403),
        ("/gone", "", 502),
    ],
)
def test_hsts_is_on_every_answer(world: World, path: str, extra: str, status: int) -> None:
    got, headers, _ = world.ask(path, extra=extra)
    assert got == status
    assert headers["strict-transport-security"] == "max-age=600"


def test_the_version_of_nginx_is_not_told(world: World) -> None:
    assert world.ask("/nothing")[1]["server"] == "nginx"


def test_subprotocols_pass(world: World) -> None:
    offered = ["v1.chat", "v2.chat"]
    with world.open("/ws", subprotocols=offered) as connection:
        assert connection.subprotocol == "v2.chat"


def test_large_messages_pass(world: World) -> None:
    message = bytes(range(256)) * 4096 * 4
    with world.open("/ws") as connection:
        told(connection)
        connection.send(message)
        assert connection.recv(timeout=20) == message


def test_silence_longer_than_idle_timeout_ends_a_connection(world: World) -> None:
    with world.open("/brief") as connection:
        told(connection)
        started = time.monotonic()
        with pytest.raises(ConnectionClosedError):
            connection.recv(timeout=10)
        assert 0.4 < time.monotonic() - started < 5


def test_an_answer_before_idle_timeout_keeps_it_open(world: World) -> None:
    with world.open("/brief") as connection:
        told(connection)
        deadline = time.monotonic() + 1.2
        while time.monotonic() < deadline:
            connection.send("still here")
            assert connection.recv(timeout=5) == "still here"
            with pytest.raises(TimeoutError):
                connection.recv(timeout=0.2)


def test_a_service_that_is_down_is_a_502(world: World) -> None:
    with pytest.raises(InvalidStatus) as refused:
        world.open("/gone")
    assert refused.value.response.status_code == 502


def test_http2_get(world: World) -> None:
    with world.nginx.socket(tls=True, name=DOMAIN, alpn="h2") as connection:
        assert connection.selected_alpn_protocol() == "h2"  # type: ignore[attr-defined]
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))
        # RFC 7541: :method GET, :scheme https, :path / are indexed; :authority is a literal.
        block = b"\x82\x87\x84\x41" + bytes([len(DOMAIN)]) + DOMAIN.encode()
        connection.sendall(len(block).to_bytes(3, "big") + b"\x01\x05\x00\x00\x00\x01" + block)
        stream = connection.makefile("rb")
        kinds: dict[int, bytes] = {}
        while 0 not in kinds:
            length_and_kind = stream.read(9)
            payload = stream.read(int.from_bytes(length_and_kind[:3], "big"))
            kinds[length_and_kind[3]] = payload
        assert kinds[1][0] == 0x88  # :status 200
        assert kinds[0] == b"home\n"


def test_a_client_stays_on_its_service_until_that_one_is_gone(world: World) -> None:
    names = {json.loads(world.ask("/pair")[2])["backend"] for _ in range(6)}
    assert len(names) == 1
    (own,) = names
    with world.open("/pair") as connection:
        assert told(connection)["backend"] == own
    world.pair[own].close()
    (other,) = {"first", "second"} - {own}
    with world.open("/pair") as connection:
        assert told(connection)["backend"] == other
