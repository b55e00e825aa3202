"""Hosts that refuse, hang or are not as expected, and interrupted runs."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployer.lab.host import LabHost
from deployer.lab.lab import Lab
from tests.support.interrupted_runs import SLOW, ended, is_over, under_way
from tests.support.runs import Ran, deployer, differences, state_of, write_playbook
from tests.support.waiting import PATIENCE_S, at_most, until

pytestmark = pytest.mark.lab

HELLO = "- hosts: all\n  tasks:\n    - copy: {dest: /etc/hello, content: hello}\n"


@pytest.fixture(scope="module")
def before(shared_lab: Lab) -> Iterator[dict[str, Any]]:
    """The shared host's state; it is the same after all tests of this module."""
    (host,) = shared_lab.hosts
    assert deployer_plan_of(shared_lab) == 0  # makes /var/lib/deployer
    state = state_of(host)
    yield state
    assert differences(state, state_of(host)) == {}


def deployer_plan_of(lab: Lab) -> int:
    folder = lab.folder / "plan"
    folder.mkdir()
    write_playbook(folder, HELLO, lab)
    return deployer("plan", folder / "site.yml").code


def inventory(folder: Path, lab: Lab, **host_vars: Any) -> None:
    """The lab's inventory, with other variables for its first host."""
    document = lab.inventory()
    document["all"]["hosts"][lab.hosts[0].name].update(host_vars)
    (folder / "inventory.yml").write_text(yaml.safe_dump(document))


def unreachable(ran: Ran, *words: str) -> None:
    assert ran.code == ran.document["exit_code"] == 5, ran
    host = ran.document["hosts"]["web1"]
    assert host["state"] == "unreachable"
    assert [word for word in words if word not in host["message"]] == [], ran


# --- who is it, and who are we --------------------------------------------------------------------


@pytest.mark.usefixtures("before")
def test_a_host_that_refuses_the_key(shared_lab: Lab, workdir: Path) -> None:
    write_playbook(workdir, HELLO)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "other"], check=True)
    inventory(workdir, shared_lab, ansible_ssh_private_key_file=str(workdir / "other"))
    ran = deployer("apply", "site.yml", "--yes", "--json", SSH_AUTH_SOCK="")
    unreachable(ran, "root", "other")


@pytest.mark.usefixtures("before")
@pytest.mark.parametrize("options", [[], ["--accept-new"]])
def test_a_host_with_a_changed_key(options: list[str], shared_lab: Lab, workdir: Path) -> None:
    write_playbook(workdir, HELLO)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "other"], check=True)
    key = " ".join((workdir / "other.pub").read_text().split()[:2])
    (workdir / "known").write_text(f"{shared_lab.hosts[0].address} {key}\n")
    inventory(workdir, shared_lab, deployer_known_hosts_file=str(workdir / "known"))
    unreachable(deployer("apply", "site.yml", "--yes", "--json", *options), "changed")


@pytest.mark.usefixtures("before")
def test_an_unknown_key_is_accepted_when_asked(shared_lab: Lab, workdir: Path) -> None:
    write_playbook(workdir, HELLO)
    inventory(workdir, shared_lab, deployer_known_hosts_file=str(workdir / "known"))
    unreachable(deployer("plan", "site.yml", "--json"), "--accept-new")
    assert deployer("plan", "site.yml", "--accept-new").code == 0
    assert deployer("plan", "site.yml").code == 0
    assert shared_lab.hosts[0].host_key() in (workdir / "known").read_text()


@pytest.mark.usefixtures("before")
def test_a_name_that_does_not_exist(shared_lab: Lab, workdir: Path) -> None:
    write_playbook(workdir, HELLO)
    inventory(workdir, shared_lab, ansible_host="no-such-host.invalid")
    unreachable(deployer("plan", "site.yml", "--json"), "no-such-host.invalid")


@pytest.mark.usefixtures("before")
def test_a_port_that_accepts_and_stays_silent(shared_lab: Lab, workdir: Path) -> None:
    write_playbook(workdir, HELLO)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        inventory(workdir, shared_lab, ansible_host="127.0.0.1", ansible_port=port)
        began = time.monotonic()
        unreachable(deployer("plan", "site.yml", "--json", "--timeout", "1"), "127.0.0.1")
        assert time.monotonic() - began < at_most(6)


# --- logins that are not root's -------------------------------------------------------------------


def test_become(lab: Lab, workdir: Path) -> None:
    """Without become it is an error; by sudo, with and without a password, it works."""
    (host,) = lab.hosts
    key = lab.key.with_suffix(".pub").read_text()
    for user, rule in (("free", "NOPASSWD: ALL"), ("asked", "ALL")):
        home = f"/home/{user}/.ssh"
        host.sh(f"useradd --create-home {user} && install -d -o {user} -m 700 {home}")
        host.exec(["sh", "-c", f"cat > {home}/authorized_keys; chown {user} {home}/*"], stdin=key)
        host.exec(["chpasswd"], stdin=f"{user}:right horse\n")
        host.sh(f"echo '{user} ALL=(ALL) {rule}' > /etc/sudoers.d/{user}")

    write_playbook(workdir, HELLO)
    inventory(workdir, lab, ansible_user="free")
    ran = deployer("apply", "site.yml", "--yes", "--json")
    assert ran.code == 1, ran
    assert "become: true" in ran.document["hosts"]["web1"]["message"], ran

    write_playbook(workdir, HELLO.replace("  tasks", "  become: true\n  tasks"))
    state = state_of(host)
    for password, word in ((None, "password"), ("wrong horse", "password")):
        inventory(workdir, lab, ansible_user="asked", ansible_become_password=password)
        ran = deployer("apply", "site.yml", "--yes", "--json")
        unreachable(ran, "sudo", word)
        assert "wrong horse" not in str(ran)
    differing = differences(state, state_of(host))
    assert [path for path in differing if not path.startswith("/var/lib/sudo")] == []
    inventory(workdir, lab, ansible_user="free")
    assert deployer("apply", "site.yml", "--yes").code == 0
    host.sh("rm /etc/hello")
    inventory(workdir, lab, ansible_user="asked", ansible_become_password="right horse")
    assert deployer("apply", "site.yml", "--yes").code == 0
    assert host.sh("cat /etc/hello") == "hello"


