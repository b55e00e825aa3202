"""Rehearsal hosts are real hosts, and leave nothing behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from deployer.cli.lab import lab as lab_command
from deployer.errors import LabError
from deployer.lab import lab as labs_module
from deployer.lab.folders import labs_folder
from deployer.lab.host import LabHost
from deployer.lab.lab import Lab
from tests.support.waiting import PATIENCE_S, until

pytestmark = pytest.mark.lab

_HOLDER = """
import signal, sys
from deployer.lab.lab import running
signal.signal(signal.SIGTERM, signal.SIG_DFL)  # no chance to tidy up: the guard has to
with running(2, name=sys.argv[1]) as lab:
    print(lab.network.bridge, flush=True)
    signal.pause()
"""


def ssh(host: LabHost, *command: str) -> subprocess.CompletedProcess[str]:
    argv = [*host.ssh_command(), *command]
    return subprocess.run(argv, capture_output=True, text=True, timeout=PATIENCE_S, check=False)


def left_behind(bridge: str, name: str) -> list[str]:
    """What this machine still has of the lab: processes, links, control groups, mounts, folders."""
    serial = bridge.partition("-")[2]
    found = [line for line in Path("/proc/mounts").read_text().splitlines() if name in line]
    found += [str(link) for link in Path("/sys/class/net").iterdir() if serial in link.name]
    found += [str(path) for path in Path("/sys/fs/cgroup").glob(f"*/deployer-lab/{serial}-*")]
    found += [str(path) for path in labs_folder().glob(name)]
    for process in Path("/proc").glob("[0-9]*"):
        try:
            argv = (process / "cmdline").read_text(errors="replace")
            group = (process / "cgroup").read_text()
        except OSError:
            continue
        # A dead one that its parent has not reaped yet has no arguments.
        if argv and (f"/{name}/" in argv or f"deployer-lab/{serial}-" in group):
            found.append(argv.replace("\0", " "))
    return found


def test_hosts_are_complete_debians_reachable_by_ssh(labs: Callable[..., Lab]) -> None:
    lab = labs(3)
    for host in lab.hosts:
        done = ssh(host, "hostname; systemctl is-system-running --wait")
        assert done.stdout.split() == [host.name, "running"], done.stderr
    ids = {host.sh("cat /etc/machine-id") for host in lab.hosts}
    assert len(ids) == 3
    first, *_, last = lab.hosts
    assert first.sh("getent hosts web3").split() == [last.address, "web3"]
    first.sh(f"ping -c1 -W5 web3 && ping -c1 -W5 {last.address6} && ping -c1 -W5 ::1")


def test_hosts_do_not_share_their_services_control_groups(labs: Callable[..., Lab]) -> None:
    first, second = labs(2).hosts
    for host in (first, second):
        host.sh("systemd-run --quiet --unit=same sleep infinity")
    processes = "cat /sys/fs/cgroup/*/system.slice/same.service/cgroup.procs | sort -u | wc -l"
    assert first.sh(processes).strip() == "1"
    first.sh("systemctl stop same")
    assert second.sh("systemctl is-active same").strip() == "active"


def test_packages_install_without_a_network(shared_lab: Lab) -> None:
    (host,) = shared_lab.hosts
    host.sh("apt-get install -y -qq --no-install-recommends nginx", timeout_s=PATIENCE_S)
    assert host.sh("systemctl is-active nginx").strip() == "active"


def test_recommended_packages_are_there_too(shared_lab: Lab) -> None:
    needed = "apache2 certbot curl goaccess haproxy nginx openssl python3-venv python3-websockets"
    for package in needed.split():
        shared_lab.hosts[0].sh(f"apt-get install -y -qq --download-only --no-download {package}")


def test_a_killed_host_boots_again_with_its_disk(lab: Lab) -> None:
    (host,) = lab.hosts
    boot = host.sh("systemctl show -p UserspaceTimestampMonotonic")
    host.sh("echo kept > /root/note")
    host.kill()
    assert not host.is_running
    with pytest.raises(LabError, match="web1 is switched off"):
        host.sh("true")
    host.boot_again()
    assert host.sh("cat /root/note").strip() == "kept"
    assert host.sh("systemctl show -p UserspaceTimestampMonotonic") != boot
    assert ssh(host, "true").returncode == 0


def test_a_host_can_be_entered_without_its_sshd(lab: Lab) -> None:
    (host,) = lab.hosts
    host.sh("systemctl stop ssh")
    assert ssh(host, "true").returncode == 255
    assert host.sh("hostname; pwd").split() == ["web1", "/"]


def test_a_cut_cable_drops_packets(lab: Lab) -> None:
    (host,) = lab.hosts
    with socket.create_connection((host.address, 22), timeout=PATIENCE_S) as connection:
        assert connection.recv(4) == b"SSH-"
        host.link_down()
        connection.sendall(b"SSH-2.0-test\r\n")
        host.sh("grep 1 /sys/class/net/host0/carrier && grep up /sys/class/net/host0/operstate")
        with pytest.raises(OSError, match="timed out"):
            socket.create_connection((host.address, 22), timeout=0.5)
    host.link_up()
    host.wait_until_ready()


def test_two_labs_do_not_disturb_each_other(labs: Callable[..., Lab]) -> None:
    first, second = labs(1), labs(1)
    assert first.network != second.network
    assert ssh(first.hosts[0], "true").returncode == 0
    second.down()
    assert ssh(first.hosts[0], "true").returncode == 0


def test_a_name_is_used_once(lab: Lab) -> None:
    with pytest.raises(LabError, match="already"):
        labs_module.up(1, name=lab.name)


def test_the_inventory_holds_what_ssh_needs(lab: Lab, tmp_path: Path) -> None:
    import yaml

    lab.write_inventory(tmp_path / "lab.yml")
    group = yaml.safe_load((tmp_path / "lab.yml").read_text())["all"]
    assert group["hosts"] == {"web1": {"ansible_host": lab.hosts[0].address}}
    key, known = (
        group["vars"][name]
        for name in ("ansible_ssh_private_key_file", "deployer_known_hosts_file")
    )
    assert Path(key).stat().st_mode & 0o077 == 0
    scanned = subprocess.run(
        ["ssh-keyscan", "-t", "ed25519", lab.hosts[0].address],
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE_S,
    )
    assert scanned.stdout.split()[1:] == Path(known).read_text().split()[1:]


def test_a_lab_from_the_command_line_stays_until_it_is_taken_down(
    machine: None, tmp_path: Path
) -> None:
    name = f"cli-{os.getpid()}"
    run = CliRunner().invoke
    up = ["up", "1", "--name", name, "--inventory", str(tmp_path / "lab.yml")]
    done = subprocess.run(
        [sys.executable, "-c", "from deployer.cli.lab import lab; lab()", *up],
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    try:
        assert done.returncode == 0, done.stderr
        assert f"-i {tmp_path / 'lab.yml'}" in done.stdout
        labs_module.sweep()
        document = json.loads(run(lab_command, ["status", "--json"]).stdout)
        (found,) = (one for one in document["labs"] if one["name"] == name)
        assert [host["running"] for host in found["hosts"]] == [True]
        bridge = labs_module.named(name).network.bridge
    finally:
        down = run(lab_command, ["down", "--name", name])
    assert down.output == f"{name} is down\n"
    assert left_behind(bridge, name) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_behind(number: signal.Signals, machine: None) -> None:
    name = f"left-{os.getpid()}-{number.name.lower()}"
    with subprocess.Popen(
        [sys.executable, "-c", _HOLDER, name],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        bridge = process.stdout.readline().strip()
        assert len(left_behind(bridge, name)) > 10
        process.send_signal(number)
        process.wait(timeout=PATIENCE_S)
    until(lambda: not left_behind(bridge, name))
    assert left_behind(bridge, name) == []
