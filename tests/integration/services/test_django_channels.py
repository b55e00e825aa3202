"""Django Channels as its users see it: a chat between two browsers, behind each proxy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus

from deployer.model import Proxy
from tests.support.clients.site_pages import page as answer
from tests.support.clients.site_websocket import connected
from tests.support.ready_playbooks import PROXIES, Deployed, InTurn, from_pypi

pytestmark = [pytest.mark.lab, pytest.mark.services]

NAME = "chat.example.com"
LOBBY = f"wss://{NAME}/ws/chat/lobby/"


@pytest.fixture(scope="module")
def project(machine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[InTurn]:
    with from_pypi("django-channels", tmp_path_factory.mktemp("channels")) as found:
        yield found


def chat(project: InTurn, site: Deployed, folder: Path) -> None:
    """A browser and a client without one talk with each other."""
    with project.browser(folder, NAME) as page, connected(site.host, LOBBY, site.root_pem) as other:
        page.open(f"https://{NAME}/")
        page.until("typeof socket === 'object' && document.getElementById('text') !== null")
        page.evaluate("new Promise(on => socket.readyState ? on() : (socket.onopen = on))")
        page.type("grüße", "#text")
        page.press("Enter", "#text")
        page.until("document.body.innerText.includes('grüße')")
        assert other.recv() == '{"text": "gr\\u00fc\\u00dfe"}'
        other.send('{"text": "hello back"}')
        page.until("document.body.innerText.includes('hello back')")


@pytest.mark.parametrize("proxy", PROXIES)
def test_a_chat_between_two_clients(project: InTurn, proxy: Proxy, tmp_path: Path) -> None:
    site = project.behind(proxy)
    assert site.applied.code == 0, site.applied
    assert "/ws/chat/lobby/  handshake (proxy): 101" in site.applied.out
    chat(project, site, tmp_path)
    # Django sees scheme, name and visitor; what a visitor forges is overwritten.
    forged = {"X-Forwarded-Proto": "http", "X-Forwarded-For": "6.6.6.6"}
    seen = answer(
        site.host, f"https://{NAME}/connection", root_pem=site.root_pem, headers=forged
    ).text
    visitor = site.host.address.rpartition(".")[0] + ".1"
    assert seen == f"https://{NAME}/connection from {visitor}\n"
    with (
        pytest.raises(InvalidStatus, match="403"),
        connected(site.host, LOBBY, site.root_pem, origin="https://evil.example.com"),
    ):
        pass


def test_uvicorn_and_a_single_route(project: InTurn, tmp_path: Path) -> None:
    """As one writes it who knows no paths: the page says where the WebSocket is."""
    requirements = project.folder / "app/requirements.txt"
    assert "uvicorn" in requirements.read_text()
    playbook = project.folder / "site.yml"
    text, more = playbook.read_text().split("        - path: /ws\n")
    assert "upstream:" in more
    whole = '        - {path: /, websocket: "http://127.0.0.1:{{ app_port }}"}\n'
    daphne = "- daphne\n          - --bind=127.0.0.1\n"
    assert daphne in text
    text = text.replace(daphne, "- uvicorn\n").replace("- --proxy-headers ", "- --no-access-log ")
    playbook.write_text(text + whole)
    site = project.behind("nginx")
    assert site.applied.code == 0, site.applied
    assert "/ws/chat/lobby/  handshake (proxy): 101" in site.applied.out
    assert "which the page opens" in site.applied.out
    chat(project, site, tmp_path)
