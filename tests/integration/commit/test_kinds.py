"""Every kind of task on a real host: reverted exactly, then applied, then nothing to do."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import yaml

from deployer.lab.host import LabHost
from deployer.lab.lab import Lab
from tests.support.runs import deployer, differences, state_of, write_playbook

pytestmark = pytest.mark.lab

TASKS = """
- hosts: all
  become: true
  tasks:
    - user: {name: app, system: true, groups: [www-data, adm], shell: /usr/sbin/nologin}
    - user: {name: former, groups: [adm]}
    - file: {path: /opt/old, state: absent}
    - file: {path: /srv/data/deep, state: directory, owner: app, group: app, mode: "0750"}
    - copy: {src: binary, dest: /srv/data/binary, mode: "0640", owner: app, group: app}
    - copy: {src: big, dest: /srv/data/big}
      notify: restart app
    - copy: {dest: /etc/edited.conf, content: "new\\n", mode: "0600"}
    - file: {path: /etc/linked, src: /srv/data/binary, state: link}
    - copy: {dest: /usr/local/bin/app, mode: "0755", content: "#!/bin/sh\\nexec sleep infinity\\n"}
      notify: restart app
    - copy:
        dest: /etc/systemd/system/app.service
        content: |
          [Service]
          User=app
          ExecStart=/usr/local/bin/app
          [Install]
          WantedBy=multi-user.target
      notify: restart app
    - service: {name: app, state: started, enabled: true}
    - command: {argv: [touch, /srv/data/made], creates: /srv/data/made}
    - command: {argv: [rm, -f, /srv/absent], removes: /srv/absent}
    - service: {name: old, state: stopped, enabled: false}
    - package: {name: curl, state: present}
"""
HANDLERS = """
  handlers:
    - name: restart app
      service: {name: app, state: restarted}
"""
UNLESS = "    - command: {argv: [touch, /srv/unless], unless: [test, -e, /srv/unless]}\n"
FAILING = "    - command: {argv: ['false'], creates: /etc/never}\n"


@pytest.fixture
def furnished(lab: Lab) -> LabHost:
    """A host on which things are: a tree, a user, a file, a link, a unit that runs."""
    (host,) = lab.hosts
    host.sh(
        "mkdir -p /opt/old/a/b/c; echo x > /opt/old/a/b/c/file; ln -s ../gone /opt/old/a/link; "
        "mkfifo /opt/old/a/fifo; chmod 2755 /opt/old/a/b; chown 33:33 /opt/old/a; "
        "touch -d 2001-02-03 /opt/old/a/b/c/file /opt/old/a/b /opt/old; "
        "useradd --create-home former; echo old > /etc/edited.conf; chmod 644 /etc/edited.conf; "
        "touch -d 2002-03-04 /etc/edited.conf; ln -s /nowhere /etc/linked; "
        "printf '[Service]\\nExecStart=sleep infinity\\n[Install]\\nWantedBy=multi-user.target\\n'"
        " > /etc/systemd/system/old.service; systemctl daemon-reload; "
        "systemctl enable --quiet --now old"
    )
    return host


def test_every_kind(furnished: LabHost, lab: Lab, workdir: Path) -> None:
    host = furnished
    binary = bytes(range(256)) * 3 + b"\xff\xfe\x00"
    (workdir / "binary").write_bytes(binary)
    (workdir / "big").write_bytes(os.urandom(5 << 20))
    state = state_of(host)

    write_playbook(workdir, TASKS + FAILING + HANDLERS, lab)
    failed = deployer("apply", "site.yml", "--yes")
    assert failed.code == 3, failed
    assert differences(state, state_of(host)) == {}

    write_playbook(workdir, TASKS + UNLESS + HANDLERS)
    assert deployer("plan", "site.yml", "--detailed-exitcode").code == 2
    applied = deployer("apply", "site.yml", "--yes")
    assert applied.code == 0, applied
    assert host.sh("systemctl is-active app old", check=False).split() == ["active", "inactive"]
    assert host.sh("id -nG app").split() == ["app", "adm", "www-data"]
    assert sorted(host.sh("id -nG former").split()) == ["adm", "former"]
    seen = subprocess.run(["cat", host.root / "srv/data/binary"], capture_output=True, check=True)
    assert seen.stdout == binary
    assert host.sh("stat -c '%a %U:%G' /srv/data/binary").strip() == "640 app:app"
    assert host.sh("ls /opt").split() == []

    again = deployer("apply", "site.yml", "--yes")
    assert again.code == 0, again
    assert "nothing to do" in again.out

    pid = host.sh("systemctl show -P MainPID app")
    (workdir / "big").write_bytes(os.urandom(5 << 20))
    changed = deployer("apply", "site.yml", "--yes")
    assert changed.code == 0, changed
    assert host.sh("systemctl show -P MainPID app") != pid


def test_what_a_command_did_by_itself_stays_and_is_reported(shared_lab: Lab, workdir: Path) -> None:
    """It is unknown what a command with `unless` writes: someone has to check."""
    write_playbook(workdir, "- hosts: all\n  tasks:\n" + UNLESS + FAILING, shared_lab)
    failed = deployer("apply", "site.yml", "--yes", "--json")
    assert failed.code == 4, failed
    assert "touch /srv/unless" in failed.document["hosts"]["web1"]["message"]
    assert "of a command cannot be reverted" in failed.document["hosts"]["web1"]["message"]


def test_a_host_without_python(lab: Lab, workdir: Path) -> None:
    (host,) = lab.hosts
    host.sh("apt-get purge --yes --quiet python3-minimal python3.11-minimal; ! command -v python3")
    write_playbook(workdir, "- hosts: all\n  tasks:\n    - copy: {dest: /etc/x, content: x}\n", lab)
    ran = deployer("plan", "site.yml", "--json")
    assert ran.code in (3, 5), ran
    assert "--install-python" in ran.document["hosts"]["web1"]["message"]
    ran = deployer("plan", "site.yml", "--install-python", "--detailed-exitcode")
    assert ran.code == 2, ran
    assert host.sh("python3 -c 'print(1)'").strip() == "1"


def test_a_plan_for_this_machine_itself(workdir: Path) -> None:
    """Without SSH; nothing is changed."""
    there = workdir / "there"
    write_playbook(workdir, f"- hosts: all\n  tasks:\n    - copy: {{dest: {there}, content: x}}\n")
    document = {"all": {"hosts": {"here": {"ansible_connection": "local"}}}}
    (workdir / "inventory.yml").write_text(yaml.safe_dump(document))
    ran = deployer("plan", "site.yml", "--detailed-exitcode")
    assert ran.code == 2, ran
    assert f"+ file {there}" in ran.out
    assert not there.exists()
