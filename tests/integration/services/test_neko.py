"""Neko's site in front of a server as quiet as Neko, behind each proxy."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack

import pytest

from deployer.lab.host import LabHost
from deployer.model import Proxy
from tests.support.clients.site_pages import page
from tests.support.clients.site_websocket import connected
from tests.support.paths import PROGRAMS
from tests.support.ready_playbooks import PROXIES, Deployed, behind_each_proxy

pytestmark = pytest.mark.lab

NAME = "neko.example.com"
SOCKET = "/ws?password=neko&username=ada"
SILENCE_S = 61.0  # what every proxy's own default would have ended, but for Apache's 300 s
PROGRAM = (PROGRAMS / "neko_lookalike.py").read_text()


def start_neko(host: LabHost) -> None:
    """One as most have it, and one with a prefix."""
    host.exec(["sh", "-c", "cat > /root/neko.py"], stdin=PROGRAM)
    for port, prefix in (("8080", ""), ("8081", "/neko")):
        unit = f"--unit=neko-{port}"
        host.exec(["systemd-run", "-q", unit, "python3", "/root/neko.py", port, prefix])


@pytest.fixture(scope="module")
def nekos(
    machine: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[Proxy, Deployed]]:
    """The ready playbook, applied."""
    folder = tmp_path_factory.mktemp("neko")
    with behind_each_proxy("neko", folder, prepare=start_neko) as found:
        yield found


def test_a_required_login_is_no_fault(nekos: Mapping[Proxy, Deployed]) -> None:
    """Neko opens the connection, states why it rejects it, and closes it."""
    for neko in nekos.values():
        assert neko.applied.code == 0, neko.applied
        for path in ("/ws", "/api/ws"):
            passed = f"{NAME}{path}  handshake (proxy): 101, then closed by the service"
            assert passed in neko.applied.out, neko.applied


def test_idle_connections_live_longer_than_a_minute(nekos: Mapping[Proxy, Deployed]) -> None:
    """On all proxies at once; meanwhile one site changes, which reloads its proxy."""
    with ExitStack() as stack:
        clients = {
            proxy: stack.enter_context(connected(neko.host, f"wss://{NAME}{SOCKET}", neko.root_pem))
            for proxy, neko in nekos.items()
        }
        for client in clients.values():
            assert json.loads(client.recv()) == {"event": "system/init"}
        until = time.monotonic() + SILENCE_S
        with_a_prefix(nekos["nginx"])
        for proxy, client in clients.items():
            with pytest.raises(TimeoutError):
                client.recv(timeout=until - time.monotonic())
            client.send(f"still there, {proxy}?")
            assert client.recv() == f"still there, {proxy}?"


def with_a_prefix(neko: Deployed) -> None:
    """The changes that Neko's ``server.path_prefix`` needs, and the resulting paths."""
    playbook = neko.folder / "site.yml"
    changed = playbook.read_text().replace('neko_path: "" ', 'neko_path: "/neko" ')
    playbook.write_text(changed.replace(":8080", ":8081"))
    applied = neko.apply()
    assert applied.code == 0, applied
    url = f"wss://{NAME}/neko{SOCKET}"
    with connected(neko.host, url, neko.root_pem) as client:
        assert json.loads(client.recv()) == {"event": "system/init"}
    asked = page(neko.host, f"https://{NAME}/neko/health", root_pem=neko.root_pem)
    assert (asked.status, asked.text) == (200, "true")
    assert page(neko.host, f"https://{NAME}/health", root_pem=neko.root_pem).status == 404


@pytest.mark.parametrize("proxy", [proxy for proxy in PROXIES if proxy != "nginx"])
def test_page_health_and_files(nekos: Mapping[Proxy, Deployed], proxy: Proxy) -> None:
    neko = nekos[proxy]
    for path, text in (("/health", "true"), ("/", "<title>n.eko</title>")):
        asked = page(neko.host, f"https://{NAME}{path}", root_pem=neko.root_pem)
        assert (asked.status, asked.text) == (200, text)
    file = b"x" * (20 << 20)
    url = f"https://{NAME}/api/filetransfer"
    handed = page(neko.host, url, root_pem=neko.root_pem, body=file)
    assert (handed.status, handed.text) == (200, str(len(file)))
