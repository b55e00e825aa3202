"""Routes whose service needs a certain handshake: every check makes that one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from deployer.commit.canaries import _opened_on_routes
from deployer.load.run import _probes
from deployer.model import CheckResult
from deployer.sites.model import Check
from deployer.sites.secret_headers import secrets_of_site
from deployer.text.redaction import masked
from deployer.verify import result_json
from deployer.verify.net.access import Access
from deployer.verify.net.stream import Deadline
from deployer.verify.options import ProxyAddress
from deployer.verify.planned.checks import planned_checks
from deployer.verify.probe.handshake import attempt_upgrade
from deployer.verify.probe.held_connections import HeldConnections
from deployer.verify.probe.spec import UpgradeProbe
from tests.support.servers.scripted import Front, Peer, Server, dial
from tests.support.verified_sites import NAME, PLAIN, a_site, findings, named, verified
from tests.support.waiting import stretched, until

SECRET = "cookie-0f-the-check"
PROBE = Check(
    path="/ws/?EIO=4&transport=websocket",
    subprotocols=("chat.v2",),
    headers=(("Cookie", f"session={SECRET}"), ("User-Agent", "probe/1")),
    send="hello",
    expect="hello back",
)


_TEXT, _CLOSE, _PING, _PONG = 0x81, 0x88, 0x89, 0x8A


class Picky:
    """A service that accepts one handshake, quotes its headers in refusals, and records both."""

    def __init__(self) -> None:
        self.refused: list[str] = []
        self.messages: list[str] = []
        self.opened = self.left_politely = 0

    def __call__(self, peer: Peer) -> None:
        if not peer.header("Sec-WebSocket-Key"):
            peer.answer("400 Bad Request", body="not a handshake")
            return
        asked = (
            peer.target,
            peer.header("Sec-WebSocket-Protocol"),
            peer.header("Cookie"),
            peer.header("User-Agent"),
        )
        if asked != (PROBE.path, "chat.v2", f"session={SECRET}", "probe/1"):
            self.refused.append(str(asked))
            peer.answer("400 Bad Request", body=f"refused {peer.header('Cookie')}")
            return
        self.opened += 1
        peer.upgrade("Sec-WebSocket-Protocol: chat.v2")
        while frame := peer.connection.recv(2):
            data = peer.connection.recv((frame[1] & 0x7F) + 4)
            payload = bytes(each ^ data[n % 4] for n, each in enumerate(data[4:]))
            if frame[0] == _TEXT:
                self.messages.append(payload.decode())
                peer.send(b"\x81\x0ahello back")
            elif frame[0] == _PING:
                peer.send(bytes([_PONG, len(payload)]) + payload)
            else:
                self.left_politely += frame[0] == _CLOSE
                return


def checked(site_settings: dict[str, Any], service: Picky) -> tuple[CheckResult, ...]:
    with (
        Server(service) as app,
        Server(Front(backend_port=app.port, origins=(PLAIN,))) as front,
    ):
        site = a_site(port=app.port, issuer="none", **site_settings)
        return verified(site, https_port=1, http_port=front.port)


@pytest.mark.parametrize(
    "settings",
    [{"probe": PROBE}, {"verify": [PROBE]}, {"verify": [replace(PROBE, hold_s=0.05)]}],
    ids=["probe", "entry on the route's path", "entry that holds"],
)
def test_every_handshake_is_the_configured_one(settings: dict[str, Any]) -> None:
    service = Picky()
    results = checked(settings, service)
    assert [(each.name, each.hop, each.detail) for each in results if not each.ok] == []
    assert findings(results) == []
    assert service.refused == []
    until(lambda: service.left_politely >= service.opened)  # its threads count on their own
    assert service.opened == service.left_politely
    assert set(service.messages) == {"hello"}
    assert named(results, "handshake").target == PROBE.path
    assert any(each.name == "verify" for each in results) is (
        "verify" in settings and settings["verify"][0].hold_s is not None
    )


def test_a_route_without_its_probe_fails_and_no_value_is_shown() -> None:
    wrong = replace(PROBE, subprotocols=())
    results = checked({"probe": wrong}, Picky())
    finding = findings(results)[0]
    assert "Cookie: …" in finding.request
    assert "User-Agent: …" in finding.request
    text = str([result_json(each) for each in results])
    assert "probe/1" not in text
    # The service quotes the cookie: the run, which knows the secret, masks it.
    site = a_site(port=1, probe=wrong)
    assert SECRET in text
    assert SECRET not in str(masked(results, secrets_of_site(site)))


def test_a_route_that_is_not_probed_is_left_alone() -> None:
    service = Picky()
    results = checked({"is_probed": False}, service)
    assert service.opened == 0
    assert service.refused == []
    assert [each.name for each in results if not each.ok] == []
    assert named(results, "handshake").skipped
    assert named(results, "handshake").detail == "probe: false"
    assert "h2c refused" not in [each.name for each in results]  # its service would get a request
    assert named(results, "foreign origin refused").detail == "answered 403"


def test_canaries_and_loads_make_the_configured_handshake() -> None:
    service = Picky()
    with Server(service) as app:
        site = a_site(port=app.port, issuer="none", probe=PROBE)
        flock = HeldConnections(dial)
        try:
            ((route),) = _opened_on_routes(flock, [site], 1, dial)
            for twin in route.twins:
                flock.wait_until_open()
                assert twin.is_open, twin.problem
        finally:
            flock.close()
    assert (service.messages, service.refused) == (["hello"], [])
    result = CheckResult(site=NAME, name="handshake", target=PROBE.path, hop="proxy", ok=True)
    assert _probes(site, [result], {}) == [], "no connection was opened"


# --- answers other than 101 -----------------------------------------------------------------------


def wants_a_token(peer: Peer) -> None:
    if peer.header("Upgrade"):
        peer.answer("401 Unauthorized", body=f"no token at {id(peer):x}")
    else:
        peer.answer("404 Not Found", body="nothing here")


@pytest.mark.parametrize(
    ("front", "statuses", "ok", "words"),
    [
        ({}, (101, 401), True, "answered 401, like the service itself, which the probe accepts"),
        ({}, (101,), False, "answered 401"),
        ({}, (101, 403), False, "answered 401"),
        ({"answers": "401 Unauthorized"}, (401,), False, "answered 401"),
        ({"answers": "502 Bad Gateway"}, (401, 502), False, "answered 502"),
        ({"drops_upgrade": True}, (401,), False, "answered 404"),
    ],
    ids=["listed", "not listed", "another listed", "of the proxy", "bad gateway", "lost upgrade"],
)
def test_a_listed_status_must_be_the_services_own(
    front: dict[str, Any], statuses: tuple[int, ...], ok: bool, words: str
) -> None:
    with (
        Server(wants_a_token) as app,
        Server(Front(backend_port=app.port, origins=(PLAIN,), **front)) as proxy,
    ):
        probe = Check(path="/ws", statuses=statuses)
        site = a_site(port=app.port, issuer="none", probe=probe)
        results = verified(site, https_port=1, http_port=proxy.port)
    shaken = named(results, "handshake")
    assert (shaken.ok, shaken.detail[: len(words)]) == (ok, words)
    if front:
        assert shaken.finding is not None
        assert shaken.finding.hop == "proxy"
        assert "directly to the service" in shaken.finding.symptom


def test_a_service_that_should_refuse_but_opens() -> None:
    service = Picky()
    results = checked({"probe": replace(PROBE, send=None, expect=None, statuses=(401,))}, service)
    shaken = named(results, "handshake")
    assert (shaken.ok, shaken.detail) == (False, "answered 101, not 401")


# --- hold -----------------------------------------------------------------------------------------


def test_a_text_is_sent_once_although_the_connection_is_held() -> None:
    service = Picky()
    with Server(service) as app:
        held = replace(PROBE, hold_s=0.05)
        site = a_site(port=app.port, issuer="none", verify=[held])
        (check,) = (each for each in planned_checks(site, ProxyAddress()) if each.hold_s)
        assert isinstance(check.peer, UpgradeProbe)
        access = Access(dial=dial, timeout_s=5.0, until=Deadline(20.0))
        attempt = attempt_upgrade(check.peer, access)
    assert attempt.failure is None
    assert service.messages == ["hello"]


def test_the_failure_names_the_missing_message() -> None:
    with (
        Server(Picky()) as app,
        Server(Front(backend_port=app.port, origins=(PLAIN,))) as front,
    ):
        site = a_site(port=app.port, issuer="none", probe=replace(PROBE, expect="goodbye"))
        results = verified(site, https_port=1, http_port=front.port, timeout_s=stretched(0.5))
    assert "did not send the expected message 'goodbye'" in named(results, "handshake").detail
