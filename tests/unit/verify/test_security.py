"""Security checks of a site: each hole has its finding, and a secure site has none."""

from __future__ import annotations

import contextlib
import datetime
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from deployer.model import CheckResult, Finding, Proxy
from deployer.sites.model import Route, Site, Tls, Upstream
from deployer.verify import verify_site
from deployer.verify.net.access import Access
from deployer.verify.net.stream import Deadline
from deployer.verify.options import Limits, ProxyAddress
from deployer.verify.planned import security
from deployer.verify.probe.certificate import is_soon
from deployer.verify.probe.http2_websocket import attempt_http2
from deployer.verify.probe.old_tls import attempt_old_tls
from deployer.verify.probe.spec import Endpoint, Http2Probe, OldTlsProbe
from tests.support.certificates.pki import authority, issued, server_context
from tests.support.servers.http2 import Http2Front
from tests.support.servers.scripted import Front, Peer, Server, dial, redirecting, websocket_service
from tests.support.waiting import at_most

NAME = "stats.example.com"
OWN = f"https://{NAME}"
PLAIN = f"http://{NAME}"
DAY_S = 86400.0


@pytest.fixture(scope="module")
def healthy() -> Iterator[int]:
    with websocket_service() as port:
        yield port


def a_site(port: int, *, issuer: str = "none", proxy: Proxy = "nginx", **more: Any) -> Site:
    route = Route(path="/ws", websocket=True, upstreams=(Upstream(host="127.0.0.1", port=port),))
    return Site(domain=NAME, proxy=proxy, tls=Tls(issuer=issuer), routes=(route,), **more)


def verified(
    site: Site, *, front: int, port_80: int = 1, timeout_s: float = 5.0, patience_s: float = 0.0
) -> tuple[CheckResult, ...]:
    return verify_site(
        site,
        dial=dial,
        roots_pem=authority("Root").pem,
        proxy=ProxyAddress(https_port=front, http_port=port_80 if site.has_tls else front),
        limits=Limits(timeout_s=timeout_s, patience_s=patience_s),
    )


def named(results: tuple[CheckResult, ...], name: str) -> CheckResult:
    (found,) = [result for result in results if result.name == name]
    return found


def findings(results: tuple[CheckResult, ...]) -> list[Finding]:
    return [result.finding for result in results if result.finding is not None]


# --- h2c ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "lets_in",
    [
        lambda upgrade: upgrade == ["h2c"],
        lambda upgrade: upgrade == ["H2C"],
        lambda upgrade: upgrade == ["h2c, websocket"],
        lambda upgrade: upgrade == ["websocket, h2c"],
        lambda upgrade: upgrade == ["websocket", "h2c"],
    ],
    ids=["h2c", "H2C", "h2c, websocket", "websocket, h2c", "two lines"],
)
def test_every_variant_of_an_h2c_tunnel_is_found(
    lets_in: Callable[[list[str]], bool], healthy: int
) -> None:
    fine = Front(backend_port=healthy, origins=(PLAIN,))

    def front(peer: Peer) -> None:
        lines = peer.head.decode("latin-1").split("\r\n")
        upgrade = [line[9:] for line in lines if line.startswith("Upgrade: ")]
        if "h2c" in " ".join(upgrade).lower() and not lets_in(upgrade):
            peer.answer("200 OK")
        elif "h2c" in " ".join(upgrade).lower():
            peer.answer("101 Switching Protocols", "Connection: Upgrade", "Upgrade: h2c")
        else:
            fine(peer)

    with Server(front) as server:
        results = verified(a_site(healthy), front=server.port)
    (finding,) = findings(results)
    assert (finding.code, finding.hop, finding.severity) == ("h2c-tunnel", "proxy", "error")
    assert finding.directive.startswith("map $http_upgrade")
    assert "h2c" in finding.request.lower()


