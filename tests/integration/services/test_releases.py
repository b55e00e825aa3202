"""A custom service, from release to release: `websocket_app` on a real host."""

from __future__ import annotations

from pathlib import Path

import pytest

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


def test_from_release_to_release(lab: Lab, workdir: Path) -> None:
    (host,) = lab.hosts
    assert deployer("init", "websocket-app").code == 0
    lab.write_inventory(workdir / "inventory.yml")
    playbook, server = workdir / "site.yml", workdir / "app/server.py"
    playbook.write_text(SERVICE.format(start_timeout=30))
    for number in range(5):
        (workdir / f"app/part{number}.py").write_text("x = 1\n")
    # What is no part of a release stays here.
    (workdir / "app/__pycache__").mkdir()
    (workdir / "app/__pycache__/server.pyc").write_bytes(b"\0")

    def releases() -> set[str]:
        return set(host.sh("ls /opt/myapp/releases").split())

    def current() -> str:
        return host.sh("readlink /opt/myapp/current").strip()

    program = server.read_text()
    main = "async def main():\n"
    assert main in program

    def says(text: str) -> None:
        """Make the service write `text` when it starts, if it may."""
        note = f"    open(os.environ['RUNTIME_DIRECTORY'] + '/said', 'w').write({text!r})\n"
        server.write_text(program.replace(main, main + note))

    def heard() -> str:
        return host.sh("cat /run/myapp/said")

    says("one")
    applied = deployer("apply", "site.yml", "--yes")
    assert applied.code == 0, applied
    first = current()
    assert heard() == "one"
    assert not host.sh(f"find /opt/myapp/{first}/ -name '*.pyc'")
    assert "nothing to do" in deployer("apply", "site.yml", "--yes").out
    before = state_of(host)

    # A release that does not come up: the former one runs on, and nothing is left of the other.
    says("two")
    server.write_text("raise SystemExit('no such thing')\n" + server.read_text())
    failed = deployer("apply", "site.yml", "--yes")
    assert failed.code == 3, failed
    assert "]: no such thing\n" in failed.out
    assert "the service ended before it answered" in failed.out
    assert differences(before, state_of(host)) == {}
    assert heard() == "one"

    # One that comes up, and does not answer in time.
    says("two")
    slow = "import time; time.sleep(60)\n" + server.read_text()
    server.write_text(slow)
    playbook.write_text(SERVICE.format(start_timeout=1))
    late = deployer("apply", "site.yml", "--yes")
    playbook.write_text(SERVICE.format(start_timeout=30))
    assert late.code == 3, late
    assert "nothing answers on port 8765: [Errno 111] Connection refused after 1 s" in late.out
    assert (current(), releases()) == (first, {first.partition("/")[2]})

    # The plan shows what differs from the release in use, not all of the new one.
    says("two")
    planned = deployer("plan", "site.yml")
    assert ".write('one')" in planned.out
    assert ".write('two')" in planned.out
    assert "5 files in /opt/myapp/releases/" in planned.out
    assert "import asyncio" not in planned.out
    applied = deployer("apply", "site.yml", "--yes")
    assert applied.code == 0, applied
    assert heard() == "two"
    second = current()
    assert releases() == {first.partition("/")[2], second.partition("/")[2]}

    # The third one lets the first go, by a sealed plan, and a rollback by two brings it back.
    says("three")
    assert deployer("plan", "site.yml", "--out", "plan.json").code == 0
    applied = deployer("apply", "plan.json", "--yes")
    assert applied.code == 0, applied
    assert heard() == "three"
    assert releases() == {second.partition("/")[2], current().partition("/")[2]}
    assert "nothing to do" in deployer("apply", "site.yml", "--yes").out
    back = deployer("rollback", "site.yml", "--to", "1", "--yes")
    assert back.code == 0, back
    assert (current(), heard()) == (first, "one")


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
    assert deployer("apply", "site.yml", "--yes").code == 0
    assert all(main_pid(lab, name) != pid for name, pid in pids.items())
    assert host.sh("cat /opt/three/current/more.txt") == "more\n"


def main_pid(lab: Lab, unit: str) -> str:
    return lab.hosts[0].sh(f"systemctl show -P MainPID {unit}").strip()
