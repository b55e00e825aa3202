"""Changes that no handshake confirms: the finding names the cause, and the host is rolled back."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from deployer.lab.host import LabHost
from deployer.lab.lab import Lab
from deployer.playbook.builtin import roles_path
from tests.support.paths import PROGRAMS
from tests.support.programs.backends import PORTS
from tests.support.runs import Ran, deployer, differences, handshake, state_of
from tests.support.waiting import PATIENCE_S, stretched, until

pytestmark = pytest.mark.lab

DOMAIN = "ws.example.com"
PLAYBOOK = """
- hosts: all
  vars: {{port: {port}}}
  sites:
    - domain: {domain}
      tls: {{issuer: internal}}
      routes:
        - path: /ws
          websocket: "http://127.0.0.1:{{{{ port }}}}"
"""


@dataclass(frozen=True, slots=True)
class Running:
    """A host with a service that was applied and confirmed, and its state."""

    host: LabHost
    folder: Path
    state: dict[str, Any]

    def write(self, backend: str, domain: str = DOMAIN) -> None:
        (self.folder / "site.yml").write_text(PLAYBOOK.format(port=PORTS[backend], domain=domain))

    def is_as_it_was(self) -> bool:
        """The same state, and the old service answers."""
        root = self.folder / ".deployer/ca/root.pem"
        assert handshake(self.host, root, domain=DOMAIN, path="/ws") == "hello"
        return differences(self.state, state_of(self.host)) == {}


@pytest.fixture(scope="module")
def service(shared_lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Running:
    """A good service, behind nginx."""
    (host,) = shared_lab.hosts
    folder = tmp_path_factory.mktemp("service")
    source = (PROGRAMS / "backends.py").read_text()
    host.exec(["sh", "-c", "cat > /root/backends.py"], stdin=source)
    host.sh("systemd-run --quiet --unit=backends python3 /root/backends.py")
    shared_lab.write_inventory(folder / "inventory.yml")
    (folder / "site.yml").write_text(PLAYBOOK.format(port=PORTS["good"], domain=DOMAIN))
    ran = deployer("apply", folder / "site.yml", "--yes")
    assert ran.code == 0, ran
    return Running(host=host, folder=folder, state=state_of(host))


@pytest.fixture
def running(service: Running, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    monkeypatch.chdir(service.folder)
    yield service
    service.write("good")


def codes(ran: Ran) -> set[tuple[str, str]]:
    """Hop and code of each finding; each has all that a person needs."""
    for finding in ran.document["findings"]:
        for key in ("host", "site", "hop", "code", "cause", "fix"):
            assert finding[key], (key, finding)
    return {(finding["hop"], finding["code"]) for finding in ran.document["findings"]}


CODES = {
    "answers 404": "backend-not-websocket",
    "wrong accept key": "wrong-accept",
    "accepts and hangs": "service-hangs",
    "forgets Upgrade": "incomplete-upgrade",
    "nothing listens": "service-down",
    "closes at once": "connection-dropped",
}


@pytest.mark.parametrize("backend", CODES)
def test_a_backend_that_is_no_websocket_service(backend: str, running: Running) -> None:
    running.write(backend)
    ran = deployer("apply", "site.yml", "--yes", "--json")
    assert ran.code == ran.document["exit_code"] == 3, ran
    assert ran.document["hosts"]["web1"]["state"] == "reverted"
    assert codes(ran) == {("backend", CODES[backend])}
    assert running.is_as_it_was()


def test_ctrl_c_while_a_connection_is_held(running: Running) -> None:
    playbook = PLAYBOOK.format(port=PORTS["good"], domain=DOMAIN)
    held = "      verify: [{path: /ws, hold: 60s}]\n"
    changed = playbook.replace("/ws\n", "/ws\n          idle_timeout: 2h\n") + held
    (running.folder / "site.yml").write_text(changed)
    process = subprocess.Popen(
        [sys.executable, "-m", "deployer", "apply", "site.yml", "--yes", "--json"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        assert any("certificate (proxy)" in line for line in process.stderr)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE_S)
    finally:
        process.kill()
        process.wait()
    assert "Traceback" not in err
    ran = Ran(process.returncode, out, err)
    assert ran.code == ran.document["exit_code"] == 3, ran
    assert "interrupted" in ran.document["hosts"]["web1"]["message"]
    assert running.is_as_it_was()


def test_checks_that_take_longer_than_the_time_to_confirm(running: Running) -> None:
    """The host counts from the last heartbeat, and the controller keeps sending them."""
    playbook = PLAYBOOK.format(port=PORTS["good"], domain=DOMAIN)
    confirm_s = stretched(1.5)
    hold = f"{3 * confirm_s:.0f}s"
    checks = f"[{{path: /ws, hold: {hold}}}, {{path: /ws, expect: something else}}]"
    changed = playbook.replace("/ws\n", "/ws\n          idle_timeout: 2h\n")
    (running.folder / "site.yml").write_text(f"{changed}      verify: {checks}\n")
    ran = deployer("apply", "site.yml", "--yes", "--json", "--confirm-timeout", f"{confirm_s}")
    assert ran.code == 3, ran
    report = ran.document["hosts"]["web1"]
    assert report["message"].startswith("the verification failed; "), ran
    held = [check for check in report["checks"] if check["ok"] and check["seconds"] > 2 * confirm_s]
    assert len(held) == 1, ran
    assert running.is_as_it_was()


@pytest.fixture
def own_role(running: Running) -> Iterator[Path]:
    """A copy of the nginx role next to the playbook: the template of its sites."""
    folder = running.folder / "roles"
    shutil.copytree(roles_path() / "nginx", folder / "nginx")
    yield folder / "nginx/templates/site.conf.j2"
    shutil.rmtree(folder)


def test_a_proxy_that_drops_the_upgrade(running: Running, own_role: Path) -> None:
    template = own_role.read_text()
    line = "{{ directive }}Upgrade            $deployer_upgrade;\n"
    assert line in template
    own_role.write_text(template.replace(line, ""))
    ran = deployer("apply", "site.yml", "--yes", "--json")
    assert ran.code == 3, ran
    assert {hop for hop, _ in codes(ran)} == {"proxy"}
    assert running.is_as_it_was()


def test_a_config_that_nginx_refuses(running: Running, own_role: Path) -> None:
    own_role.write_text(own_role.read_text().replace("server_tokens ", "server_token "))
    ran = deployer("apply", "site.yml", "--yes", "--json")
    assert ran.code == 3, ran
    assert ran.document["hosts"]["web1"]["state"] == "reverted"
    assert 'unknown directive "server_token"' in ran.document["hosts"]["web1"]["message"]
    assert running.is_as_it_was()


@pytest.mark.parametrize("port", [80, 443])
def test_a_port_that_something_else_has(port: int, lab: Lab, workdir: Path) -> None:
    (host,) = lab.hosts
    host.sh(f"systemd-run --quiet --unit=other python3 -m http.server {port} -d /srv")
    until(lambda: host.sh(f"ss -Hltn 'sport = :{port}'") != "")
    lab.write_inventory(workdir / "inventory.yml")
    (workdir / "site.yml").write_text(PLAYBOOK.format(port=PORTS["good"], domain=DOMAIN))
    state = state_of(host)
    ran = deployer("apply", "site.yml", "--yes", "--json")
    assert ran.code == 3, ran
    assert str(port) in ran.document["hosts"]["web1"]["message"], ran
    assert differences(state, state_of(host)) == {}
