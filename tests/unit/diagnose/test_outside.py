"""`deployer diagnose` with servers on loopback: each fault is named, and a healthy server has none.

Each case is one mistake of a front or a service, with the codes that must be found; the same front
without the mistake is the first case.
"""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest

from deployer.cli.main import run
from deployer.diagnose.outside import Outside
from deployer.diagnose.site_checks import site_checks
from deployer.run.diagnose import Request
from deployer.run.diagnose import diagnosed as diagnosed_run
from deployer.sites.model import Route, Site, Upstream
from deployer.verify.net.access import Access
from deployer.verify.net.lookup import Lookup
from deployer.verify.net.stream import Deadline
from deployer.verify.public.dial import PublicDial
from tests.support.servers.libraries import always, by_path, same_origin
from tests.support.servers.scripted import (
    Front,
    Peer,
    Script,
    Server,
    closed_port,
    dial,
    websocket_service,
)
from tests.support.waiting import at_most


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
def test_a_fault_is_named_and_a_healthy_server_has_none(
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


def test_without_access_to_the_host_the_view_from_outside_remains(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    there = ("--host", f"root@127.0.0.1:{closed_port()}")
    with websocket_service() as port:
        well, _ = diagnosed(capsys, f"ws://127.0.0.1:{port}/ws", *there)
        run(["diagnose", f"ws://127.0.0.1:{port}/ws", *there])
        words = capsys.readouterr().out
    with Server(lambda peer: peer.answer("502 Bad Gateway")) as server:
        ill, findings = diagnosed(capsys, f"ws://127.0.0.1:{server.port}/ws", *there)
    assert (well, ill, errors(findings)) == (5, 3, {"bad-gateway"})
    assert "The host was not inspected" in words
    assert "no problem found from outside" in words


def test_a_closed_port_is_unreachable(
    capsys: pytest.CaptureFixture[str],
) -> None:
    exit_code, findings = diagnosed(capsys, f"ws://127.0.0.1:{closed_port()}/ws")
    assert (exit_code, errors(findings)) == (5, {"proxy-down"})


# --- a playbook's site ----------------------------------------------------------------------------


class _ToServer(PublicDial):
    """DNS and ports that all lead to one server of the test."""

    def __init__(self, port: int) -> None:
        super().__init__({("site.test", 80): "127.0.0.1"})
        self._port = port

    def __call__(
        self, *, host: str = "", port: int = 0, socket: str = "", timeout_s: float
    ) -> socket.socket:
        return dial(host="127.0.0.1", port=self._port, timeout_s=timeout_s)


@pytest.mark.parametrize(
    ("script", "codes"),
    [
        ("new WebSocket(`ws://${location.host}/ws`)", set()),
        ('connection = {"url": "site.test/ws", "port": 7890}', {"goaccess-url"}),
    ],
)
def test_a_sites_page_is_searched_for_websockets(script: str, codes: set[str]) -> None:
    pages = by_path(
        {
            "/": always("200 OK", "Content-Type: text/html", body=f"<script>{script}</script>"),
            "/ws": same_origin(),
        },
        always("404 Not Found"),
    )
    site = Site(
        domain="site.test",
        routes=(
            Route(path="/ws", websocket=True, upstreams=(Upstream(host="127.0.0.1", port=1),)),
            Route(path="/", root="/var/www"),
        ),
    )
    with Server(pages) as server:
        to_server = _ToServer(server.port)
        until = Deadline(10)
        access = Access(dial=to_server, timeout_s=2, until=until)
        checks = site_checks(site, Outside(access, to_server))
    assert {check.finding.code for check in checks if check.finding} == codes
    assert {check.name for check in checks} == {"page", "opened by page"}


def test_a_site_whose_name_does_not_resolve_is_skipped_with_a_reason() -> None:
    site = Site(domain="site.invalid", routes=(Route(path="/", root="/var/www"),))
    nowhere = _Nowhere()
    access = Access(dial=nowhere, timeout_s=1, until=Deadline(5))
    [check] = site_checks(site, Outside(access, nowhere))
    assert check.ok
    assert check.skipped
    assert "does not resolve" in check.detail


class _Nowhere(PublicDial):
    """DNS without any names."""

    def lookup(self, name: str, port: int) -> Lookup:
        return Lookup(name=name, problem="does not resolve")


def test_options_that_require_an_address(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    playbook = tmp_path / "site.yml"
    playbook.write_text("[]\n")
    assert run(["diagnose", str(playbook), "--origin", "https://a"]) == 1
    assert "--origin requires an address, not a playbook" in capsys.readouterr().err
    assert run(["diagnose", "wss://a.invalid/", "-l", "web"]) == 1
    for idle in (["--become"], ["-K"], ["--accept-new"], ["-i", "hosts.yml"]):
        assert run(["diagnose", "wss://a.invalid/", *idle]) == 1
        assert "requires --host or a playbook" in capsys.readouterr().err
    assert run(["diagnose", "wss://a.invalid/", "--ca-bundle", str(playbook)]) == 1
    assert "no certificate in PEM form" in capsys.readouterr().err


def test_the_users_own_headers_are_never_shown(capsys: pytest.CaptureFixture[str]) -> None:
    def repeats(peer: Peer) -> None:
        peer.answer("400 Bad Request", body=f"what is {peer.header('X-Key')}?")

    with Server(repeats) as server:
        url = f"ws://127.0.0.1:{server.port}/ws?token=tell-nobody"
        run(["diagnose", url, "--header", "X-Key: hunter2hunter2", "--json", "-v"])
    shown = capsys.readouterr()
    assert "X-Key" in shown.out
    assert "hunter2hunter2" not in shown.out + shown.err
    assert "tell-nobody" not in shown.out + shown.err


# --- peers that mean harm -------------------------------------------------------------------------


def _endless_headers(peer: Peer) -> None:
    peer.send(b"HTTP/1.1 200 OK\r\n")
    while not peer.stopping.is_set():
        peer.send(b"X-Padding: " + b"x" * 4000 + b"\r\n")


def _drips(peer: Peer) -> None:
    peer.drip(b"HTTP/1.1 200 OK\r\nX-Padding: x\r\n")


def _garbage(peer: Peer) -> None:
    peer.send(b"\x00\xff" * 5000)
    peer.until_it_leaves()


def _gigabyte(peer: Peer) -> None:
    peer.upgrade()
    peer.send(b"\x82\x7f" + (2**30).to_bytes(8, "big"))
    while not peer.stopping.is_set():
        peer.send(b"x" * 65536)


def _pings(peer: Peer) -> None:
    peer.upgrade()
    while not peer.stopping.is_set():
        peer.send(b"\x89\x05hello" * 100)


def _never_twice_the_same(peer: Peer) -> None:
    number = int(peer.target.removeprefix("/ws") or 0)
    peer.answer("302 Found", f"Location: /ws{number + 1}")


@pytest.mark.parametrize(
    ("script", "scheme", "code"),
    [
        (_endless_headers, "ws", "endless-headers"),
        (_endless_headers, "http", "endless-headers"),
        (_drips, "ws", "timeout"),
        (_garbage, "ws", "not-http"),
        (_garbage, "http", "not-http"),
        (_garbage, "wss", "tls-not-spoken"),
        (_gigabyte, "ws", "message-too-big"),
        (_pings, "ws", "no-pong"),
        (_never_twice_the_same, "ws", "redirected"),
        (_never_twice_the_same, "http", "redirected"),
    ],
)
def test_a_hostile_peer_gets_a_finding_in_time(script: Script, scheme: str, code: str) -> None:
    with Server(script, reads_head=scheme != "wss") as server:
        request = Request(url=f"{scheme}://127.0.0.1:{server.port}/ws", timeout_s=0.5)
        diagnosis = diagnosed_run(request)
    found = [check.finding for check in diagnosis.hosts[0].checks if check.finding]
    assert [each.code for each in found if each.severity == "error"] == [code]
    assert diagnosis.seconds < at_most(5)
