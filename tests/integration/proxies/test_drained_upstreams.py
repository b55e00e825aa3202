"""`deployer drain` behind each proxy: open WebSockets stay, new connections go to the others."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployer.lab.host import LabHost
from deployer.lab.lab import Lab
from tests.integration.conformance.hosts import SERVICES, start_service, stopped
from tests.integration.conformance.world import UPGRADE, read_answer
from tests.support.paths import ROOT
from tests.support.runs import deployer, write_playbook
from tests.support.waiting import PATIENCE_S

pytestmark = pytest.mark.lab

PLAYBOOK = """
- hosts: all
  become: true
  sites:
    - domain: ws.example.com
      proxy: {proxy}
      tls: {{issuer: none}}
      routes:
        - path: /
          websocket: [{first}, {second}]
        - {{path: /sticky, websocket: [{first}, {second}], sticky: cookie, probe: false}}
"""
ECHO = ROOT / "tests/integration/conformance/echo_service.py"
URLS = {name: f"http://127.0.0.1:{SERVICES[name][0]}" for name in ("first", "second")}
HANDSHAKE = [row.format("websocket") for row in UPGRADE]
#: A text message from a client, with a mask of zeros, and its echo.
SENT, ECHOED = b"\x81\x82\0\0\0\0hi", b"\x81\x02hi"


def asked(host: LabHost, path: str, *headers: str) -> tuple[socket.socket, str, str]:
    """A connection, the service that answered on it, and the cookie that it set."""
    line = socket.create_connection((host.address, 80), timeout=PATIENCE_S)
    rows = [f"GET {path} HTTP/1.1", "Host: ws.example.com", *headers, "", ""]
    line.sendall("\r\n".join(rows).encode())
    answer = read_answer(line)
    cookies = [value for name, value in answer.headers if name == "set-cookie"]
    own = next((each for each in cookies if each.startswith("deployer_")), "")
    return line, answer.echoed.service, own.partition(";")[0]


def sticky(host: LabHost) -> Iterator[tuple[str, str]]:
    """The services and cookies that new clients get."""
    for _ in range(50):
        line, service, cookie = asked(host, "/sticky", "Connection: close")
        line.close()
        yield service, cookie


def done(*arguments: str) -> str:
    """What a commit says that succeeds."""
    ran = deployer(*arguments, "--yes", "--no-diff", "--canaries", "0")
    assert ran.code == 0, ran
    return ran.out


def services(host: LabHost, path: str, *headers: str) -> set[str]:
    found = set()
    for _ in range(3):
        line, service, _ = asked(host, path, *headers)
        line.close()
        found.add(service)
    return found


def test_open_websockets_stay_and_new_ones_go_to_the_others(
    lab: Lab, host: LabHost, workdir: Path
) -> None:
    (host.root / "opt/echo").mkdir()
    (host.root / "opt/echo/echo_service.py").write_text(ECHO.read_text())
    for name in URLS:
        start_service(host, name)
    for proxy in ("apache", "nginx", "haproxy"):
        write_playbook(workdir, PLAYBOOK.format(proxy=proxy, **URLS), lab)
        done("apply", "site.yml")
        line, own, _ = asked(host, "/", *HANDSHAKE)
        drained = URLS[own]
        cookie = next(cookie for service, cookie in sticky(host) if service == own and cookie)
        with line:
            said = done("drain", "site.yml", drained)
            assert f"note: {drained} is drained" in said
            assert "handshake (backend): it is drained" in said
            assert own not in services(host, "/", *HANDSHAKE), proxy
            assert own not in services(host, "/sticky", f"Cookie: {cookie}"), proxy
            line.sendall(SENT)
            assert line.recv(100) == ECHOED, proxy
        if proxy != "haproxy":
            done("drain", "site.yml", drained, "--end")
    assert f"drain {drained}" in deployer("history", "site.yml").out

    other = next(url for url in URLS.values() if url != drained)
    refused = deployer("drain", "site.yml", other, "--yes")
    assert (refused.code, "no upstream left" in refused.out) == (1, True), refused
    # It may be stopped now, and is still drained in later runs.
    with stopped(host, own):
        assert f"{drained} is drained" in done("apply", "site.yml", "-e", "haproxy_maxconn=7000")
        dead = deployer("drain", "site.yml", drained, "--end", "--yes")
        assert (dead.code, "would fail the verification" in dead.out) == (3, True), dead
    done("drain", "site.yml", drained, "--end")
    assert own in services(host, "/", *HANDSHAKE)
