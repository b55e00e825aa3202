"""Boots hosts of several releases, puts services on them, and applies the same site to each."""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import yaml

from deployer.lab.host import LabHost
from deployer.lab.lab import running
from tests.integration.conformance.world import Front, World
from tests.support.paths import ROOT
from tests.support.waiting import PATIENCE_S

_HERE = Path(__file__).parent
#: The services of site.yml by their names, and where each listens.
SERVICES = {
    "echo": ("9101", "[::1]:9106"),
    "socket": ("/run/echo/echo.sock",),
    "first": ("9102",),
    "second": ("9103",),
    "gone": ("9104",),
    "secure": ("tls:9105",),
}
FILES = {
    "index.html": "home\n",
    "pub/index.html": "public\n",
    "pub/sub/index.html": "sub\n",
    "bare/inside.txt": "inside\n",
}


def has_lua(front: Front) -> bool:
    """Whether the proxy compares names of headers; only one image has that module of nginx."""
    return front.proxy != "nginx" or front.image == "debian-12"


class Applied(dict[Front, World | str]):
    """The hosts by their fronts; a text where the apply failed."""


@contextmanager
def serving(fronts: Sequence[Front], folder: Path) -> Iterator[Applied]:
    """A host for each front, with the same services and site, until the block ends."""
    with ExitStack() as stack:
        hosts: dict[Front, LabHost] = {}
        for image in sorted({front.image for front in fronts}):
            those = [front for front in fronts if front.image == image]
            name = f"test-conformance-{os.getpid()}-{image}"
            lab = stack.enter_context(running(len(those), name=name, image_name=image))
            hosts |= dict(zip(those, lab.hosts, strict=True))
        with ThreadPoolExecutor(len(fronts)) as pool:
            made = pool.map(lambda front: _serve(front, hosts[front], folder / str(front)), fronts)
            yield Applied(zip(fronts, made, strict=True))


def _serve(front: Front, host: LabHost, folder: Path) -> World | str:
    folder.mkdir()
    start_services(host)
    write_site(folder, host, front=front)
    ran = apply(folder)
    if ran.returncode:
        return f"{front}: exit code {ran.returncode}\n{ran.stdout}\n{ran.stderr}"
    trust = ssl.create_default_context(cafile=folder / ".deployer/ca/root.pem")
    return World(front=front, host=host, folder=folder, trust=trust)


def apply(folder: Path) -> subprocess.CompletedProcess[str]:
    """The real command, as a user would run it in that folder."""
    return subprocess.run(
        [sys.executable, "-m", "deployer", "apply", "site.yml", "--yes", "--no-diff"],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def write_site(
    folder: Path, host: LabHost, *, front: Front, drain: str = "1h", more: str = ""
) -> None:
    """The playbook and an inventory of one host; `more` are further routes of the last site."""
    words = f"proxy: {front.proxy}\n      drain: {drain}"
    text = (_HERE / "site.yml").read_text().replace("proxy: nginx", words)
    if not has_lua(front):
        text = text.replace("become: true", "become: true\n  vars: {nginx_lua: false}")
    (folder / "site.yml").write_text(text + more)
    about = {
        "ansible_host": host.address,
        "ansible_user": "root",
        "ansible_ssh_private_key_file": str(host.key),
        "deployer_known_hosts_file": str(host.known_hosts),
    }
    inventory = {"all": {"hosts": {host.name: about}}}
    (folder / "inventory.yml").write_text(yaml.safe_dump(inventory))


def start_services(host: LabHost) -> None:
    """The services behind the proxy, a unit each, and the files that it serves itself."""
    folder = host.root / "opt/echo"
    folder.mkdir()
    (folder / "echo_service.py").write_text((_HERE / "echo_service.py").read_text())
    for name, text in FILES.items():
        path = host.root / "srv/www" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    subject = "-subj /CN=service -days 30 -nodes"
    pem = "/opt/echo/service.pem"
    host.sh(
        "apt-get install -y -qq --no-install-recommends openssl >/dev/null; mkdir -p /run/echo; "
        f"openssl req -x509 -newkey rsa:2048 {subject} -keyout {pem} -out /tmp/c.pem 2>&1; "
        f"cat /tmp/c.pem >> {pem}"
    )
    for name in SERVICES:
        start_service(host, name)


def start_service(host: LabHost, name: str) -> None:
    """Returns when it listens."""
    unit = ["systemd-run", "--quiet", "--collect", "--property=Type=notify", f"--unit=echo-{name}"]
    host.exec([*unit, "python3", "/opt/echo/echo_service.py", name, *SERVICES[name]])


@contextmanager
def stopped(host: LabHost, name: str) -> Iterator[None]:
    """Nothing listens where that service did, until the block ends."""
    host.exec(["systemctl", "stop", f"echo-{name}"])
    try:
        yield
    finally:
        start_service(host, name)
