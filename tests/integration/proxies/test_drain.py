"""Open WebSockets at a reload: forecast by the plan, and closed when the drain limit expires."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from deployer.lab.host import LabHost
from deployer.lab.lab import Lab
from tests.support.paths import PROGRAMS
from tests.support.runs import deployer, write_playbook
from tests.support.waiting import PATIENCE_S

pytestmark = pytest.mark.lab

PLAYBOOK = """
- hosts: all
  become: true
  vars: {limit: 1h, drain: 2s}
  sites:
    - domain: ws.example.com
      proxy: nginx
      drain: "{{ drain }}"
      tls: {issuer: none}
      routes:
        - path: /
          websocket: http://127.0.0.1:9001
          idle_timeout: "{{ limit }}"
"""
STOPPED = """
- hosts: all
  become: true
  tasks:
    - service: {name: nginx, state: stopped}
"""
DRAIN_S = 2.0


@contextmanager
def three_websockets(host: LabHost) -> Iterator[list[socket.socket]]:
    """Connections upgraded through the proxy by clients that then stay idle."""
    with ExitStack() as stack:
        lines = []
        for _ in range(3):
            line = socket.create_connection((host.address, 80), timeout=PATIENCE_S)
            lines.append(stack.enter_context(line))
            line.sendall(
                b"GET / HTTP/1.1\r\nHost: ws.example.com\r\n"
                b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
                b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            )
            assert b" 101 " in line.recv(4096)
        yield lines


def forecasts(*arguments: str) -> list[dict[str, Any]]:
    ran = deployer("plan", "--json", *arguments)
    assert ran.code == 0, ran
    found: list[dict[str, Any]] = ran.document["hosts"]["web1"]["plan"].get("forecasts", [])
    return found


def test_open_websockets_are_forecast_and_drained(host: LabHost, lab: Lab, workdir: Path) -> None:
    write_playbook(workdir, PLAYBOOK, lab)
    (workdir / "stopped.yml").write_text(STOPPED)
    host.exec(["tee", "/root/backends.py"], stdin=(PROGRAMS / "backends.py").read_text())
    host.sh("systemd-run --quiet --unit=backends python3 /root/backends.py")
    first = deployer("apply", "site.yml", "--yes")
    assert first.code == 0, first
    assert forecasts("site.yml", "-e", "limit=2h") == [], "no client is connected"

    with three_websockets(host) as lines:
        (found,) = forecasts("site.yml", "-e", "limit=2h")
        workers = found.pop("workers")
        words = f"this reload leaves 3 open WebSocket connections on {workers} old worker"
        words += f"{'' if workers == 1 else 's'} for at most 2 s"
        expected = {"unit": "nginx", "action": "reload", "connections": 3, "drain_s": DRAIN_S}
        assert found == {**expected, "words": words}
        (found,) = forecasts("stopped.yml", "--displace", "ws.example.com")
        assert found["words"] == "stopping nginx ends 3 open WebSocket connections"

        began = time.monotonic()
        second = deployer("apply", "site.yml", "--yes", "-e", "limit=2h")
        assert second.code == 0, second
        shown = re.sub(r"\s+", " ", second.out)
        assert re.search(rf"! handler reload nginx \(because [^!]+\) {words}", shown), shown
        for line in lines:
            while line.recv(100):  # until it is cut off
                pass
        assert time.monotonic() - began >= DRAIN_S

    endless = deployer("apply", "site.yml", "--yes", "-e", "drain=none")
    assert endless.code == 0, endless
    with three_websockets(host):
        (found,) = forecasts("site.yml")
        assert found["drain_s"] is None
        assert found["words"].endswith("for as long as they last")
