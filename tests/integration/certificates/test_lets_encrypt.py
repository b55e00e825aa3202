"""Let's Encrypt, as far as it differs from any other CA: staging first, its limits, its roots."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from deployer.lab.host import LabHost
from deployer.lab.lab import Lab
from tests.integration.certificates.test_issue_and_renew import DOMAIN, served, start_services
from tests.support.certificates.lets_encrypt import LetsEncrypt, letsencrypt
from tests.support.runs import Ran
from tests.support.waiting import PATIENCE_S

pytestmark = pytest.mark.lab


@pytest.fixture
def ca(lab: Lab, tmp_path: Path) -> Iterator[LetsEncrypt]:
    """The stand-in, known to the host of the lab."""
    with letsencrypt(lab, tmp_path / "ca") as found:
        found.is_known_to(lab.hosts[0])
        yield found


def deployer_where_names_resolve(lab: Lab, ca: LetsEncrypt, *words: str) -> Ran:
    """The command on a machine that resolves the site's name to the host and trusts the CA.

    It has an ``/etc/hosts`` of its own, in a mount namespace that ends with it.
    """
    roots = Path("roots.pem")
    roots.write_bytes(ca.real.issuing_root_pem)
    hosts = Path("hosts")
    hosts.write_text(f"127.0.0.1 localhost\n{lab.hosts[0].address} {DOMAIN}\n")
    script = 'mount --bind hosts /etc/hosts && exec "$@"'
    argv = ["unshare", "--mount", "sh", "-c", script, "sh", sys.executable, "-m", "deployer"]
    done = subprocess.run(
        [*argv, *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
        env={**_environment(), "SSL_CERT_FILE": str(roots.resolve())},
    )
    assert "Traceback" not in done.stdout + done.stderr, done.stderr
    return Ran(done.returncode, done.stdout, done.stderr)


def _environment() -> dict[str, str]:
    import os

    return dict(os.environ)


def write_site(lab: Lab, issuer: str) -> None:
    route = {"path": "/ws", "websocket": "http://127.0.0.1:9001"}
    site = {"domain": DOMAIN, "tls": {"issuer": issuer, "email": "ops@example.org"}}
    play = {"hosts": "all", "become": True, "sites": [{**site, "routes": [route]}]}
    Path("site.yml").write_text(yaml.safe_dump([play], sort_keys=False))
    lab.write_inventory(Path("inventory.yml"))


def record_issued(host: LabHost, *, times: int) -> None:
    """Add orders of a minute ago to the host's ledger."""
    ledger = host.root / "var/lib/deployer/certificates/ledger.jsonl"
    event = {
        "at": time.time() - 60,
        "what": "issued",
        "directory": "https://acme-v02.api.letsencrypt.org/directory",
        "names": [DOMAIN],
    }
    with ledger.open("a") as file:
        file.write((json.dumps(event) + "\n") * times)


def test_staging_first_and_never_in_the_place_of_the_real_one(
    lab: Lab, ca: LetsEncrypt, workdir: Path
) -> None:
    (host,) = lab.hosts
    start_services(host)

    def run(*words: str) -> Ran:
        return deployer_where_names_resolve(lab, ca, *words)

    # A rehearsal that fails costs nothing: the real CA is not asked.
    write_site(lab, "letsencrypt")
    ca.staging.resolves(DOMAIN, ca.staging.address)  # where nothing listens on port 80
    failed = run("apply", "site.yml", "--yes", "--no-diff")
    assert failed.code == 3, failed
    assert "the rehearsal with staging failed" in failed.out
    assert f"the CA could not validate {DOMAIN}" in failed.out
    assert (ca.staging.orders(), ca.real.orders()) == (1, 0)

    ca.staging.forget(DOMAIN)
    applied = run("apply", "site.yml", "--yes", "--no-diff")
    assert applied.code == 0, applied
    assert "rehearsing with Let's Encrypt's staging first" in applied.out
    assert (ca.staging.orders(), ca.real.orders()) == (2, 1)
    real = served(host)

    # It is not rehearsed a second time.
    renewed = run("certs", "renew", "site.yml", "--force")
    assert renewed.code == 0, renewed
    assert (ca.staging.orders(), ca.real.orders()) == (2, 2)
    assert served(host) != real

    # A different issuer is a different certificate, and the first one is still there afterwards.
    real = served(host)
    write_site(lab, "letsencrypt-staging")
    assert run("apply", "site.yml", "--yes", "--no-diff").code == 0
    assert (ca.staging.orders(), ca.real.orders()) == (3, 2)
    assert served(host) != real
    write_site(lab, "letsencrypt")
    wrong = run("certs", "status", "site.yml", "--json")
    assert wrong.code == 3, wrong
    back = run("apply", "site.yml", "--yes", "--no-diff")
    assert back.code == 0, back
    assert (ca.staging.orders(), ca.real.orders()) == (3, 2)
    assert served(host) == real

    # Five certificates for the same names within a week: the sixth is refused before it is asked.
    record_issued(host, times=3)
    refused = run("certs", "renew", "site.yml", "--force")
    assert refused.code == 3, refused
    assert "certificates for exactly these names within a week" in refused.out
    assert "it is possible again from" in refused.out
    assert ca.real.orders() == 2
    assert served(host) == real


def test_a_first_order_without_a_rehearsal(lab: Lab, ca: LetsEncrypt, workdir: Path) -> None:
    start_services(lab.hosts[0])
    write_site(lab, "letsencrypt")
    given = ("apply", "site.yml", "--yes", "--no-diff", "--no-staging-first")
    applied = deployer_where_names_resolve(lab, ca, *given)
    assert applied.code == 0, applied
    assert (ca.staging.orders(), ca.real.orders()) == (0, 1)
