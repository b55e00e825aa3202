"""Apache and HAProxy with certificates from a real CA: the first, and a renewal under load.

test_issue_and_renew.py does the same with nginx; here two hosts run in parallel.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from deployer.lab.host import LabHost
from deployer.lab.lab import Lab
from tests.support.certificates.authority import Authority, authority
from tests.support.clients.websocket import Client
from tests.support.paths import PROGRAMS
from tests.support.runs import deployer
from tests.support.waiting import PATIENCE_S

pytestmark = pytest.mark.lab

PROXIES = ("apache", "haproxy")
LabFactory = Callable[..., Lab]

_HOLDING = 40
#: What the timer's service runs.
_RENEW = ("python3", "/usr/local/lib/deployer/renew.pyz", "renew")


@dataclass(frozen=True, slots=True)
class Served:
    """A host, and the one name that its proxy serves."""

    proxy: str
    host: LabHost

    @property
    def domain(self) -> str:
        return f"{self.proxy}.example.com"

    def open(self) -> Client:
        """A WebSocket that has got its first message; the CA is not one that clients know."""
        trust = ssl.create_default_context()
        trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
        line = socket.create_connection((self.host.address, 443), timeout=PATIENCE_S)
        client = Client(
            f"wss://{self.domain}/ws",
            trust.wrap_socket(line, server_hostname=self.domain),
            origin=f"https://{self.domain}",
        )
        assert client.recv() == "hello"
        return client

    def serial(self) -> str:
        """The serial number of the certificate that clients get now."""
        script = (
            f"openssl s_client -connect {self.host.address}:443 -servername {self.domain} "
            "</dev/null 2>/dev/null | openssl x509 -noout -serial"
        )
        done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
        return done.stdout.strip().partition("=")[2]

    def on_port_80(self, path: str) -> tuple[int, str | None]:
        """The response to plain HTTP: status and redirect target."""
        connection = http.client.HTTPConnection(self.host.address, 80, timeout=PATIENCE_S)
        connection.request("GET", path, headers={"Host": self.domain})
        answer = connection.getresponse()
        connection.close()
        return answer.status, answer.headers["Location"]


def test_a_renewal_drops_no_connection(labs: LabFactory, workdir: Path, tmp_path: Path) -> None:
    lab = labs(len(PROXIES))
    served = [Served(*pair) for pair in zip(PROXIES, lab.hosts, strict=True)]
    with authority(lab, tmp_path / "ca") as ca:
        for one in served:
            start_services(one.host)
            ca.resolves(one.domain, one.host.address)
        write_site(lab, ca, served)
        ran = deployer("apply", "site.yml", "--yes", "--no-diff")
        assert ran.code == 0, ran
        with ThreadPoolExecutor(len(served)) as pool:
            list(pool.map(renewed_amid_connections, served))
        ran = deployer("certs", "status", "site.yml", "--json")
        assert ran.code == 0, ran
        for one in served:
            (shown,) = ran.document["hosts"][one.host.name]["certificates"]
            assert shown["is_served"]
            assert shown["serial"] == one.serial()
            # Challenges are answered while an issuer asks, and everything else is sent on.
            assert one.on_port_80("/.well-known/acme-challenge/x")[0] in (502, 503)
            assert one.on_port_80("/ws?q") == (308, f"https://{one.domain}/ws?q")
        ran = deployer("plan", "site.yml", "--detailed-exitcode")
        assert ran.code == 0, ran


def renewed_amid_connections(one: Served) -> None:
    """Renew with many WebSockets open, and see that they and new ones work."""
    before = one.serial()
    with ExitStack() as stack:
        connections = [stack.enter_context(one.open()) for _ in range(_HOLDING)]
        said = one.host.exec([*_RENEW, "--force"], timeout_s=PATIENCE_S)
        assert "is served" in said.stdout + said.stderr, said
        assert one.serial() != before
        connections.append(stack.enter_context(one.open()))
        for connection in connections:
            connection.ping()
        for connection in connections:
            assert connection.hears_a_pong()
    open_to_others = f"find -L /etc/ssl/deployer/{one.domain} /etc/haproxy /etc/apache2"
    assert one.host.sh(f"{open_to_others} -name '*key*' -perm /077 2>/dev/null", check=False) == ""


def start_services(host: LabHost) -> None:
    """The WebSocket service behind the proxy."""
    program = (PROGRAMS / "backends.py").read_text()
    host.exec(["tee", "/opt/backends.py"], stdin=program)
    host.exec(["systemd-run", "--quiet", "--unit=services", "python3", "/opt/backends.py"])


def write_site(lab: Lab, ca: Authority, served: list[Served]) -> None:
    """A play for each host, with a certificate from `ca`."""
    tls = {"issuer": {"directory": ca.directory, "ca_bundle": str(ca.bundle)}}
    routes = [{"path": "/ws", "websocket": "http://127.0.0.1:9001"}]
    plays = [
        {
            "hosts": one.host.name,
            "become": True,
            "sites": [{"domain": one.domain, "proxy": one.proxy, "tls": tls, "routes": routes}],
        }
        for one in served
    ]
    Path("site.yml").write_text(yaml.safe_dump(plays, sort_keys=False))
    lab.write_inventory(Path("inventory.yml"))