@pytest.mark.parametrize(("proxy", "is_reported"), [("apache", False), ("nginx", True)])
def test_apaches_own_http2_is_no_tunnel(proxy: Proxy, is_reported: bool, healthy: int) -> None:
    """Debian's http2.conf has ``Protocols h2 h2c http/1.1``: Apache answers, not the service."""
    fine = Front(backend_port=healthy, origins=(PLAIN,))

    def front(peer: Peer) -> None:
        if b"h2c" in peer.head.lower():
            peer.answer("101 Switching Protocols", "Connection: Upgrade", "Upgrade: h2c")
        else:
            fine(peer)

    with Server(front) as server:
        results = verified(a_site(healthy, proxy=proxy), front=server.port)
    assert [each.code for each in findings(results)] == ["h2c-tunnel"] * is_reported


def test_apache_that_forwards_h2c_to_a_service_is_a_tunnel() -> None:
    def speaks(peer: Peer) -> None:
        if b"h2c" in peer.head.lower():
            peer.answer("101 Switching Protocols", "Connection: Upgrade", "Upgrade: h2c")
        else:
            peer.answer("426 Upgrade Required")

    with Server(speaks) as service, Server(speaks) as server:
        results = verified(a_site(service.port, proxy="apache"), front=server.port)
    assert "h2c-tunnel" in [each.code for each in findings(results)]


# --- a plain GET ----------------------------------------------------------------------------------


def upgrades_unasked(peer: Peer) -> None:
    peer.upgrade()


def answers_500(peer: Peer) -> None:
    peer.answer("500 Internal Server Error")


def says_nothing(peer: Peer) -> None:
    peer.until_it_leaves()


@pytest.mark.parametrize(
    ("to_plain", "says"),
    [
        (upgrades_unasked, "answered 101"),
        (says_nothing, "did not answer within 0.2 s"),
        (answers_500, "answered 500"),
    ],
)
@pytest.mark.parametrize("hop", ["proxy", "backend"])
def test_a_plain_get(
    to_plain: Callable[[Peer], None],
    says: str,
    hop: str,
    healthy: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(security, "PLAIN_S", 0.2)

    def service(peer: Peer) -> None:
        (to_plain if peer.header("Upgrade") is None else relay)(peer)

    def front(peer: Peer) -> None:
        own = hop == "proxy" and peer.header("Upgrade") is None and peer.target == "/ws"
        (to_plain if own else fine)(peer)

    relay = Front(backend_port=healthy, origins=(), checks_origin=False)
    with Server(service) as behind:
        port = behind.port if hop == "backend" else healthy
        fine = Front(backend_port=port, origins=(PLAIN,))
        with Server(front) as server:
            results = verified(a_site(port), front=server.port)
    check = named(results, "plain GET not upgraded")
    assert check.ok
    assert check.finding is not None
    finding = check.finding
    assert (finding.code, finding.hop) == ("websocket-answers-plain", hop)
    assert finding.severity == "warning"
    assert says in finding.symptom


def test_a_starting_service_gets_no_warning(healthy: int) -> None:
    fine = Front(backend_port=healthy, origins=(PLAIN,))
    asked: list[str] = []

    def front(peer: Peer) -> None:
        if peer.header("Upgrade") is None and peer.target == "/ws":
            asked.append(peer.target)
            if len(asked) < 3:
                peer.answer("502 Bad Gateway")
                return
        fine(peer)

    with Server(front) as server:
        results = verified(a_site(healthy), front=server.port, patience_s=5.0)
    assert findings(results) == []
    assert len(asked) == 3


def test_a_plain_get_is_skipped_if_the_handshake_fails(healthy: int) -> None:
    with Server(answers_500) as server:
        results = verified(a_site(healthy), front=server.port)
    plain = named(results, "plain GET not upgraded")
    assert (plain.ok, plain.skipped, plain.finding) == (True, True, None)


# --- the version ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("proxy", "server", "is_disclosed"),
    [
        ("nginx", "nginx/1.22.1", True),
        ("nginx", "openresty/1.25", True),
        ("nginx", "nginx", False),
        ("apache", "Apache/2.4.71 (Debian) OpenSSL/3.0", True),
        ("apache", "Apache", False),
        ("apache", "Python/3.11 websockets/13.1", False),  # the service's own
        ("nginx", "uvicorn", False),
    ],
)
def test_a_version_banner(proxy: Proxy, server: str, is_disclosed: bool, healthy: int) -> None:
    fine = Front(backend_port=healthy, origins=(PLAIN,))

    def front(peer: Peer) -> None:
        if peer.target == "/":
            peer.answer("404 Not Found", f"Server: {server}")
        else:
            fine(peer)

    with Server(front) as listening:
        results = verified(a_site(healthy, proxy=proxy), front=listening.port)
    reported = [(finding.code, finding.severity) for finding in findings(results)]
    assert reported == [("version-banner", "warning")] * is_disclosed
    assert named(results, "no version disclosed").ok


