"""Certificates from a real CA on real hosts: the first one, renewals, and open connections."""

from __future__ import annotations

import asyncio
import json
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from websockets.asyncio.client import ClientConnection, connect

from deployer.lab.host import LabHost
from deployer.lab.lab import Lab
from tests.support.certificates.authority import Authority, authority
from tests.support.paths import PROGRAMS
from tests.support.runs import deployer, differences, state_of
from tests.support.waiting import PATIENCE_S, until

pytestmark = pytest.mark.lab

DOMAIN = "live.example.com"
BACKENDS = PROGRAMS / "backends.py"
_HOLDING = 200


def write_site(
    lab: Lab, ca: Authority, *, port: int = 9001, names: tuple[str, ...] = (), **tls: object
) -> None:
    """A playbook of one site with a WebSocket route and a certificate from `ca`."""
    route = {"path": "/ws", "websocket": f"http://127.0.0.1:{port}"}
    about = {"issuer": {"directory": ca.directory, "ca_bundle": str(ca.bundle)}, **tls}
    site = {"domain": DOMAIN, "aliases": list(names), "tls": about, "routes": [route]}
    play = {"name": "live", "hosts": "all", "become": True, "sites": [site]}
    Path("site.yml").write_text(yaml.safe_dump([play], sort_keys=False))
    lab.write_inventory(Path("inventory.yml"))


def start_services(host: LabHost) -> None:
    """The WebSocket services behind the proxy, as a unit that a reboot starts again."""
    start = "ExecStart=/usr/bin/python3 /opt/backends.py"
    unit = f"[Service]\n{start}\n[Install]\nWantedBy=multi-user.target\n"
    (host.root / "opt/backends.py").write_text(BACKENDS.read_text())
    (host.root / "etc/systemd/system/backends.service").write_text(unit)
    host.sh("systemctl enable --now backends.service")


def served(host: LabHost, name: str = DOMAIN) -> str:
    """The serial number that ``openssl s_client`` sees."""
    script = (
        f"openssl s_client -connect {host.address}:443 -servername {name} </dev/null 2>/dev/null "
        "| openssl x509 -noout -serial"
    )
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    return done.stdout.strip().partition("=")[2]


def status(expected_code: int = 0) -> list[dict[str, object]]:
    """``certs status --json`` of every host."""
    ran = deployer("certs", "status", "site.yml", "--json")
    assert ran.code == expected_code, ran
    return [one for host in ran.document["hosts"].values() for one in host["certificates"]]


@pytest.fixture
def ca(lab: Lab, tmp_path: Path) -> Iterator[Authority]:
    """A CA that issues certificates for an hour."""
    with authority(lab, tmp_path / "ca") as found:
        yield found


def test_the_first_certificate_and_what_is_kept_of_it(
    lab: Lab, ca: Authority, workdir: Path
) -> None:
    (host,) = lab.hosts
    start_services(host)
    bare = state_of(host)
    write_site(lab, ca, port=9002)  # a service that refuses: the handshake decides
    planned = deployer("plan", "site.yml", "--detailed-exitcode")
    assert planned.code == 2, planned
    assert "stage 3 of 3" in planned.out
    assert f"+ certificate {DOMAIN}" in planned.out
    assert differences(bare, state_of(host)) == {}

    failed = deployer("apply", "site.yml", "--yes", "--no-preflight")
    assert failed.code == 3, failed
    assert "looking from outside" in failed.out
    assert "Kept, for the next apply: the new certificate" in failed.out
    assert differences(bare, state_of(host)) == {}

    write_site(lab, ca)
    applied = deployer("apply", "site.yml", "--yes", "--json")
    assert applied.code == 0, applied
    assert "PRIVATE KEY" not in applied.out + applied.err
    assert ca.orders() == 1

    (one,) = status()
    assert one["serial"] == served(host)
    assert one["is_served"]
    assert one["names"] == [DOMAIN]
    assert one["next_run"] is not None
    assert host.sh("systemctl is-enabled certbot.timer", check=False).strip() == "disabled"
    assert host.sh("systemctl is-active certbot.timer", check=False).strip() == "inactive"
    open_to_others = f"find -L /etc/ssl/deployer/{DOMAIN} /etc/deployer -name '*key*' -perm /077"
    assert host.sh(open_to_others).strip() == ""
    plain = f"http://{DOMAIN}/.well-known/acme-challenge/../../etc/passwd"
    curl = f"curl -s --path-as-is -o /dev/null -w '%{{http_code}}' --resolve {DOMAIN}:80:127.0.0.1"
    host.sh("apt-get install -y -qq curl >/dev/null")
    assert host.sh(f"{curl} {plain}").strip() in ("308", "400", "502")

    again = deployer("apply", "site.yml", "--yes")
    assert again.code == 0, again
    assert "nothing to do" in again.out
    assert ca.orders() == 1

    write_site(lab, ca, names=("also.example.com",))
    more = deployer("apply", "site.yml", "--yes", "--no-diff")
    assert more.code == 0, more
    assert ca.orders() == 2
    assert set(status()[0]["names"]) == {DOMAIN, "also.example.com"}  # type: ignore[arg-type]


