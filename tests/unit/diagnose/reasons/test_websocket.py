"""Findings from outside: each case with a real server and its expected finding.

`code` is the finding, ``""`` for a healthy twin; `others` must be among the alternatives, and
`never` anywhere at all.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from deployer.model import Finding
from deployer.run.diagnose import Request, diagnosed
from tests.support.servers.libraries import (
    AIOHTTP,
    CODER,
    FASTAPI,
    GORILLA,
    NODE_WS,
    PYTHON_WEBSOCKETS,
    SOCKET_IO,
    TORNADO,
    X_NET,
    Library,
    Script,
    always,
    by_nginx,
    by_path,
    echo,
    hangs_up,
    only_origins,
    same_origin,
    says_nothing,
    taking_turns,
    upgrades_and,
    with_host,
    without_upgrade,
)
from tests.support.servers.scripted import Server
from tests.support.waiting import stretched


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    name: str
    script: Script
    code: str = ""
    others: tuple[str, ...] = ()
    never: tuple[str, ...] = ()
    hop: str = ""
    says: str = ""
    path: str = "/ws"
    origin: str | None = None
    subprotocols: tuple[str, ...] = ()
    send: str | None = None
    expect: str | None = None


_OF_ORIGIN = ("host-rewritten", "port-lost", "origin-blocked")
_LIBRARIES: dict[str, Library] = {
    "aiohttp": AIOHTTP,
    "tornado": TORNADO,
    "x/net": X_NET,
    "gorilla": GORILLA,
    "coder": CODER,
    "ws": NODE_WS,
    "socket.io": SOCKET_IO,
    "websockets": PYTHON_WEBSOCKETS,
}

HEALTHY = tuple(
    Case(name=f"{name} healthy", script=library)
    for name, library in {**_LIBRARIES, "fastapi": FASTAPI}.items()
)
LOST = tuple(
    Case(
        name=f"{name} without upgrade",
        script=without_upgrade(library),
        code="upgrade-not-forwarded",
        hop="proxy",
        never=_OF_ORIGIN,
    )
    for name, library in _LIBRARIES.items()
)
CASES = (
    Case(
        name="how Connection arrived",
        script=without_upgrade(PYTHON_WEBSOCKETS),
        code="upgrade-not-forwarded",
        says="Connection arrived as 'close'",
        never=("connection-cleared", "default-connection"),
    ),
    Case(
        name="FastAPI without upgrade looks like uvicorn without a library",
        script=without_upgrade(FASTAPI),
        code="handshake-refused",
        others=("upgrade-not-forwarded", "backend-not-websocket"),
        says="FastAPI",
    ),
    Case(
        name="HTTP/1.0", script=always("505 HTTP Version Not Supported"), code="http-1.0-upstream"
    ),
    # --- Origin ---
    Case(name="same origin", script=same_origin()),
    Case(
        name="a different Host",
        script=with_host(same_origin(), "127.0.0.1:3000"),
        code="origin-blocked",
        others=("host-rewritten",),
        never=("port-lost",),
    ),
    Case(
        name="a different Host, reported by the service",
        script=with_host(
            same_origin('request Origin "x" is not authorized for Host "{host}"'), "app:3000"
        ),
        code="host-rewritten",
        says="app:3000",
        hop="proxy",
    ),
    Case(
        name="Host without its port",
        script=with_host(same_origin(), "127.0.0.1"),
        code="port-lost",
        hop="proxy",
    ),
    Case(
        name="the service's list",
        script=only_origins("https://elsewhere.example.com", None),
        code="origin-blocked",
        others=("host-rewritten",),
    ),
    Case(
        name="nginx's list",
        script=only_origins("https://elsewhere.example.com", None, page=True),
        code="origin-blocked",
        hop="proxy",
        never=("host-rewritten",),
    ),
    Case(
        name="a foreign page",
        script=same_origin(),
        origin="https://elsewhere.example.com",
        code="origin-blocked",
        says="is accepted",
        never=("host-rewritten", "port-lost"),
    ),
    Case(
        name="a different response each time",
        script=taking_turns("200 OK"),
        code="page-instead",
        never=("origin-blocked",),
    ),
    Case(
        name="every second response is late",
        script=taking_turns("504 Gateway Timeout"),
        code="service-hangs",
        never=("origin-blocked",),
    ),
    Case(
        name="403 to every client",
        script=always("403 Forbidden", plain="200 OK"),
        code="handshake-refused",
        others=("login-required", "wrong-route"),
    ),
    # --- paths ---
    Case(
        name="only with the slash",
        script=by_path({"/ws/": echo}, always("404 Not Found")),
        code="slash-mismatch",
    ),
    Case(
        name="the prefix is stripped",
        script=by_path({"/sock/sock": echo}, always("200 OK", "Content-Type: text/html")),
        path="/sock",
        code="page-instead",
        hop="proxy",
        says="strips /sock",
    ),
    Case(
        name="a fallback page",
        script=always("200 OK", "Content-Type: text/html", body="<html>app</html>"),
        code="page-instead",
        says="does not exist",
    ),
    Case(name="nginx's own 404", script=by_nginx("404 Not Found"), code="wrong-route", hop="proxy"),
    Case(
        name="Apache appends the path to the port",
        script=always(
            "500 Proxy Error",
            "Server: Apache/2.4.71 (Debian)",
            body="<h1>Proxy Error</h1><p>Reason: <strong>DNS lookup failure for: "
            "127.0.0.1:9101ws</strong></p><address>Apache/2.4.71 (Debian) Server at x Port 80",
        ),
        path="/app/ws",
        code="slash-mismatch",
        says="(ws)",
    ),
    Case(
        name="Apache cannot resolve the name",
        script=always(
            "502 Proxy Error",
            "Server: Apache/2.4.71 (Debian)",
            body="<p>Reason: <strong>DNS lookup failure for: backend</strong></p>"
            "<address>Apache/2.4.71 (Debian) Server at x Port 80",
        ),
        code="bad-gateway",
        never=("slash-mismatch",),
    ),
    # --- what is behind ---
    Case(
        name="nginx's 502",
        script=by_nginx("502 Bad Gateway"),
        code="bad-gateway",
        others=("service-down", "upstream-scheme"),
    ),
    Case(
        name="502 only to upgrades",
        script=always("502 Bad Gateway", plain="200 OK"),
        code="bad-gateway",
        others=("h2-websocket",),
        never=("service-down",),
    ),
    Case(name="504", script=by_nginx("504 Gateway Time-out"), code="service-hangs"),
    Case(
        name="no answer to anything",
        script=says_nothing,
        code="timeout",
        others=("service-hangs", "threads-exhausted", "scoreboard-full"),
    ),
    Case(
        name="every connection is closed",
        script=hangs_up,
        code="connection-dropped",
        others=("connections-exhausted",),
    ),
    Case(
        name="plain HTTP arrives at a TLS port",
        script=always("400 Bad Request", body="Client sent an HTTP request to an HTTPS server."),
        code="plain-http-on-https",
    ),
    # --- redirects ---
    Case(
        name="redirect to a login page",
        script=by_path({"/ws": always("302 Found", "Location: /login")}, always("200 OK")),
        code="login-required",
    ),
    Case(
        name="redirect for the slash",
        script=by_path({"/ws": always("301 Moved Permanently", "Location: /ws/")}, echo),
        code="slash-redirect",
        says="there the handshake succeeds",
    ),
    Case(
        name="redirect to itself",
        script=always("301 Moved Permanently", "Location: /ws"),
        code="redirect-loop",
    ),
    Case(
        name="redirect until it has a cookie",
        script=always("302 Found", "Location: /ws", "Set-Cookie: seen=1"),
        code="redirect-loop",
        says="cookie",
    ),
    # --- subprotocols ---
    Case(
        name="one subprotocol",
        script=lambda peer: echo(
            peer, f"Sec-WebSocket-Protocol: {peer.header('Sec-WebSocket-Protocol')}"
        ),
        subprotocols=("chat",),
    ),
    Case(
        name="only one subprotocol",
        script=lambda peer: (
            peer.answer("400 Bad Request")
            if "," in (peer.header("Sec-WebSocket-Protocol") or "")
            else echo(peer, f"Sec-WebSocket-Protocol: {peer.header('Sec-WebSocket-Protocol')}")
        ),
        subprotocols=("chat", "superchat"),
        code="subprotocols-refused",
    ),
    # --- after 101 ---
    Case(
        name="gone after 101",
        script=upgrades_and(hangs_up),
        code="connection-dropped",
        others=("http-1.0-upstream",),
    ),
    Case(
        name="a missing expected message",
        script=lambda peer: echo(peer),
        send="x",
        expect="y",
        code="unexpected-message",
    ),
    Case(name="the expected message", script=echo, send="x", expect="x"),
)


@pytest.mark.parametrize("case", [*HEALTHY, *LOST, *CASES], ids=lambda case: case.name)
def test_each_situation_has_its_finding(case: Case) -> None:
    with Server(case.script) as server:
        request = Request(
            url=f"ws://127.0.0.1:{server.port}{case.path}",
            origin=case.origin,
            subprotocols=case.subprotocols,
            send=case.send,
            expect=case.expect,
            timeout_s=stretched(0.6),
        )
        run = diagnosed(request)
    found = [check.finding for check in run.hosts[0].checks if check.finding is not None]
    failing = [finding for finding in found if finding.severity == "error"]
    assert [finding.code for finding in failing] == ([case.code] if case.code else [])
    assert run.exit_code == (3 if case.code else 0)
    shown = {code for finding in failing for code in _codes(finding)}
    assert set(case.others) <= shown
    assert not set(case.never) & shown
    for finding in failing:
        assert case.hop in ("", finding.hop)
        assert case.says in finding.cause
        assert finding.fix
        assert finding.symptom


def _codes(finding: Finding) -> set[str]:
    return {finding.code, *(other.code for other in finding.alternatives)}