# --- forged addresses -----------------------------------------------------------------------------


def echoing(keep: Callable[[str], bool]) -> Callable[[Peer], None]:
    def service(peer: Peer) -> None:
        lines = peer.head.decode("latin-1").split("\r\n")
        lines.insert(1, "X-Internal: opensesame")
        peer.answer("200 OK", body="\n".join(line for line in lines if keep(line)))

    return service


@pytest.mark.parametrize(
    ("keep", "believed"),
    [
        (lambda line: True, "X-Forwarded-For and Forwarded and X-Real-IP"),
        (lambda line: not line.startswith(("X-F", "X-R")), "Forwarded"),
        (lambda line: not line.startswith(("Forw", "X-R")), "X-Forwarded-For"),
        (lambda line: not line.startswith(("X-F", "Forw", "X-R")), ""),
    ],
    ids=["all", "Forwarded", "X-Forwarded-For", "none"],
)
def test_forged_addresses(keep: Callable[[str], bool], believed: str, healthy: int) -> None:
    fine = Front(backend_port=healthy, origins=(PLAIN,))
    echo = echoing(keep)

    def front(peer: Peer) -> None:
        (echo if peer.target == "/headers" else fine)(peer)

    with Server(front) as server:
        results = verified(a_site(healthy, echo="/headers"), front=server.port)
    check = named(results, "forged addresses dropped")
    assert check.ok is (believed == "")
    assert not check.skipped
    if believed:
        assert check.finding is not None
        assert check.finding.code == "forwarded-for-appended"
        assert check.detail == f"the forged {believed} reached the service"
        assert "opensesame" not in repr(check)


def test_an_echo_path_that_does_not_echo_proves_nothing(healthy: int) -> None:
    with Server(Front(backend_port=healthy, origins=(PLAIN,))) as server:
        results = verified(a_site(healthy, echo="/headers"), front=server.port)
    check = named(results, "forged addresses dropped")
    assert (check.ok, check.skipped, check.finding) == (True, True, None)
    assert "/headers does not echo them" in check.detail


# --- TLS ------------------------------------------------------------------------------------------


def old(context: ssl.SSLContext, newest: ssl.TLSVersion) -> ssl.SSLContext:
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="deprecated"):
        context.minimum_version = ssl.TLSVersion.TLSv1
    with contextlib.ExitStack() as stack:
        if newest < ssl.TLSVersion.TLSv1_2:
            stack.enter_context(pytest.warns(DeprecationWarning, match="deprecated"))
        context.maximum_version = newest
    return context


def old_tls(port: int) -> str | None:
    probe = OldTlsProbe(
        uri=OWN,
        hop="proxy",
        endpoint=Endpoint(host="127.0.0.1", port=port, tls=True),
        server_name=NAME,
        issuer="",
    )
    access = Access(dial=dial, timeout_s=5.0, until=Deadline(10.0))
    return attempt_old_tls(probe, access).facts.get("version")