# --- what is on the host --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("made_by", "words"),
    [
        ("mkdir /etc/thing", "directory"),
        ("ln -s /etc/nowhere /etc/thing", ""),
        ("mkfifo /etc/thing", "named pipe"),
        ("mkdir /etc/thing; touch /etc/thing/kept", "directory"),
    ],
)
def test_another_file_type_at_the_path(
    made_by: str, words: str, shared_lab: Lab, workdir: Path, before: dict[str, Any]
) -> None:
    (host,) = shared_lab.hosts
    host.sh(made_by)
    try:
        state = state_of(host)
        write_playbook(
            workdir,
            "- hosts: all\n  tasks:\n    - copy: {dest: /etc/first, content: x}\n"
            "    - copy: {dest: /etc/thing, content: x}\n"
            "    - command: {argv: ['false'], creates: /etc/never}\n",
            shared_lab,
        )
        ran = deployer("apply", "site.yml", "--yes", "--json")
        assert ran.code == 3, ran
        assert words in ran.document["hosts"]["web1"]["message"], ran
        assert "/etc/thing" in ran.document["hosts"]["web1"]["message"] or not words, ran
        assert differences(state, state_of(host)) == {}
    finally:
        host.sh("rm -rf /etc/thing")
        restore_time(host, before)


def restore_time(host: LabHost, before: dict[str, Any]) -> None:
    """Give /etc the time that it had, after a test's own changes."""
    at = before["tree"]["/etc"][3]
    host.exec(["python3", "-c", f"import os; os.utime('/etc', ns=({at}, {at}))"])


@pytest.mark.parametrize("full", ["/var/lib/deployer", "/srv"])
def test_a_full_disk(full: str, lab: Lab, workdir: Path) -> None:
    (host,) = lab.hosts
    host.sh(f"mkdir -p {full} && chmod 700 {full}")
    host.sh(f"mount -t tmpfs -o size=2m,mode=700 small {full}")
    (workdir / "big").write_bytes(os.urandom(4 << 20))
    host.sh("mkdir -p /opt/old; head -c 4000000 /dev/urandom > /opt/old/file")
    write_playbook(
        workdir,
        "- hosts: all\n  tasks:\n    - copy: {dest: /etc/first, content: x}\n"
        "    - file: {path: /opt/old, state: absent}\n"
        "    - copy: {src: big, dest: /srv/big}\n",
        lab,
    )
    state = state_of(host)
    ran = deployer("apply", "site.yml", "--yes", "--json")
    assert ran.code == 3, ran
    assert f"the file system of {full} has " in ran.document["hosts"]["web1"]["message"], ran
    assert differences(state, state_of(host)) == {}


# --- cut off in the middle ------------------------------------------------------------------------


def test_ctrl_c_during_an_apply(shared_lab: Lab, workdir: Path, before: dict[str, Any]) -> None:
    write_playbook(workdir, SLOW, shared_lab)
    (host,) = shared_lab.hosts
    with under_way(host) as process:
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        shown = next(line for line in process.stderr if "Interrupted" in line)
        assert "Ctrl-C again" in shown
        host.sh("touch /run/go")
        out, err = process.communicate(timeout=PATIENCE_S)
    assert "Traceback" not in err
    assert Ran(process.returncode, out, err).document["exit_code"] == process.returncode == 3
    assert differences(before, state_of(host)) == {}


def test_ctrl_c_twice(shared_lab: Lab, workdir: Path, before: dict[str, Any]) -> None:
    """The second one ends the command at once; the host rolls back on its own."""
    write_playbook(workdir, SLOW, shared_lab)
    (host,) = shared_lab.hosts
    with under_way(host) as process:
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        assert any("Ctrl-C again" in line for line in process.stderr)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE_S)
    assert "Traceback" not in err
    assert Ran(process.returncode, out, err).document["exit_code"] == process.returncode == 130
    until(lambda: is_over(host))
    assert differences(before, state_of(host)) == {}


def test_a_controller_that_is_killed(
    shared_lab: Lab, workdir: Path, before: dict[str, Any]
) -> None:
    write_playbook(workdir, SLOW, shared_lab)
    (host,) = shared_lab.hosts
    with under_way(host) as process:
        process.kill()
    until(lambda: is_over(host))
    assert differences(before, state_of(host)) == {}
    listed = deployer("history", "site.yml", "--json").document["hosts"]["web1"]["history"]
    assert listed[0]["state"] == "reverted"


def test_a_cable_that_is_pulled(lab: Lab, workdir: Path) -> None:
    (host,) = lab.hosts
    host.sh(
        "printf 'ClientAliveInterval 1\\nClientAliveCountMax 2\\n' > /etc/ssh/sshd_config.d/a.conf"
    )
    host.sh("systemctl restart ssh")
    write_playbook(workdir, HELLO, lab)
    assert deployer("plan", "site.yml").code == 0
    write_playbook(workdir, SLOW)
    state = state_of(host)
    with under_way(host) as process:
        host.link_down()
        until(lambda: is_over(host))
        host.link_up()
        ran = ended(process)
    assert ran.code == 3, ran
    assert "back in its former state" in ran.document["hosts"]["web1"]["message"], ran
    assert differences(state, state_of(host)) == {}
