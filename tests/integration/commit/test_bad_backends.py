"""Changes that no handshake confirms: the finding names the cause, and the host is rolled back."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
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

    def workers(self) -> str:
        """The processes of nginx, which a reload replaces."""
        return self.host.sh("pgrep -x nginx")

    def is_as_it_was(self) -> bool:
        """The same state, and the old service answers."""
        root = self.folder / ".deployer/ca/root.pem"
        assert handshake(self.host, root, domain=DOMAIN, path="/ws") == "hello"
        return differences(self.state, state_of(self.host)) == {}


#: Runs on the host: ten handshakes a second through the proxy, the status of each on a line.
_CLIENT = r"""
import socket, ssl, sys, time
around = ssl._create_unverified_context()
ask = ("GET /ws HTTP/1.1\r\nHost: ws.example.com\r\nOrigin: https://ws.example.com\r\n"
       "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
       "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n").encode()
while True:
    began = time.monotonic()
    try:
        with socket.create_connection(("127.0.0.1", 443), 5) as line:
            with around.wrap_socket(line, server_hostname="ws.example.com") as secured:
                secured.sendall(ask)
                print(secured.recv(4096).split(b" ")[1].decode(), flush=True)
    except OSError as error:
        print(error, flush=True)
    time.sleep(max(0, began + 0.1 - time.monotonic()))
"""


@contextmanager
def outside(host: LabHost) -> Iterator[list[str]]:
    """What a client is answered that opens ten connections a second all the time."""
    answers: list[str] = []
    host.exec(["sh", "-c", "cat > /root/client.py"], stdin=_CLIENT)
    host.sh(
        "systemd-run --quiet --unit=client sh -c 'exec python3 /root/client.py > /root/answers'"
    )
    until(lambda: host.sh("cat /root/answers 2>/dev/null") != "")
    try:
        yield answers
    finally:
        host.sh("systemctl stop client")
        answers += host.sh("cat /root/answers").split("\n")[:-1]


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


#: Upstreams that fail, and what is reported about them.
FORMS = {
    '"http://127.0.0.1:9006"': "127.0.0.1:9006 refuses connections",
    '["http://127.0.0.1:9001", "http://127.0.0.1:9006"]': "127.0.0.1:9006 refuses connections",
    '"http://[::1]:9001"': "[::1]:9001 refuses connections",
    '"https://127.0.0.1:9001"': "TLS",
    '"unix:/run/none.sock"': "unix:/run/none.sock does not exist",
    '"unix:/run/closed.sock"': "Permission denied",
}
#: Root may open this socket, nginx may not.
CLOSED = "import socket as s, time; l = s.socket(s.AF_UNIX); l.bind('/run/closed.sock')"
CLOSED += "; __import__('os').chmod('/run/closed.sock', 0o600); l.listen(); time.sleep(999)"


def test_a_bad_upstream_never_reaches_a_client(running: Running) -> None:
    running.host.exec(["systemd-run", "--quiet", "--unit=closed", "python3", "-c", CLOSED])
    playbook = PLAYBOOK.format(port=PORTS["good"], domain=DOMAIN)
    good = '"http://127.0.0.1:{{ port }}"'
    assert good in playbook
    with outside(running.host) as answers:
        for upstream, words in FORMS.items():
            (running.folder / "site.yml").write_text(playbook.replace(good, upstream))
            ran = deployer("apply", "site.yml", "--yes", "--json")
            assert ran.code == 3, ran
            assert words in str(ran.document["findings"]), ran
            message = ran.document["hosts"]["web1"]["message"]
            assert "Nothing was changed and nothing was reloaded." in message, ran
    running.host.sh("systemctl stop closed")
    assert set(answers) == {"101"}, answers


@pytest.mark.parametrize("backend", CODES)
def test_a_backend_that_is_no_websocket_service(backend: str, running: Running) -> None:
    """It is not tried on clients: nothing is changed, nothing is reloaded."""
    running.write(backend)
    workers = running.workers()
    ran = deployer("apply", "site.yml", "--yes", "--json")
    assert ran.code == ran.document["exit_code"] == 3, ran
    report = ran.document["hosts"]["web1"]
    assert report["state"] == "failed"
    assert "Nothing was changed and nothing was reloaded." in report["message"], ran
    assert "--no-preflight" in report["message"], ran
    assert codes(ran) == {("backend", CODES[backend])}
    assert running.workers() == workers
    assert running.is_as_it_was()


def test_without_preflight_the_verification_decides(running: Running) -> None:
    running.write("answers 404")
    with outside(running.host) as answers:
        ran = deployer("apply", "site.yml", "--yes", "--json", "--no-preflight")
    assert ran.code == 3, ran
    assert set(answers) == {"101", "404"}, answers  # the client sees what the preflight avoids
    assert ran.document["hosts"]["web1"]["state"] == "reverted"
    assert codes(ran) == {("backend", CODES["answers 404"])}
    assert running.is_as_it_was()


@pytest.mark.parametrize("backend", ["nothing listens", "answers 404"])
def test_a_bad_service_next_to_those_that_the_plan_starts(backend: str, running: Running) -> None:
    """The plan may start or repair it, so it is asked again before nginx is reloaded."""
    workers = running.workers()
    playbook = PLAYBOOK.format(port=PORTS[backend], domain=DOMAIN)
    task = "\n  tasks: [{command: {argv: [touch, /srv/done], creates: /srv/done}}]\n"
    (running.folder / "site.yml").write_text(playbook.rstrip() + task)
    with outside(running.host) as answers:
        ran = deployer("apply", "site.yml", "--yes", "--json")
    assert ran.code == 3, ran
    message = ran.document["hosts"]["web1"]["message"]
    words = f"the service on 127.0.0.1:{PORTS[backend]} would fail the verification"
    assert f"{words}, so the proxy is not reloaded" in message, ran
    assert codes(ran) == {("backend", CODES[backend])}
    assert running.workers() == workers
    assert running.is_as_it_was()
    assert set(answers) == {"101"}, answers


# --- services that are not up, although something answers -----------------------------------------

UNIT = """[Service]
ExecStart=/usr/bin/python3 -c {program}
Restart=always
RestartSec=1
[Install]
WantedBy=multi-user.target
"""
#: An interpreter that takes a while until it finds its port taken.
SLOW = (
    "import socket, sys, time; sys.excepthook = lambda *_: print('taken'); time.sleep(1.5); "
    "s = socket.create_server(('127.0.0.1', 9001)); time.sleep(99)"
)
MOVED = """
  roles:
    - role: websocket_app
      vars:
        app_name: moved
        app_user: root
        app_command: [/usr/bin/python3, -m, http.server, "9001", --bind, 127.0.0.1]
        app_port: 9001
        app_start_timeout: 3
