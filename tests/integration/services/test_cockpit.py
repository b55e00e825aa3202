"""Cockpit behind each proxy, in a real browser."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployer.lab.lab import Lab
from tests.support.clients.chromium import Page, chromium
from tests.support.ready_playbooks import Deployed

pytestmark = [pytest.mark.lab, pytest.mark.services]

PLAYBOOK = "cockpit"
NAME = "admin.example.com"
#: A page of Cockpit that has its library, with which the commands of a page run on the host.
SYSTEM = f"https://{NAME}/cockpit/@localhost/system/index.html"

CAT = """
window.cat = cockpit.spawn(['cat']);
cat.stream(text => { document.body.dataset.answered = text; });
0;
"""


def log_in(page: Page, password: str) -> None:
    """Open the login page, and send it."""
    page.open(f"https://{NAME}/")
    page.until("document.querySelector('#login-user-input')?.offsetParent != null")
    page.evaluate(
        "document.querySelector('#login-user-input').value = 'alice';"
        f"document.querySelector('#login-password-input').value = {password!r};"
        "document.querySelector('#login-button').click();"
    )


def test_a_browser_behind(service: Deployed, debian_services: Lab, tmp_path: Path) -> None:
    assert service.applied.code == 0, service.applied
    host, elsewhere = debian_services.hosts
    host.sh("id alice || useradd --create-home --shell /bin/bash alice")
    host.exec(["chpasswd"], stdin="alice:a good password\n")
    with chromium(
        tmp_path,
        network_of=elsewhere,
        trust=service.root_pem,
        addresses={NAME: host.address},
    ) as page:
        log_in(page, "a bad password")
        page.until("document.querySelector('#login-error-message')?.textContent.includes('Wrong')")
        log = f"journalctl --since=-1h -o cat | grep 'rhost={elsewhere.address} *user=alice'"
        assert "authentication failure" in host.sh(log)

        log_in(page, "a good password")
        page.until("document.querySelector('#hosts-sel, #navbar-dropdown')")
        page.open(SYSTEM)
        assert page.evaluate("cockpit.spawn(['id', '-un'])") == "alice\n"

        # A program that the page talks to outlives a new configuration of the proxy.
        page.evaluate(CAT)
        service.reload()
        page.evaluate("cat.input('still here', true); 0")
        page.until("document.body.dataset.answered === 'still here'")
        assert page.happened("Network.webSocketClosed") == []
