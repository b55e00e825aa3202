"""Connections held open during a change: which ones a reload, a restart or a service closes.

Then, on the same hosts: what `verify --watch` reports about a service that stops.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from deployer.lab.host import LabHost
from deployer.lab.lab import running
from tests.integration.proxies.test_drain import three_websockets
from tests.support.paths import PROGRAMS
from tests.support.runs import Ran, deployer, write_playbook
from tests.support.waiting import PATIENCE_S

pytestmark = pytest.mark.lab

UNITS = {"web1": "nginx", "web2": "apache2", "web3": "haproxy"}
PLAYBOOK = """
- hosts: all
  become: true
  vars:
    limit: 1h
    required: true
    marker: none
    notified: restart it
    unit: "{{ {'web1': 'nginx', 'web2': 'apache2', 'web3': 'haproxy'}[inventory_hostname] }}"
    files:
      web1: /etc/nginx/conf.d/canary.conf
      web2: /etc/apache2/conf-enabled/zzz-canary.conf
      web3: /etc/haproxy/canary.lst
  tasks:
    - name: a change that needs a restart
      copy: {dest: "{{ files[inventory_hostname] }}", content: "{{ marker }}\\n"}
      notify: "{{ notified }}"
      when: marker != "none"
  handlers:
    - name: restart it
      service: {name: "{{ unit }}", state: restarted}
    - name: restart the service
      service: {name: backends, state: restarted}
  sites:
    - domain: ws.example.com
      proxy: "{{ {'web2': 'apache'}.get(inventory_hostname, unit) }}"
      tls: {issuer: none}
      require_survival: "{{ required }}"
      routes:
        - path: /
          websocket: http://127.0.0.1:9001
          idle_timeout: "{{ limit }}"
