"""What pip installs on lab hosts, which have no network: downloaded here, served to them."""

from __future__ import annotations

import functools
import http.server
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deployer.lab.lab import Lab
from tests.support.downloads import TIME_LIMIT_S, downloaded

#: The Python of a Debian 12.
_PYTHON = ("--python-version", "3.11", "--implementation", "cp")
_ABIS = ("--abi", "cp311", "--abi", "abi3", "--abi", "none")
_PLATFORMS = ("--platform", "manylinux2014_x86_64", "--platform", "manylinux_2_28_x86_64")


def wheels(*requirements: str) -> Path:
    """A folder of `requirements` and all that they need."""

    def download(folder: Path) -> None:
        argv = [sys.executable, "-m", "pip", "download", "-qq", "-d", str(folder)]
        argv += ["--only-binary=:all:", *_PYTHON, *_ABIS, *_PLATFORMS, "--platform", "any"]
        subprocess.run([*argv, *requirements], check=True, timeout=TIME_LIMIT_S)

    return downloaded("wheels", "\0".join(requirements), download)


@contextmanager
def index(lab: Lab, folder: Path) -> Iterator[None]:
    """The wheels over HTTP, as the only index that pip knows on the lab's hosts."""
    address = lab.network.address(0)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *words: object) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer((address, 0), handler) as httpd:
        threading.Thread(target=httpd.serve_forever, args=(0.05,), daemon=True).start()
        for host in lab.hosts:
            (host.root / "etc/pip.conf").write_text(
                "[global]\nno-index = true\n"
                f"find-links = http://{address}:{httpd.server_port}/\ntrusted-host = {address}\n"
            )
        yield
        httpd.shutdown()
