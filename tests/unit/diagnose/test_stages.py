"""Stages on a host are probed as by the server in front of them: PROXY lines, addresses, paths."""

from __future__ import annotations

import socket as sockets
from collections.abc import Callable
from dataclasses import replace

import pytest

from deployer.agent.errors import Refusal
from deployer.agent.relay import open_connection
from deployer.diagnose.handshake_variants import HandshakeOptions
from deployer.diagnose.inside import Inside, diagnose_stages
from deployer.diagnose.merge import merge_results
from deployer.diagnose.stages import stages_of
from deployer.model import CheckResult, Finding, HandshakeResult, Proxy
from deployer.proxies.inspect import ConfigFile, Inspection, ProxyState
from deployer.verify.net.access import Access
from deployer.verify.net.address import parse_address
from deployer.verify.net.stream import Deadline
from tests.support.servers.libraries import always, echo, hangs_up, wants_websocket
from tests.support.servers.scripted import Peer, Server

_HAPROXY = """\
defaults
    mode http
frontend f
    bind 127.0.0.1:{front}
    default_backend b
backend b
    http-request set-path {path}
    server a 127.0.0.1:{back} {word}
"""


def _dial(*, host: str = "", port: int = 0, socket: str = "", timeout_s: float) -> sockets.socket:
    return sockets.create_connection((host, port), timeout=timeout_s)


def _access() -> Access:
    return Access(dial=_dial, timeout_s=1.0, until=Deadline(10.0))


def _state(proxy: Proxy, text: str, *listeners: str) -> ProxyState:
    path = "/etc/haproxy/haproxy.cfg" if proxy == "haproxy" else f"/etc/{proxy}/site.conf"
    file = ConfigFile(path=path, text=text)
    return ProxyState(proxy=proxy, is_running=True, config=(file,), listeners=listeners)


def _plain_service(peer: Peer) -> None:
    """A service that treats a PROXY line as an invalid request, and has one path."""
    if peer.head.startswith(b"PROXY"):
        peer.answer("400 Bad Request")
    elif wants_websocket(peer) and peer.target == "/ws":
        echo(peer)
    else:
        peer.answer("404 Not Found")


def _proxied_service(peer: Peer) -> None:
    """A service that requires a PROXY line, and disconnects without one."""
    if not peer.head.startswith(b"PROXY TCP4 127.0.0.1 "):
        hangs_up(peer)
        return
    peer.head = peer.head.partition(b"\r\n")[2]
    _plain_service(peer)


def _looked(
    front: Callable[[Peer], None],
    service: Callable[[Peer], None],
    *,
    word: str = "",
    path: str = "/ws",
) -> Inside:
    with Server(front) as outer, Server(service) as inner:
        text = _HAPROXY.format(front=outer.port, back=inner.port, word=word, path=path)
        state = _state("haproxy", text, f"127.0.0.1:{outer.port}")
        address = parse_address(f"ws://app.test:{outer.port}/ws")
        return diagnose_stages(Inspection(proxies=(state,)), address, HandshakeOptions(), _access)


def _findings(inside: Inside) -> list[Finding]:
    return [each.finding for each in inside.checks if each.finding and not each.ok]


@pytest.mark.parametrize(
    ("service", "word", "said"),
    [
        (_plain_service, "send-proxy", "does not expect one"),
        (_proxied_service, "", "sends none"),
    ],
)
def test_a_proxy_line_that_only_one_side_uses(
    service: Callable[[Peer], None], word: str, said: str
) -> None:
    (found,) = _findings(_looked(always("400 Bad Request"), service, word=word))
    assert (found.code, found.hop) == ("bad-gateway", "proxy")
    assert found.file == "/etc/haproxy/haproxy.cfg:8"
    assert said in found.cause


def test_a_service_that_requires_a_proxy_line_gets_one() -> None:
    assert _findings(_looked(_plain_service, _proxied_service, word="send-proxy")) == []


def test_a_service_that_works_only_through_the_proxy_is_skipped() -> None:
    """An app redirects requests without HTTPS, and the proxy in front sets X-Forwarded-Proto."""
    redirects = always("301 Moved Permanently", "Location: https://app.test/ws")
    inside = _looked(_plain_service, redirects)
    assert _findings(inside) == []
    assert [each.skipped for each in inside.checks if each.hop == "backend"] == [True]


def test_a_wrong_path_of_the_proxy_is_the_cause_of_a_refusal() -> None:
    (found,) = _findings(_looked(always("404 Not Found"), _plain_service, path="/socket/ws"))
    assert (found.code, found.file) == ("page-instead", "/etc/haproxy/haproxy.cfg:7")

    (found,) = _findings(_looked(always("404 Not Found"), _plain_service, path="/ws"))
    assert found.file == ""


def test_apache_is_probed_over_ipv4_and_at_its_own_address() -> None:
    text = "Listen 80\n<VirtualHost {}:80>\nServerName app.test\nProxyPass / http://127.0.0.1:1/\n"
    text += "</VirtualHost>\n"
    address = parse_address("ws://app.test/ws")
    for where, asked in (("*", "127.0.0.1"), ("192.0.2.7", "192.0.2.7")):
        state = _state("apache", text.format(where), "[::]:80")
        assert stages_of(Inspection(proxies=(state,)), address)[0].endpoint.host == asked


# --- what clients get through with ----------------------------------------------------------------


_NGINX = """
events {{}}
http {{
    server {{
        listen 80{word};
        server_name app.test;
        location / {{ proxy_pass http://127.0.0.1:1; }}
    }}
}}
"""
_ADDRESS = parse_address("ws://app.test/ws")


def _merged(status: int, *, word: str = "") -> CheckResult:
    state = _state("nginx", _NGINX.format(word=word), "0.0.0.0:80")
    inspection = Inspection(proxies=(state,))
    fine = CheckResult(
        site="app.test", name="handshake", target="/ws", hop="public", ok=True, detail="101"
    )
    refused = replace(
        fine,
        name="handshake at nginx",
        hop="proxy",
        ok=False,
        handshake=HandshakeResult(uri="ws://app.test/ws", hop="proxy", status_code=status),
        finding=Finding(code="handshake-refused", hop="proxy", symptom="s", cause="c", fix="f"),
    )
    inside = Inside(stages=stages_of(inspection, _ADDRESS), checks=(refused,))
    return merge_results([fine], inside, _ADDRESS, inspection)[-1]


def test_a_refusal_of_the_host_itself_is_a_warning() -> None:
    shown = _merged(403)
    assert shown.ok
    assert shown.finding is not None
    assert shown.finding.severity == "warning"
    assert "a different machine" in shown.finding.cause
    assert not _merged(502).ok


def test_a_proxy_behind_a_load_balancer_with_a_proxy_line_is_skipped() -> None:
    shown = _merged(400, word=" proxy_protocol")
    assert (shown.ok, shown.skipped, shown.finding) == (True, True, None)


def test_a_name_that_the_host_cannot_resolve_is_reported() -> None:
    with pytest.raises(Refusal, match=r"cannot resolve no-such-host\.invalid"):
        open_connection({"host": "no-such-host.invalid", "port": 80})
