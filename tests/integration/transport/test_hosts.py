"""The transport against real hosts: keys, logins, sudo, jumps, streams and timeouts."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from deployer.cli import main
from deployer.errors import AuthenticationError, HostKeyError, UnreachableError
from deployer.lab.host import LabHost
from deployer.lab.lab import Lab
from deployer.model import Host
from deployer.playbook import load_inventory
from deployer.transport import ConnectOptions, Link, connect
from tests.support.waiting import PATIENCE_S, stretched, until

pytestmark = pytest.mark.lab

_ROOT = "root"


def patient(**options: Any) -> ConnectOptions:
    """For connections that succeed or fail by an event: no limit is reached."""
    return ConnectOptions(connect_timeout_s=PATIENCE_S, silence_timeout_s=PATIENCE_S, **options)


def gives_up_soon() -> ConnectOptions:
    """For hosts that stop answering."""
    return ConnectOptions(connect_timeout_s=PATIENCE_S, silence_timeout_s=stretched(1.0))


def inventory_host(lab: Lab, lab_host: LabHost, **changes: Any) -> Host:
    """The host as in the lab's inventory, with other variables if given."""
    given = {**lab.inventory()["all"]["vars"], **changes}
    variables = {name: value for name, value in given.items() if value is not None}
    user = variables.get("ansible_user")
    return Host(name=lab_host.name, hostname=lab_host.address, user=user, vars=variables)


@contextlib.contextmanager
def linked(host: Host, options: ConnectOptions | None = None) -> Iterator[Link]:
    link = connect(host, options or patient())
    try:
        yield link
    finally:
        link.close()


def facts(link: Link) -> dict[str, Any]:
    reply: dict[str, Any] = link.request("facts", packages=[], doing="reading facts")
    return reply["facts"]


def restart_sshd(server: LabHost) -> None:
    """Have sshd read its config. After a reload, the former socket may accept for a moment."""
    server.sh("systemctl restart ssh")  # ends when it listens


@pytest.fixture(scope="module")
def lab(shared_lab: Lab) -> Lab:
    return shared_lab


# --- who is it ------------------------------------------------------------------------------------


def cached(server: LabHost) -> list[str]:
    """The files in the cache, once one is complete: the agent writes it in the background."""
    found: list[str] = []

    def is_complete() -> bool:
        found[:] = server.sh("ls /var/lib/deployer/cache/* 2>&-", check=False).split()
        return len(found) == 1 and found[0].count(".") == 0

    until(is_complete)
    return found


def test_the_agent_answers_and_starts_from_the_cache_the_second_time(
    lab: Lab, server: LabHost
) -> None:
    with linked(inventory_host(lab, server)) as link:
        assert link.hello["uid"] == 0
        assert facts(link)["ansible_distribution"] == "Debian"
    (file,) = cached(server)
    assert file.startswith("/var/lib/deployer/cache/agent-")
    kept = server.sh(f"stat -c '%a %U %Y %i' /var/lib/deployer/cache {file}")
    assert kept.splitlines()[0].startswith("700 root ")
    assert kept.splitlines()[1].startswith("600 root ")
    with linked(inventory_host(lab, server)) as link:
        assert facts(link)["ansible_distribution"] == "Debian"
    assert server.sh(f"stat -c '%a %U %Y %i' /var/lib/deployer/cache {file}") == kept


def test_a_cache_that_others_can_write_is_not_trusted(lab: Lab, server: LabHost) -> None:
    with linked(inventory_host(lab, server)):
        pass
    (file,) = cached(server)
    server.sh(f"printf garbage > {file}; chmod 666 {file}")
    with linked(inventory_host(lab, server)) as link:
        assert facts(link)["ansible_distribution"] == "Debian"
    until(lambda: server.sh(f"stat -c %a {file}").strip() == "600")


def test_an_unknown_key_is_refused_unless_new_keys_are_accepted(
    lab: Lab, server: LabHost, tmp_path: Path, ssh_home: Callable[[str], None]
) -> None:
    known = tmp_path / "known"
    host = inventory_host(lab, server, deployer_known_hosts_file=str(known))
    with pytest.raises(HostKeyError) as caught:
        connect(host, patient())
    text = str(caught.value)
    shown = server.sh("ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub").split()[1]
    assert shown in text
    assert "--accept-new" in text
    assert "ssh-keyscan" in text
    assert str(known) in text
    assert not known.exists()

    accepting = patient(accept_new=True)
    with linked(host, accepting):
        pass
    assert known.stat().st_mode & 0o777 == 0o600
    assert known.read_text() == f"{server.address} {server.host_key()}\n"
    with linked(host):
        pass


