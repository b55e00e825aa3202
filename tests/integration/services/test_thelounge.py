"""The Lounge as its users see it: a login in a real browser, behind each proxy."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import bcrypt
import pytest

from deployer.lab.host import LabHost
from deployer.model import Proxy
from tests.support.npm import copied, node_modules
from tests.support.ready_playbooks import PROXIES, InTurn, in_turn
from tests.support.waiting import until

pytestmark = [pytest.mark.lab, pytest.mark.services]

NAME = "irc.example.com"
URL = f"https://{NAME}/"
PASSWORD = "a long password"
#: The IRC library comes from a repository; this is its release.
LOUNGE, LIBRARY = {"thelounge": "4.5.2"}, {"irc-framework": "4.14.0"}
CONFIG = """\
module.exports = {
    public: false,
    host: "127.0.0.1",
    port: 9000,
    reverseProxy: true,
};
"""
_TYPED = """
(() => {
    const input = document.querySelector('#signin-FIELD');
    input.value = VALUE;
    input.dispatchEvent(new Event('input', {bubbles: true}));
})()
"""
_SOCKET = f"wss://{NAME}/socket.io/?EIO=4&transport=websocket&sid="


def start_lounge(host: LabHost) -> None:
    copied(host, node_modules(LOUNGE, overrides=LIBRARY), "/srv/thelounge")
    home = host.root / "var/lib/thelounge"
    (home / "users").mkdir(parents=True)
    (home / "config.js").write_text(CONFIG)
    digest = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    (home / "users/ada.json").write_text(json.dumps({"password": digest, "log": False}))
    host.sh(
        "echo 127.0.0.1 api.github.com >> /etc/hosts"
    )  # there is no network to look for updates
    unit = ["systemd-run", "-q", "--unit=thelounge", "--setenv=THELOUNGE_HOME=/var/lib/thelounge"]
    program = "/srv/thelounge/node_modules/thelounge/index.js"
    host.exec([*unit, "/srv/thelounge/bin/node", program, "start"])
    until(lambda: host.sh("ss -Hltn 'sport = :9000'") != "")


@pytest.fixture(scope="module")
def project(machine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[InTurn]:
    folder = tmp_path_factory.mktemp("thelounge")
    with in_turn("thelounge", folder, prepare=start_lounge) as found:
        yield found


@pytest.mark.parametrize("proxy", PROXIES)
def test_a_user_logs_in(project: InTurn, proxy: Proxy, tmp_path: Path) -> None:
    site = project.behind(proxy)
    assert site.applied.code == 0, site.applied
    assert "transport=websocket  handshake (proxy): 101" in site.applied.out, site.applied
    with project.browser(tmp_path, NAME) as page:
        page.open(URL)
        page.until("document.querySelector('#signin-password') !== null")
        for field, value in (("username", "ada"), ("password", PASSWORD)):
            page.evaluate(_TYPED.replace("FIELD", field).replace("VALUE", json.dumps(value)))
        page.evaluate("document.querySelector('#sign-in button[type=submit]').click()")
        page.until("document.querySelector('#connect') !== null")
        page.evaluate("location.hash = '#/settings/account'")
        # The Lounge lists where its user is logged in: from the browser's address, not the proxy's.
        page.until(f"document.body.innerText.includes('{project.lab.hosts[1].address}')")
        (opened,) = page.happened("Network.webSocketCreated")
        assert opened["url"].startswith(_SOCKET), "polling, then upgraded"
        frames = [
            each["response"]["payloadData"]
            for each in page.happened("Network.webSocketFrameReceived")
        ]
        assert frames[0] == "3probe"
        assert len(frames) > 1, "the session is in the WebSocket now"


def test_the_natural_playbook_needs_no_path(project: InTurn) -> None:
    playbook = project.folder / "site.yml"
    lines = playbook.read_text().splitlines()
    playbook.write_text("\n".join(line for line in lines if "probe:" not in line) + "\n")
    applied = project.behind("nginx").applied
    assert applied.code == 0, applied
