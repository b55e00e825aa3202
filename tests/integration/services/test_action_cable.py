"""Rails with Action Cable behind each proxy: its own client, in a real browser."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployer.lab.lab import Lab
from tests.support.clients.chromium import chromium
from tests.support.ready_playbooks import Deployed

pytestmark = [pytest.mark.lab, pytest.mark.services]

PLAYBOOK = "action-cable"
NAME = "rails.example.com"


def test_a_browser_behind(service: Deployed, debian_services: Lab, tmp_path: Path) -> None:
    assert service.applied.code == 0, service.applied
    assert "subprotocol actioncable-v1-json" in service.applied.out
    host, elsewhere = debian_services.hosts
    with chromium(
        tmp_path,
        network_of=elsewhere,
        trust=service.root_pem,
        addresses={NAME: host.address},
    ) as page:
        page.open(f"https://{NAME}/")
        for text in ("grüße", "still here"):
            page.until("!document.querySelector('#text').disabled")
            page.evaluate(f"chat.perform('say', {{text: {text!r}}})")
            page.until(f"document.body.textContent.includes('{elsewhere.address}: {text}')")
            assert "open connections survived the reload" in service.reload().out
