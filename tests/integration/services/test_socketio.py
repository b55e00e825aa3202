"""Socket.IO with several workers, and its real client, behind each proxy."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from deployer.model import Proxy
from tests.support.npm import copied, node_modules
from tests.support.paths import PROGRAMS
from tests.support.ready_playbooks import PROXIES, Deployed, InTurn, from_npm

pytestmark = [pytest.mark.lab, pytest.mark.services]

NAME = "chat.example.com"
WORKERS = {"3000", "3001", "3002"}
CLIENT = "/srv/client"
_RUN = f"{CLIENT}/bin/node {CLIENT}/client.js"
#: The project as a user would write it without the ready playbook.
NATURAL = """\
      routes:
        - path: /
          websocket: "{{ workers }}"
"""


@pytest.fixture(scope="module")
def project(machine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[InTurn]:
    """The ready playbook, and a host with a client."""
    with from_npm("socketio", tmp_path_factory.mktemp("socketio")) as found:
        elsewhere = found.lab.hosts[1]
        copied(elsewhere, node_modules({"socket.io-client": "4.8.1"}), CLIENT)
        program = (PROGRAMS / "socketio/client.js").read_text()
        (elsewhere.root / CLIENT.lstrip("/") / "client.js").write_text(program)
        elsewhere.sh(f"echo {found.lab.hosts[0].address} {NAME} >> /etc/hosts")
        yield found


def clients(project: InTurn, site: Deployed, transports: str) -> dict[str, Any]:
    """What six clients at a time see, each with its own cookies."""
    elsewhere = project.lab.hosts[1]
    (elsewhere.root / "root/root.pem").write_bytes(site.root_pem.read_bytes())
    ran = elsewhere.sh(f"{_RUN} https://{NAME} {transports} /root/root.pem", check=False)
    seen: dict[str, Any] = json.loads(ran)
    assert "error" not in seen, seen
    return seen


@pytest.mark.parametrize("proxy", PROXIES)
def test_clients_stay_with_their_worker(project: InTurn, proxy: Proxy) -> None:
    site = project.behind(proxy)
    assert site.applied.code == 0, site.applied
    passed = "/socket.io/?EIO=4&transport=websocket  handshake (proxy): 101"
    assert passed in site.applied.out, site.applied

    for transports, ends_with in (
        ("polling,websocket", "websocket"),  # the default: polls, then upgrades the session
        ("polling", "polling"),
        ("websocket", "websocket"),
    ):
        seen = clients(project, site, transports)
        assert seen["transports"] == [ends_with] * 6
        assert seen["heard"] == ["grüße"] * 6, "all clients, whatever their worker"
        assert seen["echoed"]
        for welcome in seen["welcomes"]:
            assert welcome["host"] == NAME
            assert welcome["address"] == project.lab.hosts[1].address
        assert {welcome["port"] for welcome in seen["welcomes"]} <= WORKERS


def test_the_natural_playbook_works_too(project: InTurn) -> None:
    """One route for all; clients stay by their address."""
    playbook = project.folder / "site.yml"
    text = playbook.read_text()
    playbook.write_text(text[: text.index("      routes:")] + NATURAL)
    site = project.behind("nginx")
    assert site.applied.code == 0, site.applied
    seen = clients(project, site, "polling,websocket")
    assert seen["transports"] == ["websocket"] * 6
    assert len({welcome["port"] for welcome in seen["welcomes"]}) == 1