"""


def with_tasks(running: Running, *tasks: object) -> None:
    playbook = PLAYBOOK.format(port=PORTS["good"], domain=DOMAIN)
    (running.folder / "site.yml").write_text(f"{playbook.rstrip()}\n  tasks: {json.dumps(tasks)}\n")


def unit_tasks(name: str, program: str, **service: object) -> list[object]:
    text = UNIT.format(program=json.dumps(program))
    path = f"/etc/systemd/system/{name}"
    return [
        {"copy": {"dest": path, "content": text, "mode": "0644"}},
        {"service": {"name": name, "state": "started", **service}},
    ]


def test_a_service_that_was_moved_while_its_old_process_runs(running: Running) -> None:
    """The old process would pass every check; the new unit would be restarted for ever."""
    playbook = PLAYBOOK.format(port=PORTS["good"], domain=DOMAIN)
    (running.folder / "site.yml").write_text(playbook.rstrip() + MOVED)
    planned = deployer("plan", "site.yml")
    pid = running.host.sh("systemctl show -P MainPID backends").strip()
    held = f"port 9001 is held by python3 (process {pid} of backends.service)"
    assert f"! {held}: moved cannot listen there until that process ends" in planned.out
    ran = deployer("apply", "site.yml", "--yes")
    assert ran.code == 3, ran
    assert "port 9001 is held by a process that does not belong to this service" in ran.out
    assert running.is_as_it_was()


@pytest.mark.parametrize("listens", [{}, {"listens": 9001}])
def test_a_unit_that_finds_its_port_taken_too_late(
    listens: dict[str, int], running: Running
) -> None:
    with_tasks(running, *unit_tasks("late.service", SLOW, **listens))
    ran = deployer("apply", "site.yml", "--yes", "--json")
    assert ran.code == 3, ran
    wanted = "late.service does not have 127.0.0.1:9001" if listens else "does not stay up"
    assert wanted in ran.document["hosts"]["web1"]["message"], ran
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
    options = ("--no-preflight", "--confirm-timeout", f"{confirm_s}")
    ran = deployer("apply", "site.yml", "--yes", "--json", *options)
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


SOCKET = "[Socket]\nListenStream=127.0.0.1:9011\n[Install]\nWantedBy=sockets.target\n"


def test_a_service_that_systemd_listens_for(running: Running) -> None:
    program = "import socket; s = socket.socket(fileno=3); s.accept(); import time; time.sleep(99)"
    unit, service = unit_tasks("idle.service", program, listens=9011)
    with_tasks(
        running,
        {"copy": {"dest": "/etc/systemd/system/idle.socket", "content": SOCKET, "mode": "0644"}},
        unit,
        {"service": {"name": "idle.socket", "state": "started", "listens": [9011]}},
        service,
    )
    ran = deployer("apply", "site.yml", "--yes")
    assert ran.code == 0, ran
    assert "answered by python3 (process " in ran.out
    assert "of backends.service)" in ran.out
    running.write("good")
    back = deployer("rollback", "site.yml", "--yes")
    assert back.code == 0, back
    assert running.host.sh("systemctl is-active idle idle.socket", check=False).split() == [
        "inactive",
        "inactive",
    ]


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
