"""The path of a request through a host's proxies, and merged results of outside and inside."""

from __future__ import annotations

from dataclasses import replace

import pytest

from deployer.diagnose.host_diagnosis import host_from
from deployer.diagnose.inside import Inside
from deployer.diagnose.merge import merge_results
from deployer.diagnose.stages import stages_of
from deployer.errors import UsageError
from deployer.model import CheckResult, Finding, Hop
from deployer.proxies.inspect import ConfigFile, Inspection, ProxyState
from deployer.verify.net.address import parse_address

ADDRESS = parse_address("wss://chat.example.com/ws?token=secret")
CHAIN = """
events {}
http {
    server {
        listen 443 ssl;
        server_name chat.example.com;
        location /ws { proxy_pass http://127.0.0.1:8081/inner; }
    }
    server { listen 127.0.0.1:8081; location / { proxy_pass http://127.0.0.1:3000; } }
    server { listen 8082; location / { proxy_pass http://127.0.0.1:8082; } }
}
"""
NGINX = ProxyState(
    proxy="nginx",
    is_running=True,
    config=(ConfigFile(path="/etc/nginx/nginx.conf", text=CHAIN),),
    listeners=("0.0.0.0:443", "127.0.0.1:8081", "[::]:8082"),
)


def test_a_chain_of_proxies_on_one_host_is_followed() -> None:
    outer, inner = stages_of(Inspection(proxies=(NGINX,)), ADDRESS)
    assert (outer.endpoint.port, outer.endpoint.tls, outer.uri) == (443, True, ADDRESS.uri)
    assert (inner.endpoint.host, inner.endpoint.port, inner.endpoint.tls) == (
        *("127.0.0.1", 8081),
        False,
    )
    assert inner.asked.target == "/inner?token=secret"
    assert inner.uri == "ws://chat.example.com:8081/inner?token=secret"
    assert inner.asked.host == "chat.example.com"


def test_a_proxy_that_forwards_to_itself_is_one_stage() -> None:
    stages = stages_of(Inspection(proxies=(NGINX,)), parse_address("ws://chat.example.com:8082/"))
    assert [stage.endpoint.host for stage in stages] == ["::1"]


def test_a_listening_proxy_is_preferred() -> None:
    other = replace(NGINX, is_running=False, listeners=())
    running = replace(NGINX, listeners=("0.0.0.0:8081",))
    assert stages_of(Inspection(proxies=(running,)), ADDRESS) == ()
    assert stages_of(Inspection(proxies=(other,)), ADDRESS)[0].state == other


def test_a_proxy_that_has_not_loaded_its_files_is_a_stage() -> None:
    files = tuple(replace(each, changed_s_ago=1.0) for each in NGINX.config)
    stale = replace(NGINX, listeners=("0.0.0.0:8081",), config=files, accepted_reload_s_ago=60.0)

    assert stages_of(Inspection(proxies=(stale,)), ADDRESS)[0].state == stale


# --- together -------------------------------------------------------------------------------------


def result(code: str, hop: Hop, *, name: str, file: str = "") -> CheckResult:
    finding = Finding(code=code, hop=hop, symptom=code, cause="c", fix="f", file=file)
    return CheckResult(
        site="chat.example.com", name=name, target=name, hop=hop, ok=False, finding=finding
    )


OUTSIDE = result("origin-blocked", "public", name="handshake")
INSPECTION = Inspection(proxies=(NGINX,))
STAGES = stages_of(INSPECTION, ADDRESS)


def findings(*checks: CheckResult) -> list[tuple[str, str]]:
    found = merge_results([OUTSIDE], Inside(stages=STAGES, checks=checks), ADDRESS, INSPECTION)
    return [(each.finding.code, each.finding.hop) for each in found if each.finding is not None]


def test_a_finding_of_both_views_is_reported_once() -> None:
    exact = result("headers-not-inherited", "proxy", name="handshake at nginx", file="/etc/x:1")
    assert findings(exact) == [("headers-not-inherited", "proxy")]


def test_a_code_proven_from_outside_gets_the_hop_from_inside() -> None:
    outside = result("subprotocols-refused", "public", name="handshake")
    service = result("backend-not-websocket", "backend", name="handshake at nginx")
    again = result("backend-not-websocket", "backend", name="handshake at service")
    inside = Inside(stages=STAGES, checks=(service, again))
    found = merge_results([outside], inside, ADDRESS, INSPECTION)
    shown = [each.finding for each in found if each.finding is not None]
    assert [(each.code, each.hop) for each in shown] == [("subprotocols-refused", "backend")]


def test_a_finding_only_from_outside_mentions_that_the_host_works() -> None:
    good = CheckResult(
        site="chat.example.com", name="handshake at nginx", target="/ws", hop="proxy", ok=True
    )
    found = merge_results([OUTSIDE], Inside(stages=STAGES, checks=(good,)), ADDRESS, INSPECTION)
    assert found[0].finding is not None
    assert found[0].finding.code == "origin-blocked"
    assert "on the host itself, the same handshake succeeds" in found[0].finding.evidence


# --- the host -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "user", "name", "port"),
    [
        ("web1.example.com", None, "web1.example.com", 22),
        ("admin@192.0.2.7:2222", "admin", "192.0.2.7", 2222),
        ("root@[2001:db8::1]:22", "root", "2001:db8::1", 22),
    ],
)
def test_a_host_is_named_as_for_ssh(text: str, user: str | None, name: str, port: int) -> None:
    host = host_from(text)
    assert (host.user, host.hostname, host.port) == (user, name, port)


@pytest.mark.parametrize("text", ["", "a b", "-oProxyCommand=x", "a@-x", "h:0", "h:99999", "h:x"])
def test_an_invalid_host_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="no host was touched"):
        host_from(text)
