"""noVNC and TigerVNC behind each proxy, in a real browser."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployer.lab.lab import Lab
from tests.support.clients.chromium import Page, chromium
from tests.support.ready_playbooks import Deployed
from tests.support.waiting import until

pytestmark = [pytest.mark.lab, pytest.mark.services]

PLAYBOOK = "novnc"
NAME = "desktop.example.com"
#: On the desktop: a terminal that writes what is typed into a file.
TYPED = "/home/desktop/typed"
TERMINAL = f"""
rm -f {TYPED}
systemd-run -q --collect --uid=desktop -E DISPLAY=:1 -E HOME=/home/desktop \
    xterm -e 'read -r words; echo "$words" > {TYPED}'
"""


def log_in(page: Page, password: str) -> None:
    """Open noVNC, connect, and answer its question for the password."""
    page.open(f"https://{NAME}/")
    page.until("document.querySelector('#noVNC_connect_button')?.offsetParent != null")
    page.evaluate("document.querySelector('#noVNC_connect_button').click()")
    page.until("document.querySelector('#noVNC_credentials_dlg.noVNC_open')")
    page.evaluate(
        f"document.querySelector('#noVNC_password_input').value = {password!r};"
        "document.querySelector('#noVNC_credentials_button').click()"
    )


def test_a_browser_behind(service: Deployed, debian_services: Lab, tmp_path: Path) -> None:
    assert service.applied.code == 0, service.applied
    host, elsewhere = debian_services.hosts
    password = host.sh("cat /etc/desktop/password").strip()
    assert len(password) == 8
    host.sh(TERMINAL)
    with chromium(
        tmp_path,
        network_of=elsewhere,
        trust=service.root_pem,
        addresses={NAME: host.address},
    ) as page:
        log_in(page, "wrong")
        page.until("document.querySelector('#noVNC_status.noVNC_status_error.noVNC_open')")
        log_in(page, password)
        page.until("document.documentElement.classList.contains('noVNC_connected')")
        for text in "hello\r":
            key = {"text": text, "key": "Enter" if text == "\r" else text}
            page.ask("Input.dispatchKeyEvent", type="keyDown", **key)
            page.ask("Input.dispatchKeyEvent", type="keyUp", key=key["key"])
        until(lambda: host.exec(["cat", TYPED], check=False).stdout == "hello\n")
