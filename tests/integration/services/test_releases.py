"""A custom service, from release to release: `websocket_app` on a real host."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployer.lab.host import LabHost
from deployer.lab.lab import Lab
from tests.support.runs import deployer, differences, state_of

pytestmark = pytest.mark.lab

SERVICE = """\
- hosts: all
  become: true
  roles:
    - role: websocket_app
      vars:
        app_name: myapp
        app_src: app
        app_packages: [python3-websockets]
        app_command: [/usr/bin/python3, server.py]
        app_port: 8765
        app_keep_releases: 2
        app_start_timeout: {start_timeout}
"""


class App:
    """The service `myapp` on a host, and its sources in `folder`."""

    _MAIN = "async def main():\n"

    def __init__(self, host: LabHost, folder: Path) -> None:
        self.host = host
        self.server = folder / "app/server.py"
        self._program = self.server.read_text()
        assert self._MAIN in self._program

    def releases(self) -> set[str]:
        return set(self.host.sh("ls /opt/myapp/releases").split())

    def current(self) -> str:
        return self.host.sh("readlink /opt/myapp/current").strip()

    def says(self, text: str) -> None:
        """Make the service write `text` when it starts, if it may."""
        note = f"    open(os.environ['RUNTIME_DIRECTORY'] + '/said', 'w').write({text!r})\n"
        self.server.write_text(self._program.replace(self._MAIN, self._MAIN + note))

    def heard(self) -> str:
        return self.host.sh("cat /run/myapp/said")


def test_from_release_to_release(lab: Lab, workdir: Path) -> None:
    (host,) = lab.hosts
    assert deployer("init", "websocket-app").code == 0
    lab.write_inventory(workdir / "inventory.yml")
    playbook = workdir / "site.yml"
    playbook.write_text(SERVICE.format(start_timeout=30))
    for number in range(5):
        (workdir / f"app/part{number}.py").write_text("x = 1\n")
    # What is no part of a release stays here.
    (workdir / "app/__pycache__").mkdir()
    (workdir / "app/__pycache__/server.pyc").write_bytes(b"\0")
    app = App(host, workdir)

    app.says("one")
    applied = deployer("apply", "site.yml", "--yes")
    assert applied.code == 0, applied
    first = app.current()
    assert app.heard() == "one"
    assert not host.sh(f"find /opt/myapp/{first}/ -name '*.pyc'")
    assert "nothing to do" in deployer("apply", "site.yml", "--yes").out

    refuse_broken_releases(app, playbook)
    assert (app.current(), app.releases()) == (first, {first.partition("/")[2]})
    replace_release(app, first)
    roll_back_by_two(app, first)


def refuse_broken_releases(app: App, playbook: Path) -> None:
    """A release that ends at once, and one that starts too slowly: the former one runs on."""
    before = state_of(app.host)
    app.says("two")
    app.server.write_text("raise SystemExit('no such thing')\n" + app.server.read_text())
    failed = deployer("apply", "site.yml", "--yes")
    assert failed.code == 3, failed
    assert "]: no such thing\n" in failed.out
    assert "the service ended before it answered" in failed.out
    assert differences(before, state_of(app.host)) == {}
    assert app.heard() == "one"

    app.says("two")
    app.server.write_text("import time; time.sleep(60)\n" + app.server.read_text())
    playbook.write_text(SERVICE.format(start_timeout=1))
    late = deployer("apply", "site.yml", "--yes")
    playbook.write_text(SERVICE.format(start_timeout=30))
    assert late.code == 3, late
    assert "nothing answers on port 8765: [Errno 111] Connection refused after 1 s" in late.out


def replace_release(app: App, first: str) -> None:
    """The plan shows the differences from the release in use, not all of the new one."""
    app.says("two")
    planned = deployer("plan", "site.yml")
    assert ".write('one')" in planned.out
    assert ".write('two')" in planned.out
    assert "5 files in /opt/myapp/releases/" in planned.out
    assert "import asyncio" not in planned.out
    applied = deployer("apply", "site.yml", "--yes")
    assert applied.code == 0, applied
    assert app.heard() == "two"
    assert app.releases() == {first.partition("/")[2], app.current().partition("/")[2]}


def roll_back_by_two(app: App, first: str) -> None:
    """The third release, by a sealed plan, removes the first; a rollback by two restores it."""
    second = app.current()
    app.says("three")
    assert deployer("plan", "site.yml", "--out", "plan.json").code == 0
    applied = deployer("apply", "plan.json", "--yes")
    assert applied.code == 0, applied
    assert app.heard() == "three"
    assert app.releases() == {second.partition("/")[2], app.current().partition("/")[2]}
    assert "nothing to do" in deployer("apply", "site.yml", "--yes").out
    back = deployer("rollback", "site.yml", "--to", "1", "--yes")
    assert back.code == 0, back
    assert (app.current(), app.heard()) == (first, "one")


SEVERAL = """\
- hosts: all
  become: true
  roles:
    - role: websocket_app
      vars:
        app_name: one
        app_src: app
        app_packages: [python3-websockets]
        app_command: [/usr/bin/python3, /opt/one/unix.py]
        app_environment: {SOCKET: /run/one/ws.sock}
        app_socket: /run/one/ws.sock
- hosts: all
  become: true
  vars: {app_src: app, app_command: [/usr/bin/python3, server.py]}
  roles:
    - {role: websocket_app, vars: {app_name: two, app_port: 8766}}
    - {role: websocket_app, vars: {app_name: three, app_port: 8767}}
    - {role: websocket_app, vars: {app_name: four, app_port: 8768}}
  sites:
    - domain: ws.example.com
      tls: {issuer: internal}
      routes:
        - {path: /, websocket: "unix:/run/one/ws.sock"}
        - {path: /two, websocket: "http://127.0.0.1:8766"}
        - {path: /three, websocket: "http://127.0.0.1:8767"}
        - {path: /four, websocket: "http://127.0.0.1:8768"}
"""


def test_several_services_one_of_them_on_a_unix_socket(lab: Lab, workdir: Path) -> None:
    (host,) = lab.hosts
    assert deployer("init", "websocket-app").code == 0
    lab.write_inventory(workdir / "inventory.yml")
    (workdir / "site.yml").write_text(SEVERAL)
    program = (workdir / "app/server.py").read_text()
    bound = 'websockets.serve(echo, "127.0.0.1", int(os.environ["PORT"]))'
    (workdir / "app/unix.py").write_text(
        program.replace(bound, 'websockets.unix_serve(echo, os.environ["SOCKET"])')
    )
    applied = deployer("apply", "site.yml", "--yes")
    assert applied.code == 0, applied
    pids = {name: main_pid(lab, name) for name in ("one", "two", "three", "four")}
    (workdir / "app/more.txt").write_text("more\n")
    again = deployer("apply", "site.yml", "--yes")
    assert again.code == 0, str(again)
    assert all(main_pid(lab, name) != pid for name, pid in pids.items())
    assert host.sh("cat /opt/three/current/more.txt") == "more\n"


def main_pid(lab: Lab, unit: str) -> str:
    return lab.hosts[0].sh(f"systemctl show -P MainPID {unit}").strip()