@pytest.mark.parametrize(
    ("newest", "version"),
    [
        (ssl.TLSVersion.TLSv1, "TLS 1.0"),
        (ssl.TLSVersion.TLSv1_1, "TLS 1.1"),
        (ssl.TLSVersion.TLSv1_3, "TLS 1.1"),
    ],
)
def test_a_server_with_old_tls(newest: ssl.TLSVersion, version: str, tmp_path: Path) -> None:
    context = server_context(tmp_path, issued(NAME, by=authority("Root")))
    with Server(says_nothing, tls=old(context, newest)) as server:
        assert old_tls(server.port) == version


def test_a_server_without_old_tls(tmp_path: Path) -> None:
    context = server_context(tmp_path, issued(NAME, by=authority("Root")))
    with Server(says_nothing, tls=context) as server:
        assert old_tls(server.port) is None


def test_old_tls_is_a_warning(healthy: int, tmp_path: Path) -> None:
    context = server_context(tmp_path, issued(NAME, by=authority("Root")))
    front = Server(
        Front(backend_port=healthy, origins=(OWN,)), tls=old(context, ssl.TLSVersion.TLSv1_3)
    )
    with front, Server(redirecting) as port_80:
        site = a_site(healthy, issuer="internal")
        results = verified(site, front=front.port, port_80=port_80.port)
    (finding,) = findings(results)
    assert (finding.code, finding.severity) == ("tls-old-version", "warning")
    assert finding.directive == "ssl_protocols TLSv1.2 TLSv1.3;"
    assert all(result.ok for result in results)


@pytest.mark.parametrize(
    ("left_days", "of_days", "soon"),
    [
        (29, 90, False),
        (8, 90, False),
        (6.9, 90, True),
        (6.9, 365, True),
        (3.4, 6.7, False),  # certbot renews when a half of so short a life is left
        (2.2, 6.7, True),
    ],
)
def test_when_a_certificate_expires_soon(left_days: float, of_days: float, soon: bool) -> None:
    assert is_soon(left_days * DAY_S, lifetime_s=of_days * DAY_S) is soon


def test_a_certificate_that_expires_soon_is_a_warning(healthy: int, tmp_path: Path) -> None:
    ends = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=5, hours=1)
    context = server_context(tmp_path, issued(NAME, by=authority("Root"), ends=ends))
    front = Server(Front(backend_port=healthy, origins=(OWN,)), tls=context)
    with front, Server(redirecting) as port_80:
        site = a_site(healthy, issuer="internal")
        results = verified(site, front=front.port, port_80=port_80.port)
    (finding,) = findings(results)
    assert (finding.code, finding.severity) == ("tls-expires-soon", "warning")
    assert "expires in 5.0 of 95 days" in finding.symptom
    assert named(results, "certificate").ok


# --- HTTP/2 ---------------------------------------------------------------------------------------


@contextlib.contextmanager
def over_http2(
    healthy: int, folder: Path, *, timeout_s: float = 5.0, **settings: Any
) -> Iterator[tuple[CheckResult, ...]]:
    context = server_context(folder, issued(NAME, by=authority("Root")))
    context.set_alpn_protocols(["h2", "http/1.1"])
    http1 = Front(backend_port=healthy, origins=(OWN,))
    front = Server(Http2Front(http1=http1, origin=OWN, **settings), tls=context, reads_head=False)
    with front, Server(redirecting) as port_80:
        site = a_site(healthy, issuer="internal")
        yield verified(site, front=front.port, port_80=port_80.port, timeout_s=timeout_s)


def test_a_websocket_over_http2(healthy: int, tmp_path: Path) -> None:
    with over_http2(healthy, tmp_path) as results:
        check = named(results, "WebSocket over HTTP/2")
        assert (check.ok, check.skipped, check.finding) == (True, False, None)
        assert check.detail.startswith("200 to CONNECT, ping ")
        assert check.detail.endswith("403 to a foreign Origin")
        assert findings(results) == []


