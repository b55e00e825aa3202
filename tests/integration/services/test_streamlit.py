"""Streamlit as its visitors see it: an app in a real browser, behind each proxy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from deployer.model import Proxy
from tests.support.ready_playbooks import PROXIES, InTurn, from_pypi

pytestmark = [pytest.mark.lab, pytest.mark.services]

NAME = "app.example.com"
URL = f"https://{NAME}/"
_READY = "document.querySelector('[type=range]') !== null"
_UPLOAD = "document.querySelector('[type=file]') !== null"


@pytest.fixture(scope="module")
def project(machine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[InTurn]:
    with from_pypi("streamlit", tmp_path_factory.mktemp("streamlit")) as found:
        yield found


@pytest.mark.parametrize("proxy", PROXIES)
def test_a_widget_moves_and_a_file_arrives(project: InTurn, proxy: Proxy, tmp_path: Path) -> None:
    site = project.behind(proxy)
    assert site.applied.code == 0, site.applied
    assert "/_stcore/stream  handshake (proxy): 101" in site.applied.out
    large = tmp_path / "large"
    large.write_bytes(bytes(20_000_000))
    with project.browser(tmp_path, NAME) as page:
        page.open(URL)
        page.until(f"{_READY} && {_UPLOAD}")
        # The address is that of the visitor: uvicorn trusts the proxy on its own host.
        text = page.evaluate("document.body.innerText")
        assert f"You connect from {project.lab.hosts[1].address}." in text
        page.press("ArrowRight", "[type=range]")
        page.until("document.body.innerText.includes('Its square is 121.')")
        page.choose_file(large)
        page.until("document.body.innerText.includes('large has 20000000 bytes.')")
        (opened,) = page.happened("Network.webSocketCreated")
        assert opened["url"] == f"wss://{NAME}/_stcore/stream"
        statuses = [
            each["response"]["status"] for each in page.happened("Network.responseReceived")
        ]
        assert max(statuses) < 400


def test_the_natural_playbook_needs_no_path(project: InTurn) -> None:
    """Streamlit is recognised by its page."""
    playbook = project.folder / "site.yml"
    text = playbook.read_text()
    probe = "          probe: {path: /_stcore/stream}\n"
    assert probe in text
    playbook.write_text(text.replace(probe, "").replace("idle_timeout: 1h", "idle_timeout: 2h"))
    applied = project.behind("nginx").applied
    assert applied.code == 0, applied
    assert "/_stcore/stream  handshake (proxy): 101, " in applied.out
    assert "Streamlit" in applied.out.partition("handshake (proxy): 101")[2].partition("\n")[0]