def test_a_changed_key_is_refused_even_when_new_keys_are_accepted(
    lab: Lab, server: LabHost, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(other)], check=True)
    key = " ".join(other.with_suffix(".pub").read_text().split()[:2])
    known = tmp_path / "known"
    known.write_text(f"# mine\n{server.address} {key}\n")
    host = inventory_host(lab, server, deployer_known_hosts_file=str(known))
    with pytest.raises(HostKeyError, match="has changed") as caught:
        connect(host, ConnectOptions(accept_new=True))
    assert f"{known}:2" in str(caught.value)
    assert str(caught.value).count("SHA256:") == 2
    assert known.read_text().count("\n") == 2


def test_a_known_key_of_another_type_than_the_preferred_one_is_asked_for(
    lab: Lab, server: LabHost, tmp_path: Path, ssh_home: Callable[[str], None]
) -> None:
    server.sh(
        "test -e /etc/ssh/ssh_host_rsa_key || ssh-keygen -q -t rsa -N '' "
        "-f /etc/ssh/ssh_host_rsa_key"
    )
    restart_sshd(server)
    rsa = " ".join(server.sh("cat /etc/ssh/ssh_host_rsa_key.pub").split()[:2])
    known = tmp_path / "known"
    known.write_text(f"{server.address} {rsa}\n")
    with linked(inventory_host(lab, server, deployer_known_hosts_file=str(known))) as link:
        assert link.hello["uid"] == 0


# --- who are we -----------------------------------------------------------------------------------


def test_a_refused_key_reports_what_was_tried(lab: Lab, server: LabHost, tmp_path: Path) -> None:
    stranger = tmp_path / "stranger"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(stranger)], check=True)
    host = inventory_host(lab, server, ansible_ssh_private_key_file=str(stranger))
    with pytest.raises(AuthenticationError, match="rejects the login of root") as caught:
        connect(host, patient())
    assert f"key {stranger}: refused" in str(caught.value)