"""
UNIT = "[Service]\nExecStart=python3 /root/backends.py\n"


def apply(**variables: Any) -> Ran:
    return deployer("apply", "site.yml", "--yes", "--json", "-e", json.dumps(variables))


@pytest.fixture(scope="module")
def serving(
    machine: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[LabHost, ...]]:
    """A host for each proxy, each serving the same site; the folder of their playbook."""
    program = (PROGRAMS / "backends.py").read_text()
    folder = tmp_path_factory.mktemp("canaries")
    with running(3, name=f"test-{os.getpid()}-canaries") as lab, pytest.MonkeyPatch.context() as at:
        at.chdir(folder)
        write_playbook(folder, PLAYBOOK, lab)
        for host in lab.hosts:
            host.exec(["tee", "/root/backends.py"], stdin=program)
            host.exec(["tee", "/etc/systemd/system/backends.service"], stdin=UNIT)
            host.sh("systemctl daemon-reload && systemctl start backends")
        first = apply()
        assert first.code == 0, first
        assert '"canaries"' not in first.out, "nothing ran yet that could drop a connection"
        yield lab.hosts


def canaries(ran: Ran, host: str) -> dict[str, Any]:
    found: dict[str, Any] = ran.document["hosts"][host]["canaries"]
    return found


def route(ran: Ran, host: str) -> dict[str, Any]:
    (found,) = canaries(ran, host)["routes"]
    assert isinstance(found, dict)
    return found


def survival(ran: Ran, host: str) -> dict[str, Any]:
    checks = ran.document["hosts"][host]["checks"]
    (found,) = (check for check in checks if check["name"] == "survival")
    assert isinstance(found, dict)
    return found


def test_a_reload_keeps_every_connection(serving: tuple[LabHost, ...]) -> None:
    with ExitStack() as stack:
        for host in serving:
            stack.enter_context(three_websockets(host))
        ran = apply(limit="2h")
    assert ran.code == 0, ran
    for host, unit in UNITS.items():
        assert canaries(ran, host)["affected"] == {unit: "reload"}
        shown = route(ran, host)
        assert (shown["opened"], shown["survived"], shown["lost"]) == (5, 5, 0), shown
        others = canaries(ran, host)["others"]
        assert (others["connections"], others["still_open"]) == (3, 3), others
        words = f"5 of 5 open connections survived the reload of {unit}"
        assert survival(ran, host)["detail"] == words
        assert f"are still there after the reload of {unit}" in ran.err


def test_without_a_reload_there_are_none(serving: tuple[LabHost, ...]) -> None:
    nothing = apply(limit="2h")
    assert nothing.code == 0, nothing
    assert '"canaries"' not in nothing.out


def test_as_many_as_are_asked_for(serving: tuple[LabHost, ...]) -> None:
    with ThreadPoolExecutor() as pool:
        two, none = pool.map(
            lambda host, count: deployer(
                *("reload", "site.yml", "-e", "limit=2h", "-l", host, "--yes", "--json"),
                *("--canaries", count),
            ),
            ("web1", "web3"),
            ("2", "0"),
        )
    assert (two.code, none.code) == (0, 0), (two, none)
    assert route(two, "web1")["survived"] == 2
    assert '"canaries"' not in none.out


def test_a_restart_is_reverted_if_all_must_survive(serving: tuple[LabHost, ...]) -> None:
    ran = apply(limit="2h", marker="# restart")
    assert ran.code == 3, ran
    for host, unit in UNITS.items():
        assert ran.document["hosts"][host]["state"] == "reverted"
        shown = route(ran, host)
        assert (shown["opened"], shown["survived"], shown["lost"]) == (5, 0, 5), shown
        for canary in shown["canaries"]:
            assert (canary["fate"], canary["by"]) == ("reset", "proxy"), canary
            assert 0 <= canary["after_s"] < 10, canary
        found = [each for each in ran.document["findings"] if each["host"] == host]
        assert [each["code"] for each in found] == ["canary-lost"]
        assert f"this change restarts {unit}" in found[0]["cause"]


def test_a_restart_is_otherwise_reported(serving: tuple[LabHost, ...]) -> None:
    ran = apply(limit="2h", marker="# restart", required=False)
    assert ran.code == 0, ran
    for host in UNITS:
        assert route(ran, host)["lost"] == 5
        check = survival(ran, host)
        assert check["ok"]
        assert (check["finding"]["code"], check["finding"]["severity"]) == (
            "canary-lost",
            "warning",
        )


def test_a_service_that_ends_its_own_connections(serving: tuple[LabHost, ...]) -> None:
    ran = apply(limit="3h", marker="# again", notified="restart the service")
    assert ran.code == 0, ran
    for host in UNITS:
        shown = route(ran, host)
        assert (shown["opened"], shown["ended_by_service"], shown["lost"]) == (5, 5, 0), shown


def test_canaries_leave_the_last_places_of_apache(serving: tuple[LabHost, ...]) -> None:
    """A process with a canary would outlive the reload, and a new one could not start."""
    only = ("-l", "web2", "--yes", "--json", "-e", '{"required": false, "limit": "3h"}')
    small = deployer("apply", "site.yml", *only, "-e", '{"marker": "ServerLimit 2"}')
    assert small.code == 0, small
    ran = deployer("reload", "site.yml", *only)
    assert ran.code == 0, ran
    shown = route(ran, "web2")
    assert (shown["opened"], shown["canaries"]) == (0, [])
    assert "the last of the 2 processes" in shown["note"]


# --- watching -------------------------------------------------------------------------------------


def test_a_service_that_ends_and_comes_back(serving: tuple[LabHost, ...]) -> None:
    metrics = Path("site.prom")
    watching = subprocess.Popen(
        [
            *(sys.executable, "-m", "deployer", "verify", "site.yml", "-e", "limit=3h"),
            *("-l", "web1", "--watch", "1s", "--json", "--metrics", metrics),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert watching.stdout is not None
    try:
        first = json.loads(watching.stdout.readline())
        assert [change["now"] for change in first["changes"]] == ["healthy"]
        assert (
            'deployer_handshake_up{host="web1",site="ws.example.com",path="/",hop="proxy"} 1'
            in (metrics.read_text())
        )
        serving[0].sh("systemctl stop backends")
        ended = json.loads(watching.stdout.readline())
        assert {change["now"] for change in ended["changes"]} > {"unhealthy", "service-down"}
        assert ended["exit_code"] == 3
        assert 'deployer_verify_healthy{host="web1"} 0\n' in metrics.read_text()
        serving[0].sh("systemctl start backends")
        back = json.loads(watching.stdout.readline())
        assert {change["now"] for change in back["changes"]} == {"healthy", "ok"}
        assert metrics.stat().st_mode & 0o777 == 0o644
    finally:
        watching.send_signal(signal.SIGINT)
        out, err = watching.communicate(timeout=PATIENCE_S)
    assert watching.returncode == 0, err
    assert (out, "Traceback" in err) == ("", False), err
    shown = [line for line in err.splitlines() if "  web1  " in line]
    assert len(shown) == len([*first["changes"], *ended["changes"], *back["changes"]]), err
