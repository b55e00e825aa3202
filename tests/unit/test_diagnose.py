"""`deployer diagnose` against servers on loopback: what it names, and that a healthy twin is well.

Each case is one mistake of a front or a service, with the codes that must be found; the same front
without the mistake is the first case.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from verify_servers import Front, Server, closed_port, websocket_service

from deployer.cli import run


def diagnosed(
    capsys: pytest.CaptureFixture[str], url: str, *options: str
) -> tuple[int, dict[str, Any]]:
    """The exit code, and the findings by their codes."""
    code = run(["diagnose", url, "--json", "--timeout", "2", *options])
    document = json.loads(capsys.readouterr().out)
    assert document["exit_code"] == code
    checks = [check for host in document["hosts"].values() for check in host.get("checks", ())]
    return code, {
        check["finding"]["code"]: check["finding"] for check in checks if check["finding"]
    }


def errors(findings: dict[str, Any]) -> set[str]:
    return {code for code, finding in findings.items() if finding["severity"] == "error"}


@pytest.mark.parametrize(
    ("mistake", "options", "code"),
    [
        ({}, (), ""),
        ({"drops_upgrade": True}, (), "upgrade-not-forwarded"),
        ({"answers": "502 Bad Gateway"}, (), "bad-gateway"),
        ({"answers": "504 Gateway Timeout"}, (), "service-hangs"),
        ({"answers": "401 Unauthorized"}, (), "login-required"),
        ({"answers": "403 Forbidden"}, (), "handshake-refused"),
        ({"answers": "302 Found", "location": "/login?next=/ws"}, (), "login-required"),
        ({"changes_accept": True}, (), "wrong-accept"),
        ({"drops_subprotocol": True}, ("--subprotocol", "chat"), "subprotocol-missing"),
        ({}, ("--subprotocol", "chat"), ""),
        ({"passes_h2c": True}, (), ""),
    ],
)
def test_a_mistake_is_named_and_a_healthy_twin_is_not(
    capsys: pytest.CaptureFixture[str],
    mistake: dict[str, Any],
    options: tuple[str, ...],
    code: str,
) -> None:
    with websocket_service() as service:
        front = Front(backend_port=service, origins=(), checks_origin=False, **mistake)
        with Server(front) as server:
            exit_code, findings = diagnosed(capsys, f"ws://127.0.0.1:{server.port}/ws", *options)
    assert errors(findings) == ({code} if code else set())
    assert exit_code == (3 if code else 0)


def test_a_port_on_which_nobody_listens_cannot_be_reached(
    capsys: pytest.CaptureFixture[str],
) -> None:
    exit_code, findings = diagnosed(capsys, f"ws://127.0.0.1:{closed_port()}/ws")
    assert (exit_code, errors(findings)) == (5, {"proxy-down"})
