"""code-server as its users see it: the workbench in a real browser, behind each proxy."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployer.lab.host import LabHost
from deployer.model import Proxy
from tests.support.npm import copied, node_modules
from tests.support.ready_playbooks import PROXIES, InTurn, in_turn
from tests.support.waiting import until

pytestmark = [pytest.mark.lab, pytest.mark.services]

NAME = "code.example.com"
URL = f"https://{NAME}/"
PASSWORD = "a long password"
CONFIG = f"""\
bind-addr: 127.0.0.1:8080
auth: password
password: {PASSWORD}
cert: false
disable-telemetry: true
disable-update-check: true
disable-workspace-trust: true
"""
LOGIN_REQUIRED = "answered 401, like the service itself: login required (302 without an upgrade)"


def start_code_server(host: LabHost) -> None:
    copied(host, node_modules({"code-server": "4.139.1"}, node="24.22.3"), "/srv/code-server")
    (host.root / "root/.config/code-server").mkdir(parents=True)
    (host.root / "root/.config/code-server/config.yaml").write_text(CONFIG)
    (host.root / "srv/work").mkdir()
    (host.root / "srv/work/hello.txt").write_text("grüße\n")
    unit = ["systemd-run", "-q", "--unit=code-server", "--setenv=HOME=/root"]
    program = "/srv/code-server/node_modules/code-server/out/node/entry.js"
    host.exec([*unit, "/srv/code-server/bin/node", program, "/srv/work"])
    until(lambda: host.sh("ss -Hltn 'sport = :8080'") != "")


@pytest.fixture(scope="module")
def project(machine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[InTurn]:
    folder = tmp_path_factory.mktemp("code-server")
    with in_turn("code-server", folder, prepare=start_code_server) as found:
        yield found


@pytest.mark.parametrize("proxy", PROXIES)
def test_the_workbench_connects(project: InTurn, proxy: Proxy, tmp_path: Path) -> None:
    site = project.behind(proxy)
    assert site.applied.code == 0, site.applied
    assert LOGIN_REQUIRED in site.applied.out, site.applied
    assert "websocket-not-opened" not in site.applied.out, site.applied
    with project.browser(tmp_path, NAME) as page:
        page.open(URL)
        page.until("document.querySelector('input[type=password]') !== null")
        page.evaluate(
            f"document.querySelector('input[type=password]').value = {json.dumps(PASSWORD)}"
        )
        page.evaluate("document.querySelector('input[type=submit]').click()")
        # The list of files comes through its WebSocket.
        page.until(
            "[...document.querySelectorAll('.label-name')].some(e => e.textContent == 'hello.txt')"
        )
        opened = page.happened("Network.webSocketCreated")
        assert opened
        assert all(each["url"].startswith(f"wss://{NAME}/") for each in opened)
        assert page.happened("Network.webSocketFrameError") == []