async def _open(host: LabHost, count: int) -> list[ClientConnection]:
    trust = ssl.create_default_context()
    trust.check_hostname, trust.verify_mode = False, ssl.CERT_NONE
    found: list[ClientConnection] = []
    for _ in range(count):
        connection = await connect(
            f"wss://{DOMAIN}/ws",
            host=host.address,
            port=443,
            ssl=trust,
            origin=f"https://{DOMAIN}",  # type: ignore[arg-type]
            ping_interval=None,
            close_timeout=1.0,
        )
        assert await connection.recv() == "hello"
        found.append(connection)
    return found


async def _still_open(connections: list[ClientConnection]) -> int:
    async def answers(connection: ClientConnection) -> bool:
        try:
            await asyncio.wait_for(await connection.ping(), 10)
        except (OSError, Exception):
            return False
        return True

    return sum(await asyncio.gather(*map(answers, connections)))


def test_a_renewal_by_the_timer_drops_no_connection(
    lab: Lab, workdir: Path, tmp_path: Path
) -> None:
    """Certificates valid for 20 s are due after 10 s; 200 connections stay open during renewals."""
    (host,) = lab.hosts
    start_services(host)

    async def scenario(ca: Authority) -> None:
        connections = await _open(host, _HOLDING)
        try:
            before = served(host)
            ran = await asyncio.to_thread(_renew_when_due, host)
            assert "is served" in ran, ran
            assert served(host) != before
            assert await _still_open(connections) == _HOLDING
            connections += await _open(host, 1)
            assert await _still_open(connections) == _HOLDING + 1
        finally:
            await asyncio.gather(*(connection.close() for connection in connections))

    with authority(lab, tmp_path / "ca", validity_s=20) as ca:
        write_site(lab, ca)
        applied = deployer("apply", "site.yml", "--yes", "--no-diff")
        assert applied.code == 0, applied
        asyncio.run(scenario(ca))


def _renew_when_due(host: LabHost) -> str:
    """Start the timer's service until it has renewed; its log."""
    said = ""

    def has_renewed() -> bool:
        nonlocal said
        host.sh("systemctl start deployer-renew.service", check=False)
        said = host.sh("journalctl -t deployer-renew -o cat --no-pager")
        return "is served" in said

    until(has_renewed)
    return said


