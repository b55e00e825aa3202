"""Packages, services, users and reloads on a real Debian, and the exact way back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from runner_on_host import runner_on
from runner_process import RunnerProcess, change, file_change
from support import differences, state_of

from deployer.lab.host import LabHost

pytestmark = pytest.mark.lab

SITE = b"server { listen 8081; location / { return 200 hello; } }\n"
GOACCESS_UNIT = b"""[Unit]
Description=Report

[Service]
User=goaccess
ExecStart=/usr/bin/goaccess /dev/null --no-global-config --log-format=COMBINED \
    --real-time-html --addr=127.0.0.1 -o /var/www/stats/index.html

[Install]
WantedBy=multi-user.target
"""
ROOTS = {"owner": "root", "group": "root", "mode": "0644"}


def handler(action: str, unit: str, *config_test: str, stage: int = 0) -> dict[str, Any]:
    return {
        "stage": stage,
        "because": [],
        "handler": {
            "name": f"{action} {unit}",
            "action": action,
            "unit": unit,
            "argv": [],
            "config_test": list(config_test),
        },
    }


RELOAD_NGINX = handler("reload", "nginx", "nginx", "-t", "-q")


def whole_service() -> list[dict[str, Any]]:
    """nginx and GoAccess with all that belongs to them."""
    account = {"comment": "Report", "system": True, "home": "/nonexistent", "create_home": False,
               "shell": "/usr/sbin/nologin"}  # fmt: skip
    folder = {"type": "directory", "mode": "0755", "owner": "goaccess", "group": "goaccess"}
    return [
        change("package:nginx", {}),
        change("package:goaccess", {}),
        change("user:goaccess", account),
        change("directory:/var/www/stats", folder),
        file_change("/etc/systemd/system/goaccess.service", GOACCESS_UNIT, **ROOTS),
        file_change("/etc/nginx/conf.d/hello.conf", SITE, **ROOTS),
        change("service:nginx", {"enabled": True, "active": True}),
        change("service:goaccess", {"enabled": True, "active": True}),
    ]


@pytest.fixture
def runner(host: LabHost) -> Iterator[RunnerProcess]:
    running = runner_on(host)
    yield running
    running.end()


def on(host: LabHost, *argv: str) -> str:
    return host.exec(list(argv)).stdout.strip()


def port_8081(host: LabHost) -> str:
    program = (
        "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8081').read().decode())"
    )
    return on(host, "python3", "-c", program)


def test_packages_users_and_services_leave_no_trace(host: LabHost, runner: RunnerProcess) -> None:
    before = state_of(host)
    reply = runner.apply(*whole_service(), handlers=[RELOAD_NGINX, handler("restart", "goaccess")])
    assert reply == {"commit": "c1", "state": "pending"}
    assert port_8081(host) == "hello"
    assert on(host, "systemctl", "is-active", "nginx", "goaccess") == "active\nactive"
    reply = runner.ask("revert", commit="c1", why="a test")
    assert reply == {
        "commit": "c1", "state": "reverted", "kept": [], "failed": [], "certificates_kept": []
    }  # fmt: skip
    assert differences(before, state_of(host)) == {}
