"""Chatwoot's site before a real Rails with Action Cable that wants TLS, behind each proxy."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest

from deployer.lab.host import LabHost
from deployer.lab.lab import Lab
from tests.support.clients.site_pages import Page, page
from tests.support.clients.site_websocket import connected
from tests.support.clients.websocket import Client
from tests.support.paths import PROGRAMS
from tests.support.runs import deployer, write_playbook
from tests.support.waiting import PATIENCE_S

pytestmark = pytest.mark.lab

NAME = "chat.example.com"
CABLE = ("actioncable-v1-json", "actioncable-unsupported")
CHANNEL = json.dumps({"channel": "AskedChannel"})

RAILS = """\
- name: Rails
  hosts: all
  become: true
  roles:
    - role: websocket_app
      vars:
        app_name: lookalike
        app_src: cable
        app_packages: [ruby-actioncable, ruby-railties, puma]
        app_command: [/usr/bin/puma, -e, production, -b, "tcp://127.0.0.1:3000", config.ru]
        app_environment: {SECRET_KEY_BASE: 0123456789abcdef0123456789abcdef}
        app_port: 3000
        app_health: /health
"""


@pytest.fixture(scope="module")
def project(
    shared_lab: Lab, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[LabHost, Path]]:
    """The ready playbook in a folder of its own, and a host on which Rails runs."""
    (host,) = shared_lab.hosts
    folder = tmp_path_factory.mktemp("chatwoot")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        copytree(PROGRAMS / "cable", folder / "cable")
        write_playbook(folder, RAILS, shared_lab)
        rails = deployer("apply", "site.yml", "--yes", timeout_s=PATIENCE_S)
        assert rails.code == 0, rails
        (folder / "site.yml").unlink()
        (folder / "inventory.yml").unlink()
        assert deployer("init", "chatwoot").code == 0
        shared_lab.write_inventory(folder / "inventory.yml")
        yield host, folder


def received(client: Client, kind: str | None = None) -> dict[str, Any]:
    """The next message of that type; those of channels have none."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        message: dict[str, Any] = json.loads(client.recv(timeout=deadline - time.monotonic()))
        if message.get("type") == kind:
            return message


@pytest.mark.parametrize("proxy", ["haproxy", "nginx", "apache"])
def test_action_cable_behind(proxy: str, project: tuple[LabHost, Path]) -> None:
    """One word is changed, and Rails is behind another proxy."""
    host, folder = project
    text = (folder / "site.yml").read_text()
    assert "proxy: haproxy " in text
    (folder / "site.yml").write_text(text.replace("proxy: haproxy", f"proxy: {proxy}"))
    try:
        applied = deployer("apply", "site.yml", "--yes")
    finally:
        (folder / "site.yml").write_text(text)
    assert applied.code == 0, applied
    assert "subprotocol actioncable-v1-json" in applied.out

    root_pem = folder / ".deployer/ca/root.pem"
    origin, our_address = f"https://{NAME}", host.address.rpartition(".")[0] + ".1"
    url = f"wss://{NAME}/cable"
    with connected(host, url, root_pem, subprotocols=CABLE) as client:
        assert client.subprotocol == "actioncable-v1-json"
        assert json.loads(client.recv()) == {"type": "welcome"}
        client.send(json.dumps({"command": "subscribe", "identifier": CHANNEL}))
        # What Rails makes of Host and of the X-Forwarded headers; by the same goes its own check of
        # the origin, which has let this connection in.
        seen = received(client)["message"]
        assert seen == {
            "url": f"{origin}/cable",
            "base_url": origin,
            "ssl": True,
            "remote_ip": our_address,
        }
        said = json.dumps({"action": "echo", "text": "grüße"})
        client.send(json.dumps({"command": "message", "identifier": CHANNEL, "data": said}))
        assert received(client)["message"] == {"text": "grüße"}
        assert received(client, "ping")["message"] > 0

    def answer(url: str, **headers: str) -> Page:
        return page(host, url, root_pem=root_pem, headers=headers)

    health = Page(200, "", '{"status":"woot"}')
    assert (
        answer(f"{origin}/health") == health
    )  # force_ssl redirects clients that it takes for plain
    assert answer(f"http://{NAME}/health?a=%2F").location == f"{origin}/health?a=%2F"
    forged = {"X-Forwarded-Proto": "http", "X-Forwarded-For": "6.6.6.6", "X-Real-IP": "6.6.6.6"}
    asked = answer(f"{origin}/asked?a=%2F", **forged)
    assert json.loads(asked.text) == {
        "url": f"{origin}/asked?a=%2F",
        "base_url": origin,
        "ssl": True,
        "remote_ip": our_address,
        "token": None,
    }
    documented, hyphens = {"api_access_token": "one"}, {"api-access-token": "two"}
    for sent, token in ((documented, "one"), (hyphens, "two"), ({**documented, **hyphens}, "two")):
        answered = answer(f"{origin}/asked", **sent)
        assert json.loads(answered.text)["token"] == token, sent
