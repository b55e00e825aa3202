"""What needs a newer certbot than the distribution has: it is from PyPI, and the plan says why."""

from __future__ import annotations

import functools
import http.server
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from authority import authority
from support import deployer, differences, state_of
from test_certificates import start_services, status

from deployer.lab.lab import Lab

pytestmark = pytest.mark.lab

#: The Python of the rehearsal host, a Debian 12.
_PYTHON = ("--python-version", "3.11", "--implementation", "cp")
_ABIS = ("--abi", "cp311", "--abi", "abi3", "--abi", "none")
_PLATFORMS = ("--platform", "manylinux2014_x86_64", "--platform", "manylinux_2_28_x86_64")


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """certbot and all that it needs, as the host's Python can install it."""
    folder = tmp_path_factory.mktemp("wheels")
    argv = [sys.executable, "-m", "pip", "download", "-qq", "-d", str(folder)]
    argv += ["--only-binary=:all:", *_PYTHON, *_ABIS, *_PLATFORMS, "--platform", "any"]
    subprocess.run([*argv, "certbot>=5.4"], check=True, timeout=300)
    return folder


@contextmanager
def index(address: str, folder: Path) -> Iterator[str]:
    """The wheels over HTTP, where hosts can get them."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *words: object) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer((address, 0), handler) as httpd:
        threading.Thread(target=httpd.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://{address}:{httpd.server_port}/"
        httpd.shutdown()


def test_a_certificate_for_an_address(
    lab: Lab, wheels: Path, workdir: Path, tmp_path: Path
) -> None:
    (host,) = lab.hosts
    start_services(host)
    with (
        index(lab.network.address(0), wheels) as url,
        authority(lab, tmp_path / "ca") as ca,
    ):
        trusted = url.partition("//")[2].partition(":")[0]
        (host.root / "etc/pip.conf").write_text(
            f"[global]\nno-index = true\nfind-links = {url}\ntrusted-host = {trusted}\n"
        )
        tls = {"issuer": {"directory": ca.directory, "ca_bundle": str(ca.bundle)}}
        site = {
            "domain": host.address,
            "tls": tls,
            "routes": [{"path": "/ws", "websocket": "http://127.0.0.1:9001"}],
        }
        play = {"hosts": "all", "become": True, "sites": [site]}
        Path("site.yml").write_text(yaml.safe_dump([play], sort_keys=False))
        lab.write_inventory(Path("inventory.yml"))

        bare = state_of(host)
        planned = deployer("plan", "site.yml")
        assert "needs certbot 5.4, and the package is 2.1.0" in planned.out, planned
        ca.stop_pebble()
        failed = deployer("apply", "site.yml", "--yes", "--no-diff", timeout_s=240)
        assert failed.code == 3, failed
        assert "nothing listens there" in failed.out
        assert differences(bare, state_of(host)) == {}

        ca.start_pebble()
        applied = deployer("apply", "site.yml", "--yes", "--no-diff", timeout_s=240)
        assert applied.code == 0, applied
        (one,) = status()
        assert one["names"] == [host.address]
        assert one["is_served"]
        host.sh("test -x /opt/deployer/certbot/bin/certbot; ! test -e /usr/bin/certbot")

        again = deployer("apply", "site.yml", "--yes")
        assert "nothing to do" in again.out, again
        assert ca.orders() == 1
