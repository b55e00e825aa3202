"""What bad luck with certificates gets on a real host: words, the right code, the old service."""

from __future__ import annotations

import calendar
import http.server
import itertools
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from deployer.lab.host import LabHost
from deployer.lab.lab import Lab
from deployer.sites import acme
from tests.support.certificates.authority import Authority
from tests.support.certificates.ca_fronts import NEW_ACCOUNT, NEW_ORDER, Front, Refusal, mute
from tests.support.interrupted_runs import ended, is_over, is_settled
from tests.support.runs import deployer
from tests.support.waiting import PATIENCE_S, at_most, until

pytestmark = pytest.mark.lab

LIVE = "live.example.com"
PORT = acme.CHALLENGE_PORT
HMAC_KEY = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"
_numbers = itertools.count(1)


@dataclass(slots=True)
class Stage:
    """A host that serves `LIVE` with a certificate of `ca`, issued through `front`."""

    lab: Lab
    ca: Authority
    front: Front

    @property
    def host(self) -> LabHost:
        return self.lab.hosts[0]

    def site(self, domain: str, **tls: Any) -> dict[str, Any]:
        issuer = {"directory": self.front.directory, "ca_bundle": str(self.ca.bundle)}
        about = {"issuer": {**issuer, **tls.pop("issuer", {})}, **tls}
        return {"domain": domain, "tls": about, "routes": [{"path": "/", "root": "/var/www/html"}]}

    def write(self, *sites: dict[str, Any]) -> None:
        """A playbook of `LIVE` and more sites, in the current folder."""
        play = {"hosts": "all", "become": True, "sites": [self.site(LIVE), *sites]}
        Path("site.yml").write_text(yaml.safe_dump([play], sort_keys=False))
        self.lab.write_inventory(Path("inventory.yml"))

    def served(self, name: str = LIVE) -> str:
        """The serial number that a client sees."""
        script = (
            f"openssl s_client -connect {self.host.address}:443 -servername {name} </dev/null "
            "2>/dev/null | openssl x509 -noout -serial"
        )
        done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
        return done.stdout.strip().partition("=")[2]


