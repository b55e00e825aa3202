"""Gradio as its users see it: an app in a real browser and in its own client, behind each proxy."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployer.model import Proxy
from tests.support.ready_playbooks import PROXIES, Deployed, InTurn, from_pypi

pytestmark = [pytest.mark.lab, pytest.mark.services]

NAME = "demo.example.com"
_READY = "document.querySelector('[type=range]') !== null"
_COUNT = "[...document.querySelectorAll('button')].find(each => each.innerText === 'Count')"
#: On the host, where Gradio's client is installed next to it.
_CLIENT = f"""
import json, time
from gradio_client import Client
client = Client("https://{NAME}/", verbose=False)
arrivals, job = [], client.submit(10, api_name="/count")
for text in job:
    arrivals.append([text, time.monotonic()])
print(json.dumps({{"square": client.predict(7, api_name="/square"), "count": arrivals}}))
"""


@pytest.fixture(scope="module")
def project(machine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[InTurn]:
    with from_pypi("gradio", tmp_path_factory.mktemp("gradio")) as found:
        yield found


@pytest.mark.parametrize("proxy", PROXIES)
def test_a_widget_moves_and_results_stream(project: InTurn, proxy: Proxy, tmp_path: Path) -> None:
    site = project.behind(proxy)
    assert site.applied.code == 0, site.applied
    with project.browser(tmp_path, NAME) as page:
        page.open(f"https://{NAME}/")
        page.until(f"{_READY} && {_COUNT} !== undefined")
        page.press("ArrowRight", "[type=range]")
        page.until("document.body.innerText.includes('Its square is 121.')")
        page.evaluate(
            "new MutationObserver(() => {"
            "  const seen = document.body.innerText.match(/[0-9]+ of 11 done/);"
            "  if (seen) (window.seen ??= new Set()).add(seen[0]);"
            "}).observe(document, {subtree: true, childList: true, characterData: true})"
        )
        page.evaluate(f"{_COUNT}.click()")
        page.until("document.body.innerText.includes('11 of 11 done')")
        assert page.evaluate("window.seen.size") > 3  # a lump would be one or two
        answers = [each["response"] for each in page.happened("Network.responseReceived")]
        assert max(answer["status"] for answer in answers) < 400
        # Addresses that Gradio makes are those of the site.
        assert all(
            each["url"].startswith(f"https://{NAME}/")
            for each in answers
            if "/gradio_api/" in each["url"]
        )
    uses_its_own_client(site)


def uses_its_own_client(site: Deployed) -> None:
    host = site.host
    host.exec(["tee", "/root/root.pem"], stdin=site.root_pem.read_text())
    host.sh(f"grep -q {NAME} /etc/hosts || echo {host.address} {NAME} >> /etc/hosts")
    host.exec(["tee", "/root/client.py"], stdin=_CLIENT)
    python = "/opt/gradio/current/venv/bin/python"
    said = json.loads(host.sh(f"SSL_CERT_FILE=/root/root.pem {python} /root/client.py"))
    assert said["square"] == "Its square is 49."
    texts, times = zip(*said["count"], strict=True)
    assert texts[-1] == "10 of 10 done"
    assert times[-1] - times[0] > 1  # one after the other, as they were made in two seconds


def test_a_route_for_websockets_passes_too(project: InTurn) -> None:
    """As people write it who take Gradio for a WebSocket service, which it was until version 4."""
    playbook = project.folder / "site.yml"
    head, _ = playbook.read_text().split("        - path: / ")
    whole = '        - {path: /, websocket: "http://127.0.0.1:{{ app_port }}"}\n'
    playbook.write_text(head + whole)
    site = project.behind("nginx")
    assert site.applied.code == 0, site.applied
    assert "version 3; newer ones use no WebSocket: write upstream" in " ".join(
        site.applied.out.split()
    )
