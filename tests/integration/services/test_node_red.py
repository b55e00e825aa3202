"""Node-RED as its users see it: the editor in a real browser, behind each proxy."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bcrypt
import pytest

from deployer.lab.host import LabHost
from deployer.model import Proxy
from tests.support.clients.chromium import Page
from tests.support.npm import copied, node_modules
from tests.support.paths import PROGRAMS
from tests.support.ready_playbooks import PROXIES, InTurn, in_turn
from tests.support.waiting import until

pytestmark = [pytest.mark.lab, pytest.mark.services]

NAME = "flows.example.com"
URL = f"https://{NAME}/"
PASSWORD = "a long password"
#: One without a position would be a configuration.
NODE = {"z": "tab", "x": 100, "y": 100}
#: A WebSocket that repeats what it gets, and shows it as debugging; a page about its visitor.
FLOW: list[dict[str, Any]] = [
    {"id": "tab", "type": "tab", "label": "Echo"},
    {"id": "listener", "type": "websocket-listener", "path": "/ws/echo", "wholemsg": "false"},
    {
        "id": "in",
        **NODE,
        "type": "websocket in",
        "server": "listener",
        "wires": [["out", "shown"]],
    },
    {"id": "out", **NODE, "type": "websocket out", "server": "listener", "wires": []},
    {"id": "shown", **NODE, "type": "debug", "active": True, "tosidebar": True},
    {
        "id": "get",
        **NODE,
        "type": "http in",
        "url": "/who",
        "method": "get",
        "wires": [["who"]],
    },
    {
        "id": "who",
        **NODE,
        "type": "function",
        "func": "msg.payload = `${msg.req.ip} ${msg.req.protocol}`; return msg;",
        "outputs": 1,
        "wires": [["answer"]],
    },
    {"id": "answer", **NODE, "type": "http response", "wires": []},
]
#: A deployment is answered before its flows have started.
_WHO = """
(async () => {
    for (;;) {
        const answer = await fetch('/who');
        if (answer.ok) return await answer.text();
        await new Promise(settle => setTimeout(settle, 100));
    }
})()
"""
_ECHO = """
new Promise((settle, fail) => {
    const socket = new WebSocket(`wss://${location.host}/ws/echo`);
    socket.onopen = () => socket.send(TEXT);
    socket.onmessage = ({data}) => settle(data);
    socket.onerror = () => fail(new Error('it failed'));
})
"""


def start_node_red(host: LabHost) -> None:
    copied(host, node_modules({"node-red": "4.1.15"}), "/srv/node-red")
    settings = (PROGRAMS / "node-red/settings.js").read_text()
    (host.root / "srv/node-red/settings.js").write_text(settings)
    digest = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    unit = ["systemd-run", "-q", "--unit=node-red", f"--setenv=ADMIN_HASH={digest}"]
    unit += ["--property=StateDirectory=node-red", "--setenv=HOME=/root"]
    program = ["/srv/node-red/node_modules/node-red/red.js", "--userDir", "/var/lib/node-red"]
    host.exec(
        [*unit, "/srv/node-red/bin/node", *program, "--settings", "/srv/node-red/settings.js"]
    )
    until(lambda: host.sh("ss -Hltn 'sport = :1880'") != "")


@pytest.fixture(scope="module")
def project(machine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[InTurn]:
    folder = tmp_path_factory.mktemp("node-red")
    with in_turn("node-red", folder, prepare=start_node_red) as found:
        yield found


def log_in(page: Page) -> None:
    """Fill in the form."""
    page.until("document.querySelector('#node-dialog-login-username') !== null")
    for field, value in (("username", "admin"), ("password", PASSWORD)):
        page.evaluate(
            f"document.querySelector('#node-dialog-login-{field}').value = {json.dumps(value)}"
        )
    page.evaluate("document.querySelector('#node-dialog-login-submit').click()")
    page.until("document.querySelector('.red-ui-palette-node') !== null")


def received(page: Page) -> list[str]:
    """The messages of all WebSockets up to now."""
    page.evaluate("0")
    frames = page.happened("Network.webSocketFrameReceived")
    return [each["response"]["payloadData"] for each in frames]


def deploy(page: Page) -> None:
    """Deploy `FLOW` as the editor does it, with the token of its login."""
    deployed = f"""
        fetch('flows', {{
            method: 'POST',
            headers: {{
                'Content-Type': 'application/json',
                'Authorization': `Bearer ${{RED.settings.get('auth-tokens').access_token}}`,
            }},
            body: JSON.stringify({json.dumps(FLOW)}),
        }}).then(answer => answer.status)
    """
    assert page.evaluate(deployed) == 204


@pytest.mark.parametrize("proxy", PROXIES)
def test_the_editor_and_the_sockets_of_a_flow(
    project: InTurn, proxy: Proxy, tmp_path: Path
) -> None:
    site = project.behind(proxy)
    assert site.applied.code == 0, site.applied
    assert "/comms  handshake (proxy): 101" in site.applied.out, site.applied
    with project.browser(tmp_path, NAME) as page:
        page.open(URL)
        log_in(page)
        deploy(page)
        visitor = project.lab.hosts[1].address
        assert page.evaluate(_WHO) == f"{visitor} https"
        said = f"behind {proxy}"
        assert page.evaluate(_ECHO.replace("TEXT", json.dumps(said))) == said
        # The editor gets it by its own socket.
        until(lambda: any('"debug"' in each and said in each for each in received(page)))
        opened = {each["url"] for each in page.happened("Network.webSocketCreated")}
        assert opened == {f"wss://{NAME}/comms", f"wss://{NAME}/ws/echo"}
        assert page.evaluate("document.querySelector('.notification-error')") is None