@pytest.fixture(scope="module")
def live(shared_lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """The host as it is before every test."""
    folder = tmp_path_factory.mktemp("ca")
    (host,) = shared_lab.hosts
    ca = Authority(
        address=shared_lab.network.address(0),
        folder=folder,
        finds_at=host.address,
        options={"domainBlocklist": ["blocked.example.com"]},
    )
    try:
        ca.start()
        with Front(ca, 14443) as front, pytest.MonkeyPatch.context() as patch:
            stage = Stage(shared_lab, ca, front)
            patch.chdir(tmp_path_factory.mktemp("project"))
            stage.write()
            applied = deployer("apply", "site.yml", "--yes", "--no-diff")
            assert applied.code == 0, applied
            yield stage
    finally:
        ca.stop()


@pytest.fixture
def stage(live: Stage, workdir: Path) -> Iterator[Stage]:
    """A kind CA, an empty folder, and after the test the old service as it was."""
    live.front.be_kind()
    yield live
    live.front.be_kind()


@contextmanager
def running(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """The command, running."""
    process = subprocess.Popen(
        [sys.executable, "-m", "deployer", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def name() -> str:
    """A name that no CA has been asked for yet."""
    return f"new{next(_numbers)}.example.com"


def fails(stage: Stage, *sites: dict[str, Any]) -> str:
    """An apply of more sites fails, nothing changes, and `LIVE` is served; its output."""
    before = stage.served()
    stage.write(*sites)
    ran = deployer("apply", "site.yml", "--yes", "--no-diff")
    assert ran.code == 3, ran
    assert "the host is back in its former state" in ran.out, ran
    assert stage.served() == before
    return ran.out


def test_a_ca_that_is_down(stage: Stage) -> None:
    stage.front.stop()
    try:
        said = fails(stage, stage.site(name()))
    finally:
        stage.front.start()
    assert "nothing listens there" in said


def test_a_ca_that_confuses_nonces(stage: Stage) -> None:
    """certbot retries once on its own; that is not enough here."""
    refusal = Refusal("badNonce", "invalid anti-replay nonce", 400, times=3)
    stage.front.refuse(NEW_ORDER, refusal)
    stage.write(stage.site(name()))
    ran = deployer("apply", "site.yml", "--yes", "--no-diff")
    assert ran.code == 0, ran
    assert refusal.times == 0


def test_a_ca_that_is_asked_too_much(stage: Stage) -> None:
    domain = name()
    detail = f"too many certificates already issued for {domain}"
    headers = {"Retry-After": "7200"}
    stage.front.refuse(NEW_ORDER, Refusal("rateLimited", detail, 429, headers))
    began, asked = time.time(), stage.front.count(NEW_ORDER)
    said = fails(stage, stage.site(domain))
    assert detail in said
    asked_then = stage.front.count(NEW_ORDER)
    assert asked_then == asked + 1

    said = fails(stage, stage.site(domain))
    assert "the CA has said that too much was asked of it" in said
    assert stage.front.count(NEW_ORDER) == asked_then
    at = re.search(r"possible again from (\S+ \S+) UTC", said)
    assert at, said
    parsed = time.strptime(at[1], "%Y-%m-%d %H:%M")
    assert 7200 - 60 <= calendar.timegm(parsed) - began <= 7200 + 90


def test_a_ca_that_refuses_the_name(stage: Stage) -> None:
    said = fails(stage, stage.site("blocked.example.com"))
    assert 'forbidden by policy: "blocked.example.com"; this CA does not certify' in said


def test_a_ca_that_caa_forbids(stage: Stage) -> None:
    detail = "CAA record for example.com prevents issuance"
    stage.front.refuse("/finalize-order/", Refusal("caa", detail))
    said = fails(stage, stage.site(name()))
    assert f"{detail}; its CAA record does not allow this CA: add one that does" in said


def test_port_80_is_closed_by_a_firewall(stage: Stage) -> None:
    rule = "ipproto tcp sport 80 blackhole"
    stage.host.sh(f"ip rule add {rule}")
    asked = stage.front.count(NEW_ORDER)
    try:
        said = fails(stage, stage.site(name()))
    finally:
        stage.host.sh(f"ip rule del {rule}")
    assert "its port 80 does not answer within 8 s; open port 80 to the world" in said
    assert stage.front.count(NEW_ORDER) == asked


def test_something_else_answers_challenges(stage: Stage) -> None:
    stage.host.sh(f"systemd-run -q -u taken python3 -m http.server {PORT} --bind 127.0.0.1")
    until(lambda: f":{PORT} " in stage.host.sh("ss -ltn"))
    try:
        said = fails(stage, stage.site(name()))
    finally:
        stage.host.sh("systemctl stop taken")
    assert f"port {PORT} on 127.0.0.1 is taken by python3 (process" in said


def test_an_address_of_mail_that_the_ca_does_not_take(stage: Stage) -> None:
    with Front(stage.ca, 14444) as other:  # where there is no account yet
        issuer = {"directory": other.directory}
        said = fails(stage, stage.site(name(), issuer=issuer, email="ops.@example.com"))
    assert 'contact email "ops.@example.com" is invalid; correct `email:`' in said


def test_a_ca_of_customers_alone(stage: Stage, tmp_path: Path) -> None:
    """Without its binding nothing is asked; with it the key is nowhere to be read."""
    folder = tmp_path / "ca"
    folder.mkdir()
    options = {
        "externalAccountBindingRequired": True,
        "externalAccountMACKeys": {"customer-1": HMAC_KEY},
    }
    ca = Authority(
        address=stage.ca.address,
        folder=folder,
        finds_at=stage.host.address,
        options=options,
        first_port=200,
    )
    domain = name()
    try:
        ca.start()
        with Front(ca, 14445) as front:
            issuer: dict[str, Any] = {"directory": front.directory, "ca_bundle": str(ca.bundle)}
            said = fails(stage, stage.site(domain, issuer=issuer))
            assert "give `eab: {kid: …, hmac_key: …}`" in said
            assert front.count(NEW_ACCOUNT) == 0

            issuer["eab"] = {"kid": "customer-1", "hmac_key": HMAC_KEY}
            stage.write(stage.site(domain, issuer=issuer))
            going_on = front.hold(NEW_ORDER)
            with running("apply", "site.yml", "--yes", "--json", "-v") as process:
                until(lambda: front.count(NEW_ORDER) > 0)
                assert [path for path in Path("/proc").glob("[0-9]*/cmdline") if shows(path)] == []
                going_on.set()
                applied = ended(process)
            assert applied.code == 0, applied
            assert HMAC_KEY not in applied.out + applied.err
            assert HMAC_KEY not in stage.host.sh(
                "journalctl --no-pager; grep -r . /var/log/deployer"
            )
            found = stage.host.exec(["python3", "-c", _WHO_HAS, HMAC_KEY]).stdout
            assert found.split() == [f"/etc/deployer/certificates/{domain}.json", "0o600"]
    finally:
        ca.stop()


#: Prints the files in which a text is; on the host that is what a test wants to know of all files.
_WHO_HAS = r"""
import os, sys
for top in ("etc", "home", "opt", "root", "run", "srv", "tmp", "usr/local", "var"):
    for folder, _, names in os.walk("/" + top):
        for name in names:
            path = os.path.join(folder, name)
            if os.path.isfile(path) and not os.path.islink(path):
                with open(path, "rb") as file:
                    if sys.argv[1].encode() in file.read():
                        sys.stdout.write(path + " " + oct(os.stat(path).st_mode & 0o777) + "\n")
"""


def shows(path: Path) -> bool:
    """Whether the key is in a file of /proc, of a process that is still there."""
    try:
        return HMAC_KEY.encode() in path.read_bytes()
    except OSError:
        return False


def test_a_name_that_leads_elsewhere_from_here(stage: Stage) -> None:
    """It is seen before the CA is asked: a failed validation costs one of few."""
    domain = name()
    hosts = Path("hosts")
    hosts.write_text(f"127.0.0.1 localhost\n{stage.ca.address} {domain}\n")
    stage.write(stage.site(domain))
    before, asked = stage.served(), stage.front.count(NEW_ORDER)
    script = 'mount --bind hosts /etc/hosts && exec "$@"'
    argv = ["unshare", "--mount", "sh", "-c", script, "sh", sys.executable, "-m", "deployer"]
    with other_web_server(stage.ca.address):
        done = subprocess.run(
            [*argv, "apply", "site.yml", "--yes"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
    assert done.returncode == 3, done
    found = f"{domain} resolves to {stage.ca.address}, but a different server answers there"
    assert found in done.stdout
    assert stage.front.count(NEW_ORDER) == asked
    assert stage.served() == before


@contextmanager
def other_web_server(address: str) -> Iterator[None]:
    """A web server that is not ours."""
    handler = http.server.SimpleHTTPRequestHandler
    with http.server.ThreadingHTTPServer((address, 80), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


def test_a_name_that_the_ca_finds_elsewhere(stage: Stage) -> None:
    """The fifth failed validation within an hour is the last that the CA sees."""
    domain = name()
    stage.ca.resolves(domain, stage.ca.address)
    said = fails(stage, stage.site(domain))
    assert f"the CA could not validate {domain}" in said
    assert "the name must lead here" in said
    ledger = "/var/lib/deployer/certificates/ledger.jsonl"
    failed = stage.host.sh(f"grep '\"failed\"' {ledger} | tail -n 1").strip()
    assert domain in failed
    stage.host.exec(["sh", "-c", f"cat >> {ledger}"], stdin=f"{failed}\n" * 4)
    asked = stage.front.count(NEW_ORDER)
    said = fails(stage, stage.site(domain))
    assert f"too many failed validations of {domain} within an hour: 5 is the most" in said
    assert re.search(r"possible again from \S+ \S+ UTC", said)
    assert stage.front.count(NEW_ORDER) == asked


def test_interrupted_while_certbot_runs(stage: Stage) -> None:
    """By Ctrl-C, or by SIGKILL of the controller; the next apply works."""
    before, domain = stage.served(), name()
    stage.write(stage.site(domain))
    stage.front.hold(NEW_ORDER)
    for number in (signal.SIGINT, signal.SIGKILL):
        asked = stage.front.count(NEW_ORDER)
        with running("apply", "site.yml", "--yes", "--no-diff") as process:
            until(lambda: stage.front.count(NEW_ORDER) > asked)  # noqa: B023
            process.send_signal(number)
            ran = ended(process)
        until(lambda: is_over(stage.host))
        assert stage.host.sh("pgrep -f [c]ertonly", check=False) == ""
        assert stage.served() == before
        if number == signal.SIGINT:
            assert ran.code == 3, ran
            assert "the order was interrupted" in ran.out
            assert "former state" in ran.out
    stage.front.be_kind()
    applied = deployer("apply", "site.yml", "--yes", "--no-diff")
    assert applied.code == 0, applied
    assert stage.served(domain) != before


# --- renewals -------------------------------------------------------------------------------------


def status(stage: Stage) -> dict[str, Any]:
    """The status of the certificate of `LIVE`; a playbook of it alone is written."""
    stage.write()
    ran = deployer("certs", "status", "site.yml", "--json")
    (one,) = ran.document["hosts"]["web1"]["certificates"]
    return dict(one)


def test_a_renewal_while_the_ca_is_down(stage: Stage) -> None:
    stage.write()
    before = stage.served()
    stage.front.stop()
    try:
        ran = deployer("certs", "renew", "site.yml", "--force")
    finally:
        stage.front.start()
    assert ran.code == 3, ran
    assert "nothing listens there" in ran.out
    assert stage.served() == before
    after = status(stage)
    assert not after["last_attempt"]["ok"]
    assert "nothing listens there" in after["last_attempt"]["words"]
    assert after["is_served"]


def test_a_renewal_while_an_apply_waits_for_a_ca_that_does_not_answer(stage: Stage) -> None:
    """The apply times out, and the renewal that waited for it works."""
    before = stage.served()
    with mute(stage.ca.address) as silent:
        url = f"https://{stage.ca.address}:{silent.getsockname()[1]}/dir"
        stage.write(stage.site(name(), issuer={"directory": url}))
        began = time.monotonic()
        with running("apply", "site.yml", "--yes", "--no-diff") as apply:
            until(lambda: not is_settled(stage.host))
            stage.write()
            with running("certs", "renew", "site.yml", "--force") as renewal:
                assert renewal.stdout is not None
                said = renewal.stdout.readline()
                assert "waiting: " in said
                assert stage.served() == before
                applied = ended(apply)
                assert time.monotonic() - began < at_most(30)
                renewed = ended(renewal)
    assert applied.code == 3, applied
    assert "has not answered within" in applied.out
    assert "the host is back in its former state" in applied.out
    assert renewed.code == 0, renewed
    assert stage.served() != before


def test_a_renewal_interrupted_while_certbot_runs(stage: Stage) -> None:
    """By Ctrl-C, or by SIGKILL of the controller; the next one works."""
    stage.write()
    before = stage.served()
    stage.front.hold(NEW_ORDER)
    for number in (signal.SIGINT, signal.SIGKILL):
        asked = stage.front.count(NEW_ORDER)
        with running("certs", "renew", "site.yml", "--force") as process:
            until(lambda: stage.front.count(NEW_ORDER) > asked)  # noqa: B023
            process.send_signal(number)
            ran = ended(process)
        until(lambda: is_over(stage.host))
        assert stage.host.sh("pgrep -f [c]ertonly", check=False) == ""
        assert stage.served() == before
        if number == signal.SIGINT:
            assert ran.code == 3, ran
            assert "the order was interrupted, because deployer was stopped" in ran.out
    stage.front.be_kind()
    renewed = deployer("certs", "renew", "site.yml", "--force")
    assert renewed.code == 0, renewed
    assert stage.served() != before


def test_a_config_that_was_broken_by_hand(stage: Stage) -> None:
    """The former certificate goes back; once that is fixed, the issued one is used."""
    stage.write()
    before = stage.served()
    oops = "/etc/nginx/conf.d/oops.conf"
    stage.host.sh(f"echo 'oops;' > {oops}")
    try:
        ran = deployer("certs", "renew", "site.yml", "--force")
        assert ran.code == 3, ran
        assert f'unknown directive "oops" in {oops}:1' in ran.out
        assert stage.served() == before
        broken = status(stage)
    finally:
        stage.host.sh(f"rm {oops}")
    assert not broken["last_attempt"]["ok"]
    assert broken["serial"] == before
    asked = stage.front.count(NEW_ORDER)
    fixed = deployer("certs", "renew", "site.yml")
    assert fixed.code == 0, fixed
    assert stage.served() != before
    assert stage.front.count(NEW_ORDER) == asked
    assert status(stage)["last_attempt"]["ok"]


def test_a_proxy_that_reads_another_file(stage: Stage) -> None:
    """A reload that succeeds proves nothing: what is served is looked at."""
    stage.write()
    before = stage.served()
    config = f"/etc/nginx/sites-available/{LIVE}.conf"
    copied = f"cp -rL /etc/ssl/deployer/{LIVE}/current /etc/ssl/elsewhere"
    stage.host.sh(f"{copied}; cp {config} /root/kept.conf")
    stage.host.sh(f"sed -i 's,/etc/ssl/deployer/{LIVE}/current,/etc/ssl/elsewhere,' {config}")
    stage.host.sh(f"grep -q elsewhere {config}; nginx -t && systemctl reload nginx")
    try:
        ran = deployer("certs", "renew", "site.yml", "--force")
        assert ran.code == 3, ran
        assert f"the proxy still serves {before}" in ran.out
        assert stage.served() == before
        assert status(stage)["serial"] == before
    finally:
        stage.host.sh(f"mv /root/kept.conf {config}; systemctl reload nginx")


def test_a_key_of_another_certificate(stage: Stage) -> None:
    folder = stage.ca.folder
    stage.write()
    stranger = ec.generate_private_key(ec.SECP256R1())
    plain = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    Path("key.pem").write_bytes(stranger.private_bytes(*plain))
    tls = {"issuer": "provided", "certificate": str(folder / "directory.pem"), "key": "key.pem"}
    site = {**stage.site(LIVE), "tls": tls}
    Path("site.yml").write_text(yaml.safe_dump([{"hosts": "all", "sites": [site]}]))
    ran = deployer("apply", "site.yml", "--yes")
    assert ran.code == 1, ran
    assert "no host was touched" in ran.out
    assert re.search(r"site.yml:\d+:\d+", ran.out), ran
    assert "key.pem does not belong to the first certificate in" in ran.out, ran