def test_an_encrypted_key_needs_the_agent(
    lab: Lab, server: LabHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked = tmp_path / "locked"
    locked.write_bytes(lab.key.read_bytes())
    locked.chmod(0o600)
    subprocess.run(
        ["ssh-keygen", "-q", "-p", "-N", "secret", "-f", str(locked)],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    host = inventory_host(lab, server, ansible_ssh_private_key_file=str(locked))
    with pytest.raises(AuthenticationError, match="encrypted"):
        connect(host, patient())

    agent_socket = tmp_path / "agent"
    agent = subprocess.Popen(
        ["ssh-agent", "-D", "-a", str(agent_socket)], stdout=subprocess.DEVNULL
    )
    try:
        environment = {**os.environ, "SSH_AUTH_SOCK": str(agent_socket)}
        argv = ["ssh-add", "-q", str(lab.key)]
        nothing = subprocess.DEVNULL
        until(lambda: not subprocess.run(argv, env=environment, stderr=nothing).returncode)
        monkeypatch.setenv("SSH_AUTH_SOCK", str(agent_socket))
        with linked(host) as link:
            assert link.hello["uid"] == 0
    finally:
        agent.terminate()
        agent.wait()


def test_a_password_logs_in(lab: Lab, server: LabHost, ssh_home: Callable[[str], None]) -> None:
    host = inventory_host(
        lab,
        server,
        ansible_user="asked",
        ansible_ssh_private_key_file=None,
        ansible_password="right horse",
    )
    with linked(host) as link:
        assert link.hello["uid"] != 0
    wrong = inventory_host(
        lab,
        server,
        ansible_user="asked",
        ansible_ssh_private_key_file=None,
        ansible_password="wrong horse",
    )
    with pytest.raises(AuthenticationError, match="the password: refused") as caught:
        connect(wrong, patient())
    assert "wrong horse" not in str(caught.value)


# --- becoming root --------------------------------------------------------------------------------


def test_sudo_without_a_password(lab: Lab, server: LabHost) -> None:
    host = inventory_host(lab, server, ansible_user="free")
    with linked(host, patient(become=True)) as link:
        assert link.hello["uid"] == 0
        assert facts(link)["ansible_user_id"] == _ROOT


def test_sudo_with_a_password_that_stays_hidden(lab: Lab, server: LabHost) -> None:
    host = inventory_host(lab, server, ansible_user="asked")
    with linked(host, patient(become=True, become_password="right horse")) as link:
        assert link.hello["uid"] == 0
        assert facts(link)["ansible_user_id"] == _ROOT
        assert "right horse" not in server.sh("cat /proc/[0-9]*/cmdline | tr '\\0' ' '")
    assert "right horse" not in server.sh("journalctl --no-pager")


def test_a_password_that_sudo_does_not_request_is_not_sent(lab: Lab, server: LabHost) -> None:
    host = inventory_host(lab, server, ansible_user="free")
    with linked(host, patient(become=True, become_password="unused")) as link:
        assert link.hello["uid"] == 0


@pytest.mark.parametrize(
    ("user", "password", "words"),
    [
        ("asked", None, "sudo asks for the password of asked"),
        ("asked", "wrong horse", "sudo rejects the password of asked"),
        ("barred", "right horse", "barred may not become root with sudo"),
    ],
)
def test_a_refusal_by_sudo_is_explained(
    lab: Lab, server: LabHost, user: str, password: str | None, words: str
) -> None:
    host = inventory_host(lab, server, ansible_user=user)
    options = patient(become=True, become_password=password)
    with pytest.raises(AuthenticationError, match=words) as caught:
        connect(host, options)
    assert "horse" not in str(caught.value)
    assert "horse" not in repr(options)


def test_a_host_without_sudo(lab: Lab, server: LabHost) -> None:
    server.sh("mv /usr/bin/sudo /usr/bin/sudo.away")
    try:
        host = inventory_host(lab, server, ansible_user="free")
        with pytest.raises(AuthenticationError, match="there is no sudo on the host"):
            connect(host, patient(become=True))
        with pytest.raises(AuthenticationError, match="there is no sudo on the host"):
            connect(host, ConnectOptions(become=True, become_password="any"))
    finally:
        server.sh("mv /usr/bin/sudo.away /usr/bin/sudo")


def test_becoming_a_user_other_than_root(lab: Lab, server: LabHost) -> None:
    options = patient(become=True)
    barred = int(server.sh("id -u barred"))
    for login in ("free", _ROOT):
        host = inventory_host(lab, server, ansible_user=login, ansible_become_user="barred")
        with linked(host, options) as link:
            assert link.hello["uid"] == barred
    missing = inventory_host(lab, server, ansible_user="free", ansible_become_user="no-such-user")
    with pytest.raises(AuthenticationError, match="the host has no user no-such-user"):
        connect(missing, options)


def test_su_with_the_password_of_root(lab: Lab, server: LabHost) -> None:
    server.sh("echo 'root:good horse' | chpasswd")
    host = inventory_host(lab, server, ansible_user="asked", ansible_become_method="su")
    with linked(host, patient(become=True, become_password="good horse")) as link:
        assert link.hello["uid"] == 0
    with pytest.raises(AuthenticationError, match="su rejects the password of root"):
        connect(host, patient(become=True, become_password="bad horse"))


def test_the_program_and_the_options_of_sudo(lab: Lab, server: LabHost) -> None:
    server.sh("ln -sf /usr/bin/sudo /usr/local/bin/my-sudo; ln -sf /usr/bin/python3 /opt/my-py")
    changes = {
        "ansible_become_exe": "/usr/local/bin/my-sudo",
        "ansible_become_flags": "-H -S -n",
        "ansible_python_interpreter": "/opt/my-py",
    }
    host = inventory_host(lab, server, ansible_user="asked", **changes)
    with linked(host, patient(become=True, become_password="right horse")) as link:
        assert link.hello["uid"] == 0
        commands = server.sh("cat /proc/[0-9]*/cmdline | tr '\\0' ' '")
        assert "/usr/local/bin/my-sudo -H -S -S -p" in commands
        assert "/opt/my-py -I -S" in commands
    host = inventory_host(lab, server, ansible_python_interpreter="/opt/none/python3")
    with pytest.raises(UnreachableError, match="/opt/none/python3, is missing"):
        connect(host, patient())


# --- the ways there -------------------------------------------------------------------------------


def test_the_ssh_config_is_honoured(
    lab: Lab, server: LabHost, ssh_home: Callable[[str], None]
) -> None:
    ssh_home(
        f"Host web-by-name\n HostName {server.address}\n User root\n IdentityFile {lab.key}\n"
        f" UserKnownHostsFile {lab.known_hosts}\n"
    )
    with linked(Host(name="web1", hostname="web-by-name")) as link:
        assert link.hello["uid"] == 0


def test_a_jump_host_is_checked_as_the_host_itself_is(
    lab: Lab, server: LabHost, ssh_home: Callable[[str], None]
) -> None:
    """The jump is the host's own sshd, reached by its other address."""
    server.sh("ip addr add 192.168.77.7/32 dev lo")
    known = Path(os.environ["HOME"]) / "known"
    known.write_text(f"192.168.77.7 {server.host_key()}\n")
    common = f" IdentityFile {lab.key}\n User root\n UserKnownHostsFile {known}\n"
    ssh_home(
        f"Host 192.168.77.7\n ProxyJump gate\n{common}Host gate\n HostName {server.address}\n"
        f"{common}"
    )
    inner = Host(name="inner", hostname="192.168.77.7")
    with pytest.raises(HostKeyError, match=server.address):
        connect(inner, patient())
    known.write_text(known.read_text() + f"{server.address} {server.host_key()}\n")
    with linked(inner) as link:
        assert facts(link)["ansible_hostname"] == server.name
        stream = link.open_stream(host="127.0.0.1", port=22, timeout_s=PATIENCE_S)
        assert stream.recv(4) == b"SSH-"
        stream.close()


def test_a_jump_host_from_a_variable(
    lab: Lab, server: LabHost, ssh_home: Callable[[str], None], tmp_path: Path
) -> None:
    """The address is unreachable from here; the SSH config would lead to a different host."""
    server.sh("ip addr show dev lo | grep -q 192.168.77.8 || ip addr add 192.168.77.8/32 dev lo")
    known = tmp_path / "known"
    known.write_text(f"192.168.77.8,{server.address} {server.host_key()}\n")
    ssh_home("Host 192.168.77.8\n ProxyCommand false\n User someone\n Port 1\n")
    (tmp_path / "conf").write_text(f"Host {server.address}\n IdentityFile {lab.key}\n")
    inventory = tmp_path / "hosts"
    files = f"-F {tmp_path}/conf -o UserKnownHostsFile={known}"
    command = f"ssh {files} -W %h:%p root@{server.address}"
    for way in (
        f"-J root@{server.address}",
        f"-o ProxyJump=root@{server.address}:22",
        f"-o 'ProxyCommand={command}'",
    ):
        variables = {
            "ansible_host": "192.168.77.8",
            "ansible_user": "root",
            "ansible_port": "22",
            "ansible_ssh_private_key_file": lab.key,
            "ansible_ssh_common_args": f"{files} {way}",
            "deployer_known_hosts_file": known,
        }
        words = " ".join(f'{name}="{value}"' for name, value in variables.items())
        inventory.write_text(f"inner {words}\n")
        with linked(load_inventory([inventory]).hosts["inner"]) as link:
            assert facts(link)["ansible_hostname"] == server.name


def test_ansible_cfg_leads_to_the_host(
    lab: Lab,
    server: LabHost,
    ssh_home: Callable[[str], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Without any option; options override it, and variables override both."""
    ssh_home("")
    monkeypatch.chdir(tmp_path)
    Path("site.yml").write_text(
        "- hosts: web\n  tasks: [{copy: {dest: /root/x, content: '{{ ansible_user_id }}'}}]\n"
    )
    Path("hosts").write_text(f"[web]\nw1 ansible_host={server.address}\n")
    Path("ansible.cfg").write_text(
        "[defaults]\ninventory = hosts\nremote_user = free\n"
        f"private_key_file = {lab.key}\n"
        "[privilege_escalation]\nbecome = True\n"
        f"[ssh_connection]\nssh_common_args = -o UserKnownHostsFile={lab.known_hosts}\n"
    )
    for options, variables, user in (
        ([], "", "free"),
        (["-u", "barred"], "", "barred"),
        (["-u", "barred"], "ansible_user=asked", "asked"),
    ):
        Path("hosts").write_text(f"[web]\nw1 ansible_host={server.address} {variables}\n")
        code = main.run(["plan", "site.yml", *options])
        shown = capsys.readouterr()
        if user == "free":
            assert code == 0, shown.err
            assert "+root" in shown.out.replace(" ", "")
        else:
            assert code == 5
            assert f"{user}" in shown.out + shown.err


def test_a_proxy_command(lab: Lab, server: LabHost, ssh_home: Callable[[str], None]) -> None:
    relay = (
        "import os,socket,sys,threading as t\n"
        "s=socket.create_connection((sys.argv[1],int(sys.argv[2])))\n"
        "def up():\n while d:=os.read(0,65536): s.sendall(d)\n"
        "t.Thread(target=up,daemon=True).start()\n"
        "while d:=s.recv(65536): os.write(1,d)\n"
    )
    program = Path(os.environ["HOME"]) / "relay.py"
    program.write_text(relay)
    common = f" IdentityFile {lab.key}\n User root\n UserKnownHostsFile {lab.known_hosts}\n"
    ssh_home(
        f"Host {server.address}\n ProxyCommand {sys.executable} {program} %h %p\n{common}"
        f"Host broken\n ProxyCommand sh -c 'echo no way >&2'\n{common}"
    )
    with linked(Host(name="web1", hostname=server.address)) as link:
        assert facts(link)["ansible_hostname"] == server.name
    with pytest.raises(UnreachableError, match="no way"):
        connect(Host(name="web1", hostname="broken"), patient())


# --- streams --------------------------------------------------------------------------------------


# --- silence --------------------------------------------------------------------------------------


# --- what may be missing --------------------------------------------------------------------------