def test_http2_without_websockets_passes(healthy: int, tmp_path: Path) -> None:
    with over_http2(healthy, tmp_path, announces=False) as results:
        check = named(results, "WebSocket over HTTP/2")
        assert (check.ok, check.skipped) == (True, False)
        assert check.detail.startswith("HTTP/2 without WebSockets")
        assert findings(results) == []


@pytest.mark.parametrize(
    ("settings", "code", "says"),
    [
        ({"status": 502}, "h2-websocket", "answered 502 to CONNECT"),
        ({"status": 0}, "h2-websocket", "reset the stream (REFUSED_STREAM)"),
        ({"answers_pings": False}, "h2-websocket", "over HTTP/2 did not answer a ping"),
        ({"checks_origin": False}, "origin-open", "over HTTP/2 answered 200"),
    ],
)
def test_websockets_that_fail_only_over_http2(
    settings: dict[str, Any], code: str, says: str, healthy: int, tmp_path: Path
) -> None:
    with over_http2(healthy, tmp_path, timeout_s=2.0, **settings) as results:
        finding = named(results, "WebSocket over HTTP/2").finding
        assert finding is not None
        assert (finding.code, finding.hop, finding.severity) == (code, "proxy", "error")
        assert says in finding.symptom
        assert ":protocol: websocket" in finding.request


def garbage(line: ssl.SSLSocket) -> None:
    line.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    nothing(line)


def endless_pings(line: ssl.SSLSocket) -> None:
    line.sendall(b"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x08\x00\x00\x00\x01")  # SETTINGS
    with contextlib.suppress(OSError):
        while True:
            line.sendall(b"\x00\x00\x08\x06\x00\x00\x00\x00\x00pingpong" * 1000)


def pings_before_settings(line: ssl.SSLSocket) -> None:
    line.sendall(b"\x00\x00\x08\x06\x00\x00\x00\x00\x00pingpong")
    nothing(line)


def endless_continuation(line: ssl.SSLSocket) -> None:
    line.sendall(b"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x08\x00\x00\x00\x01")  # SETTINGS
    line.sendall(b"\x00\x00\x01\x01\x00\x00\x00\x00\x01a")
    with contextlib.suppress(OSError):
        while True:
            line.sendall(b"\x00\x40\x00\x09\x00\x00\x00\x00\x01" + b"a" * 0x4000)


def nothing(line: ssl.SSLSocket) -> None:
    with contextlib.suppress(OSError):
        while line.recv(4096):
            pass


@pytest.mark.parametrize(
    ("speaks", "code"),
    [
        (garbage, "h2-broken"),
        (pings_before_settings, "h2-broken"),
        (endless_pings, "timeout"),
        (endless_continuation, "h2-broken"),
        (nothing, "timeout"),
    ],
)
def test_a_hostile_peer_in_http2(
    speaks: Callable[[ssl.SSLSocket], None], code: str, tmp_path: Path
) -> None:
    def front(peer: Peer) -> None:
        assert isinstance(peer.connection, ssl.SSLSocket)
        speaks(peer.connection)

    context = server_context(tmp_path, issued(NAME, by=authority("Root")))
    context.set_alpn_protocols(["h2", "http/1.1"])
    with Server(front, tls=context, reads_head=False) as server:
        probe = Http2Probe(
            uri=f"wss://{NAME}/ws",
            hop="proxy",
            endpoint=Endpoint(host="127.0.0.1", port=server.port, tls=True),
            server_name=NAME,
            target="/ws",
            headers=(("Origin", OWN),),
            authority=NAME,
        )
        timeout_s = 0.3 if code == "timeout" else 10.0
        access = Access(dial=dial, timeout_s=timeout_s, until=Deadline(20.0))
        attempt = attempt_http2(probe, access)
    assert attempt.failure is not None
    assert attempt.failure.code in (code, "tls-stalled")
    assert attempt.seconds < at_most(5 + timeout_s)