@pytest.mark.parametrize("moment", ["certbot", "marker"])
def test_a_host_that_is_cut_off_during_a_renewal(
    lab: Lab, ca: Authority, workdir: Path, moment: str
) -> None:
    """While certbot runs, and after the new certificate is installed but before it is checked."""
    (host,) = lab.hosts
    start_services(host)
    write_site(lab, ca)
    assert deployer("apply", "site.yml", "--yes", "--no-diff").code == 0
    before = served(host)
    pause = "systemctl start --no-block force-renewal"
    unit = (
        "[Service]\nType=oneshot\nSyslogIdentifier=deployer-renew\n"
        "ExecStart=/usr/bin/python3 /usr/local/lib/deployer/renew.pyz renew --force\n"
    )
    (host.root / "run/systemd/system").mkdir(parents=True, exist_ok=True)
    (host.root / "run/systemd/system/force-renewal.service").write_text(unit)
    host.sh(f"systemctl daemon-reload; {pause}")
    sign = {
        "certbot": "pgrep -f [c]ertonly",
        "marker": "test -e /var/lib/deployer/certificates/in-progress.json",
    }[moment]
    host.sh(f"until {sign} >/dev/null; do sleep 0.1; done")
    host.kill()
    host.boot_again()
    _wait_for_proxy(host)
    if moment == "certbot":
        assert served(host) == before
    if moment == "certbot":
        host.sh("systemctl start deployer-renew.service")
    else:  # the host ends it by itself
        marker = "/var/lib/deployer/certificates/in-progress.json"
        host.sh(f"while test -e {marker}; do sleep 0.1; done")
    (after,) = status()
    assert after["serial"] == served(host)
    assert host.sh("ls /var/lib/deployer/certificates").count("in-progress") == 0
    key = f"/etc/ssl/deployer/{DOMAIN}/current"
    pair = [
        host.sh(f"openssl x509 -in {key}/fullchain.pem -noout -pubkey"),
        host.sh(f"openssl pkey -in {key}/privkey.pem -pubout"),
    ]
    assert pair[0] == pair[1]
    if moment == "marker":
        assert after["serial"] != before
        assert ca.orders() == 2


def _wait_for_proxy(host: LabHost) -> None:
    host.sh("until systemctl is-active -q nginx; do sleep 0.1; done")


def test_three_names_on_two_hosts_from_the_controller(
    labs: pytest.FixtureRequest, workdir: Path, tmp_path: Path
) -> None:
    lab: Lab = labs(2)  # type: ignore[operator]
    names = ("www.example.com", "chat.example.com")
    for host in lab.hosts:
        start_services(host)
    with authority(lab, tmp_path / "ca") as ca:
        for name in (DOMAIN, *names):
            ca.resolves(name, *(host.address for host in lab.hosts))
        write_site(lab, ca, names=names, certbot="controller")
        applied = deployer("apply", "site.yml", "--yes", "--json")
        assert applied.code == 0, applied
        assert ca.orders() == 1
        assert len({served(host) for host in lab.hosts}) == 1
        assert "PRIVATE KEY" not in applied.out + applied.err
        keys = list(Path(".deployer/certbot").rglob("*.pem"))
        assert keys
        assert all(path.stat().st_mode & 0o077 == 0 for path in keys if "key" in path.name)
        for host in lab.hosts:
            host.sh("! command -v certbot")

        again = deployer("apply", "site.yml", "--yes")
        assert "nothing to do" in again.out, again

        before = served(lab.hosts[0])
        renewed = deployer("certs", "renew", "site.yml", "--force", "--json")
        assert renewed.code == 0, renewed
        found = {served(host) for host in lab.hosts}
        assert len(found) == 1
        assert before not in found
        assert ca.orders() == 2
        assert json.loads(renewed.out)["command"] == "certs renew"

        # One host cannot take the next: it keeps the former one, and the other has the new one.
        broken = lab.hosts[1]
        broken.sh("echo 'oops' > /etc/nginx/conf.d/oops.conf")
        half = deployer("certs", "renew", "site.yml", "--force", timeout_s=PATIENCE_S)
        assert half.code == 3, half
        assert "oops" in half.out
        assert {served(broken)} == found
        broken.sh("rm /etc/nginx/conf.d/oops.conf")
        healed = deployer("apply", "site.yml", "--yes", "--no-diff")
        assert healed.code == 0, healed
        assert served(broken) == served(lab.hosts[0])
        assert ca.orders() == 3
