"""Soketi with pusher-js, the client that Laravel Echo uses, behind each proxy."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from deployer.lab.host import LabHost
from deployer.model import Proxy
from tests.support.clients.site_pages import page
from tests.support.npm import copied, node_modules
from tests.support.paths import PROGRAMS
from tests.support.ready_playbooks import PROXIES, InTurn, in_turn
from tests.support.waiting import until

pytestmark = [pytest.mark.lab, pytest.mark.services]

NAME = "ws.example.com"
SOKETI = {"@soketi/soketi": "1.6.1"}
#: Soketi has its WebSockets from a repository; this is the same for newer versions of Node.js.
WEBSOCKETS = {"uWebSockets.js": "npm:@btc-vision/uwebsockets.js@20.57.0"}
CLIENT = {"pusher": "5.2.0", "pusher-js": "8.4.0"}
SETTINGS = (
    "SOKETI_HOST=127.0.0.1",
    "SOKETI_METRICS_HOST=127.0.0.1",
    "SOKETI_DEFAULT_APP_ENABLE_CLIENT_MESSAGES=true",
    "HOME=/root",
)
#: The playbook as a user would write it who knows the port only.
NATURAL = """\
      routes:
        - path: PATH
          websocket: "{{ soketi }}"
"""


def start_soketi(host: LabHost) -> None:
    copied(host, node_modules(SOKETI, overrides=WEBSOCKETS), "/srv/soketi")
    unit = ["systemd-run", "-q", "--unit=soketi", *(f"--setenv={each}" for each in SETTINGS)]
    server = "/srv/soketi/node_modules/@soketi/soketi/bin/server.js"
    host.exec([*unit, "/srv/soketi/bin/node", server, "start"])
    until(lambda: host.sh("ss -Hltn 'sport = :6001'") != "")


@pytest.fixture(scope="module")
def project(machine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[InTurn]:
    """A host with Soketi, whose WebSockets need the libc of Debian 13, and one with clients."""
    folder = tmp_path_factory.mktemp("soketi")
    with in_turn("soketi", folder, image="debian-13", prepare=start_soketi) as found:
        host, elsewhere = found.lab.hosts
        copied(elsewhere, node_modules(CLIENT), "/srv/client")
        program = (PROGRAMS / "pusher/client.js").read_text()
        (elsewhere.root / "srv/client/client.js").write_text(program)
        elsewhere.sh(f"echo {host.address} {NAME} >> /etc/hosts")
        yield found


def clients(project: InTurn) -> dict[str, Any]:
    elsewhere = project.lab.hosts[1]
    root_pem = (project.folder / ".deployer/ca/root.pem").read_bytes()
    (elsewhere.root / "root/root.pem").write_bytes(root_pem)
    run = f"/srv/client/bin/node /srv/client/client.js {NAME} app-key"
    seen: dict[str, Any] = json.loads(
        elsewhere.sh(f"NODE_EXTRA_CA_CERTS=/root/root.pem {run}", check=False)
    )
    return seen


@pytest.mark.parametrize("proxy", PROXIES)
def test_events_arrive(project: InTurn, proxy: Proxy) -> None:
    site = project.behind(proxy)
    assert site.applied.code == 0, site.applied
    assert "/app/app-key?protocol=7  handshake (proxy): 101" in site.applied.out, site.applied
    assert clients(project) == {
        "status": 200,
        "events": [{"text": "grüße"}] * 2,
        "whispered": {"by": "ada"},
    }
    unsigned = page(
        site.host, f"https://{NAME}/apps/app-id/events", root_pem=site.root_pem, body=b"{}"
    )
    assert '"code":401' in unsigned.text


@pytest.mark.parametrize("path", ["/", "/app"])
def test_the_natural_playbook_needs_no_key(project: InTurn, path: str) -> None:
    """The handshake gets 101, and the service refuses the key: it is the same through the proxy."""
    playbook = project.folder / "site.yml"
    text = playbook.read_text()
    playbook.write_text(text[: text.index("      routes:")] + NATURAL.replace("PATH", path))
    applied = project.behind("haproxy").applied
    assert applied.code == 0, applied
    assert "/app/deployer?protocol=7  handshake (proxy): 101" in applied.out, applied
