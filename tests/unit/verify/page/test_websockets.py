"""The WebSockets that pages open, and the ones that browsers block."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from deployer.commit.outcome import RunReport
from deployer.errors import UsageError
from deployer.run.diagnose import Request, diagnosed
from deployer.verify.net.address import parse_address
from deployer.verify.page.csp import blocking_directive, upgrades_insecure
from deployer.verify.page.websockets import parse_page, websockets_of
from tests.support.certificates.pki import authority, issued, server_context
from tests.support.servers.libraries import echo, wants_websocket
from tests.support.servers.scripted import Peer, Server
from tests.support.waiting import at_most

NAME = "app.example.com"
PAGE = parse_address(f"https://{NAME}/report")


def found_in(script: str) -> list[str]:
    page = parse_page(f"<!doctype html><title>x</title><script>{script}</script>")
    return [opened.address.uri for opened in websockets_of(page, PAGE)]


@pytest.mark.parametrize(
    ("script", "uris"),
    [
        ('new WebSocket("wss://a.example.com/x")', ["wss://a.example.com/x"]),
        ("const s = new window.WebSocket(`ws://a.example.com/x`)", ["ws://a.example.com/x"]),
        ('let u = "ws://a.example.com/x"; new WebSocket(u)', ["ws://a.example.com/x"]),
        # An address that is never opened, one in a comment, and the idiom that is right.
        ('link("ws://a.example.com/x")', []),
        ('// new WebSocket("ws://old/x")\nnew WebSocket("wss://a/x")', ["wss://a/x"]),
        ('/* "ws://old/x" */ new WebSocket("wss://a/x")', ["wss://a/x"]),
        (
            'new WebSocket((s ? "wss://" : "ws://") + location.host + "/ws")',
            [f"wss://{NAME}/ws"],
        ),
        ("new WebSocket(`wss://${location.host}/live`)", [f"wss://{NAME}/live"]),
        ("new WebSocket(`${scheme}//${location.host}/live`)", [f"wss://{NAME}/live"]),
        ('f = () => {}// new WebSocket("ws://old/x")\nnew WebSocket("wss://a/x")', ["wss://a/x"]),
        # Both are there: the page chooses.
        (
            'new WebSocket(secure ? "wss://a.example.com/x" : "ws://a.example.com/x")',
            ["wss://a.example.com/x"],
        ),
    ],
)
def test_websockets_are_found_in_scripts(script: str, uris: list[str]) -> None:
    assert found_in(script) == uris


@pytest.mark.parametrize(
    ("url", "newer", "uri"),
    [
        (f"wss://{NAME}/ws", False, f"wss://{NAME}/ws:7890"),
        (f"wss://{NAME}/ws", True, f"wss://{NAME}:7890/ws"),
        (f"wss://{NAME}:443/ws", False, f"wss://{NAME}/ws"),
        (f"{NAME}:443/ws", True, f"wss://{NAME}/ws"),
        ("", False, f"wss://{NAME}:7890/"),
    ],
)
def test_a_goaccess_report_connects_like_its_own_script(url: str, newer: bool, uri: str) -> None:
    connection = json.dumps({"url": url, "port": 7890, "ping_interval": 0})
    script = "function buildWSURI() {}" if newer else ""
    assert found_in(f"{script} var connection = {connection};") == [uri]


def test_action_cable_and_socket_io_are_found() -> None:
    text = (
        '<meta name="action-cable-url" content="/cable">'
        '<script src="/socket.io/socket.io.min.js"></script>'
    )
    found = websockets_of(parse_page(text), PAGE)
    assert [opened.address.uri for opened in found] == [
        f"wss://{NAME}/cable",
        f"wss://{NAME}/socket.io/?EIO=4&transport=websocket",
    ]
    assert "actioncable-v1-json" in found[0].subprotocols


@pytest.mark.parametrize(
    ("policy", "is_blocked"),
    [
        ("connect-src 'none'", True),
        ("connect-src https://api.example.net", True),
        ("default-src https://cdn.example.net 'unsafe-inline'", True),
        ("connect-src 'nonce-abc'", True),
        ("connect-src wss://app.example.com:8443", True),
        ("default-src 'none'; connect-src wss://app.example.com", False),
        ("connect-src 'self'", False),
        ("connect-src *", False),
        ("connect-src wss:", False),
        ("connect-src https://app.example.com", False),
        ("connect-src *.example.com", False),
        ("connect-src wss://app.example.com/live/", True),
        ("connect-src wss://app.example.com/", False),
        ("script-src 'none'", False),
        ("", False),
    ],
)
def test_only_what_every_browser_blocks_is_blocked(policy: str, is_blocked: bool) -> None:
    endpoint = parse_address(f"wss://{NAME}/ws")
    assert bool(blocking_directive([policy], PAGE, endpoint)) is is_blocked


def test_every_policy_must_allow_the_connection() -> None:
    endpoint = parse_address(f"wss://{NAME}/ws")
    policies = ["connect-src *, connect-src 'none'"]
    assert blocking_directive(policies, PAGE, endpoint) == "connect-src 'none'"
    assert upgrades_insecure(["default-src *; upgrade-insecure-requests"])


@pytest.mark.parametrize(
    "url", ["ftp://a/", "wss://", "wss://user:pass@a/", "wss://a:99999/", "https://a b/", "://"]
)
def test_an_invalid_address_is_refused(url: str) -> None:
    with pytest.raises(UsageError):
        parse_address(url)


def test_an_address_is_sent_as_a_browser_sends_it() -> None:
    address = parse_address("wss://Bücher.example:443/räume?q=a b&t=%20")
    assert (address.name, address.host) == ("xn--bcher-kva.example",) * 2
    assert address.target == "/r%C3%A4ume?q=a%20b&t=%20"
    assert parse_address("ws://[::1]:8080").host == "[::1]:8080"


# --- on a server ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., RunReport]:
    """Serve a page over HTTPS with an echo service on /ws, and return its diagnosis."""
    folder: Path = tmp_path_factory.mktemp("tls")
    root = authority("Pages root")
    (folder / "root.pem").write_bytes(root.pem)
    context = server_context(folder, issued(NAME, by=root))

    def diagnosis(page: str, *headers: str) -> RunReport:
        def script(peer: Peer) -> None:
            own = (peer.header("Host") or "").encode()
            if peer.target == "/ws" and wants_websocket(peer):
                echo(peer)
            elif peer.target == "/report":
                body = page.replace("NAME", own.decode())
                peer.answer("200 OK", "Content-Type: text/html", *headers, body=body)
            else:
                peer.answer("404 Not Found")

        with Server(script, tls=context) as server:
            return diagnosed(
                Request(
                    url=f"https://{NAME}:{server.port}/report",
                    resolve=(f"{NAME}:{server.port}:127.0.0.1",),
                    ca_bundle=folder / "root.pem",
                    timeout_s=2,
                )
            )

    return diagnosis


def codes(run: RunReport) -> list[str]:
    checks = run.hosts[0].checks
    return [
        check.finding.code
        for check in checks
        if check.finding is not None and check.finding.severity == "error"
    ]


@pytest.mark.parametrize(
    ("script", "headers", "expected"),
    [
        ('new WebSocket("ws://NAME/ws")', (), ["mixed-content"]),
        ('new WebSocket("wss://NAME/ws")', (), []),
        # On the visitor's own machine: it cannot be checked from here.
        ('new WebSocket("ws://localhost:1/ws")', (), []),
        (
            'new WebSocket("wss://NAME/ws")',
            ("Content-Security-Policy: connect-src https://api.example.net",),
            ["csp-connect-src"],
        ),
        (
            'new WebSocket("wss://NAME/ws")',
            ("Content-Security-Policy: default-src 'self' 'unsafe-inline'",),
            [],
        ),
        ('connection = {"url": "wss://NAME/ws", "port": 7890}', (), []),
        ('connection = {"url": "app.example.com/ws", "port": 1}', (), ["goaccess-url"]),
        ("nothing()", (), []),
    ],
)
def test_a_page_is_checked_with_its_websockets(
    serve: Callable[..., RunReport], script: str, headers: tuple[str, ...], expected: list[str]
) -> None:
    page = f"<!doctype html><title>x</title><script>{script}</script>"
    assert codes(serve(page, *headers)) == expected


def test_an_endless_page_ends_in_time() -> None:
    stop = threading.Event()

    def endless(peer: Peer) -> None:
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n")
        block = b"<script>new WebSocket(" * 3000
        while not stop.is_set():
            peer.send(block)

    with Server(endless) as server:
        url = f"http://127.0.0.1:{server.port}/"
        run = diagnosed(Request(url=url, timeout_s=1))
        stop.set()
    assert run.seconds < at_most(8)
    assert codes(run) == []


@pytest.mark.parametrize(
    "piece",
    [
        *("<", "<!", "<!--", "<a b='", "<script", "<script>", "<script></", "<![CDATA[", "&#"),
        *("</", "<a ", "<a>", "<script>new WebSocket(x);/* ", "<script>new WebSocket(x);'wss://a"),
    ],
)
def test_a_hostile_page_is_parsed_quickly(piece: str) -> None:
    began = time.monotonic()
    text = piece * (400_000 // len(piece))
    websockets_of(parse_page(text), PAGE)
    websockets_of(parse_page(f"<script>new WebSocket(x);{text}"), PAGE)
    assert time.monotonic() - began < at_most(5)


def test_tags_are_found_where_a_browser_finds_them() -> None:
    page = parse_page(
        "<!-- <script src=/comment.js></script> --><title><script src=/title.js></title>"
        "<div data-x='<script src=/quoted.js>'><SCRIPT SRC = /a.js?x=1&amp;y=2 defer></SCRIPT >"
        '<script type="text/template">no</script><script type=module async>yes</script>'
        "<meta name=action-cable-url content='/cable'/><style>a{b:'</style>"
        "<script src='/never-closed.js"
    )
    assert page.sources == ("/a.js?x=1&y=2",)
    assert page.scripts == ("", "yes")
    assert page.cable == "/cable"
