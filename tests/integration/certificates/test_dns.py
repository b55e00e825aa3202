"""Wildcards: certbot's plugin for RFC 2136 writes into a real BIND, which the CA asks."""

from __future__ import annotations

import base64
import secrets
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from deployer.lab.host import LabHost
from deployer.lab.lab import Lab
from tests.integration.certificates.test_issue_and_renew import served, start_services, status
from tests.support.certificates.authority import authority
from tests.support.runs import deployer
from tests.support.waiting import PATIENCE_S

pytestmark = pytest.mark.lab

ZONE = "wild.example.com"
_NAMED = """\
key "acme" {{ algorithm hmac-sha512; secret "{secret}"; }};
options {{
    directory "/var/cache/bind";
    listen-on {{ any; }};
    recursion no;
    dnssec-validation no;
}};
zone "{zone}" {{
    type primary;
    file "/var/lib/bind/{zone}";
    update-policy {{ grant acme zonesub TXT; }};
}};
"""
_ZONE = """\
$TTL 1
@ SOA ns.{zone}. root.{zone}. 1 60 60 3600 1
@ NS ns.{zone}.
ns A {address}
"""


def start_bind(host: LabHost, secret: str) -> None:
    """A primary for the zone that accepts updates signed with `secret`, and resolves for the CA."""
    host.sh("apt-get install -y -qq bind9 >/dev/null 2>&1", timeout_s=PATIENCE_S)
    named = _NAMED.format(secret=secret, zone=ZONE)
    (host.root / "etc/bind/named.conf").write_text(named)
    (host.root / f"var/lib/bind/{ZONE}").write_text(_ZONE.format(zone=ZONE, address=host.address))
    host.sh("chown bind: /var/lib/bind/*; systemctl restart named")


def write_site(tls: dict[str, object]) -> None:
    """A playbook of the wildcard's site, on the first host alone."""
    route = {"path": "/ws", "websocket": "http://127.0.0.1:9001"}
    site = {"domain": f"*.{ZONE}", "aliases": [ZONE], "tls": tls, "routes": [route]}
    play = {"hosts": "web1", "become": True, "sites": [site]}
    Path("site.yml").write_text(yaml.safe_dump([play], sort_keys=False))


def command_lines_while(host: LabHost, *words: str) -> str:
    """The command lines that any user of `host` sees while deployer runs with `words`."""
    argv, nothing = [sys.executable, "-m", "deployer", *words], subprocess.DEVNULL
    seen = ""
    with subprocess.Popen(argv, stdin=nothing, stdout=nothing, stderr=nothing) as running:
        deadline = time.monotonic() + PATIENCE_S
        while running.poll() is None:
            assert time.monotonic() < deadline
            seen += host.sh("ps -e -ww -o args=; sleep 0.1")
    assert running.returncode == 0
    return seen


def test_a_wildcard(labs: pytest.FixtureRequest, workdir: Path, tmp_path: Path) -> None:
    lab: Lab = labs(2)  # type: ignore[operator]
    web, names = lab.hosts
    secret = base64.b64encode(secrets.token_bytes(64)).decode()
    start_bind(names, secret)
    start_services(web)
    credentials = {
        "dns_rfc2136_server": names.address,
        "dns_rfc2136_name": "acme.",
        "dns_rfc2136_secret": secret,
        "dns_rfc2136_algorithm": "HMAC-SHA512",
    }
    ini = Path("rfc2136.ini")
    ini.write_text("".join(f"{key} = {value}\n" for key, value in credentials.items()))
    ini.chmod(0o600)
    with authority(lab, tmp_path / "ca", dns_server=f"{names.address}:53") as ca:
        tls = {
            "issuer": {"directory": ca.directory, "ca_bundle": str(ca.bundle)},
            "challenge": "dns-01",
            "dns": {"plugin": "rfc2136", "credentials": str(ini), "propagation": "1s"},
        }
        lab.write_inventory(Path("inventory.yml"))
        write_site(tls)

        planned = deployer("plan", "site.yml")
        assert planned.code == 0, planned
        assert "package python3-certbot-dns-rfc2136" in planned.out
        applied = deployer("apply", "site.yml", "--yes", "--json")
        assert applied.code == 0, applied
        for ran in (planned, applied):
            assert secret not in ran.out + ran.err
        there = f"/etc/deployer/certificates/wildcard.{ZONE}.dns.ini"
        assert web.sh(f"stat -c %a {there}").strip() == "600"
        assert served(web, f"any.{ZONE}") == served(web, ZONE) == status()[0]["serial"]

        seen = command_lines_while(web, "certs", "renew", "site.yml", "--force")
        assert "--dns-rfc2136-credentials" in seen
        assert secret not in seen
        assert ca.orders() == 2
        assert served(web, f"any.{ZONE}") == status()[0]["serial"]
        assert web.sh(f"grep -rF {secret[:40]} /var/log || true").strip() == ""

        # Where the controller orders, the host needs no credentials; what it has got goes on.
        write_site({**tls, "certbot": "controller"})
        before = served(web, ZONE)
        moved = deployer("apply", "site.yml", "--yes")
        assert moved.code == 0, moved
        assert (ca.orders(), served(web, ZONE)) == (2, before)
        ordered = deployer("certs", "renew", "site.yml", "--force")
        assert ordered.code == 0, ordered
        assert ca.orders() == 3
        assert secret not in moved.out + moved.err + ordered.out + ordered.err
        assert served(web, ZONE) != before
        assert served(web, f"any.{ZONE}") == served(web, ZONE) == status()[0]["serial"]
        assert web.sh(f"ls {there}; grep -rlF {secret[:40]} /etc", check=False) == ""
        logs = Path(".deployer").rglob("*")
        assert not [path for path in logs if path.is_file() and secret in path.read_text()]
        again = deployer("apply", "site.yml", "--yes")
        assert "nothing to do" in again.out, again
