"""JupyterLab as its users see it: code that runs in a kernel, from a browser, behind each proxy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from deployer.model import Proxy
from tests.support.clients.site_pages import page
from tests.support.clients.site_websocket import connected
from tests.support.ready_playbooks import PROXIES, InTurn, from_pypi

pytestmark = [pytest.mark.lab, pytest.mark.services]

NAME = "lab.example.com"
EVENTS = f"wss://{NAME}/api/events/subscribe"
_CARD = "document.querySelector('.jp-LauncherCard[data-category=Console]')"
_PROMPT = ".jp-CodeConsole-promptCell .cm-content"
_OUTPUTS = "[...document.querySelectorAll('.jp-OutputArea-output')]"


@pytest.fixture(scope="module")
def project(machine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[InTurn]:
    with from_pypi("jupyterlab", tmp_path_factory.mktemp("jupyterlab")) as found:
        yield found


def logged_token(project: InTurn) -> str:
    """The token that JupyterLab has made at its last start, as users look it up."""
    log = project.lab.hosts[0].sh("journalctl -u jupyterlab -o cat | grep -o 'token=[0-9a-f]*'")
    return log.split()[-1].removeprefix("token=")


@pytest.mark.parametrize("proxy", PROXIES)
def test_a_kernel_answers(project: InTurn, proxy: Proxy, tmp_path: Path) -> None:
    site = project.behind(proxy)
    assert site.applied.code == 0, site.applied
    assert "answered 403, like the service itself" in site.applied.out
    with project.browser(tmp_path, NAME) as tab:
        tab.open(f"https://{NAME}/lab?reset&token={logged_token(project)}")
        tab.until(f"{_CARD} !== null")
        tab.evaluate(f"{_CARD}.click()")
        tab.until("document.body.innerText.includes('| Idle')")
        tab.type("6 * 7", _PROMPT)
        tab.press("Enter", _PROMPT, shift=True)
        tab.until(f"{_OUTPUTS}.some(each => each.innerText.trim() === '42')")
        opened = [each["url"] for each in tab.happened("Network.webSocketCreated")]
        assert opened[0] == EVENTS
        assert opened[1].startswith(f"wss://{NAME}/api/kernels/")
        assert "/channels?" in opened[1]
        answers = [each["response"] for each in tab.happened("Network.responseReceived")]
        assert max(answer["status"] for answer in answers) < 400


def test_with_a_token_the_check_opens_the_websocket(project: InTurn) -> None:
    playbook = project.folder / "site.yml"
    text = playbook.read_text()
    assert 'jupyter_token: "" ' in text
    playbook.write_text(text.replace('jupyter_token: "" ', "jupyter_token: correct-horse "))
    site = project.behind("nginx")
    assert site.applied.code == 0, site.applied
    assert "/api/events/subscribe  handshake (proxy): 101" in site.applied.out
    assert "correct-horse" not in site.applied.out
    token = {"Authorization": "token correct-horse"}
    with connected(site.host, EVENTS, site.root_pem, headers=token) as client:
        client.ping()
    # The address is the visitor's, not the proxy's.
    visitor = site.host.address.rpartition(".")[0] + ".1"
    refused = page(site.host, f"https://{NAME}/api/contents", root_pem=site.root_pem)
    assert refused.status == 403
    log = site.host.sh("journalctl -u jupyterlab -o cat | grep 'GET /api/contents'")
    assert f"(@{visitor})" in log
