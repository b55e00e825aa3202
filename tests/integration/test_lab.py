"""Rehearsal hosts are real hosts, and leave nothing behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from deployer.errors import LabError
from deployer.lab import lab as labs_module
from deployer.lab.folders import labs_folder
from deployer.lab.lab import Lab

pytestmark = pytest.mark.lab


def left_behind() -> set[str]:
    """Bridges, mounts and folders of labs that are there now."""
    links = json.loads(
        subprocess.run(["ip", "-json", "link"], capture_output=True, check=True, timeout=10).stdout
    )
    bridges = {link["ifname"] for link in links if link["ifname"].startswith("dl-")}
    mounts = {
        line.split()[1]
        for line in Path("/proc/mounts").read_text().splitlines()
        if str(labs_folder()) in line
    }
    return bridges | mounts | {str(path) for path in labs_folder().glob("*/")}


def ssh(lab: Lab, number: int, *command: str) -> subprocess.CompletedProcess[str]:
    argv = ["ssh", "-i", str(lab.key), "-o", f"UserKnownHostsFile={lab.known_hosts}"]
    target = f"root@{lab.hosts[number].address}"
    return subprocess.run(
        [*argv, "-o", "BatchMode=yes", target, *command],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_hosts_are_whole_debians_with_a_way_in(labs: Callable[..., Lab]) -> None:
    lab = labs(3)
    for number, host in enumerate(lab.hosts):
        done = ssh(lab, number, "hostname; systemctl is-system-running --wait")
        assert done.stdout.split() == [host.name, "running"], done.stderr
    ids = {host.sh("cat /etc/machine-id") for host in lab.hosts}
    assert len(ids) == 3
    assert lab.hosts[0].sh("getent hosts web3").split() == [lab.hosts[2].address, "web3"]


def test_packages_install_without_a_network(lab: Lab) -> None:
    lab.hosts[0].sh("apt-get install -y -qq nginx", timeout_s=120)
    assert lab.hosts[0].sh("systemctl is-active nginx").strip() == "active"


def test_a_killed_host_boots_again_with_its_disk(lab: Lab) -> None:
    (host,) = lab.hosts
    boot = host.sh("cat /proc/sys/kernel/random/boot_id; systemctl show -p UserspaceTimestamp")
    host.sh("echo kept > /root/note && sync")
    host.kill()
    assert not host.is_running
    host.boot_again()
    assert host.sh("cat /root/note").strip() == "kept"
    assert host.sh("systemctl show -p UserspaceTimestamp") not in boot


def test_a_cable_can_be_pulled(lab: Lab) -> None:
    (host,) = lab.hosts
    host.link_down()
    with pytest.raises(OSError, match=r"timed out|No route"):
        socket.create_connection((host.address, 22), timeout=0.5)
    host.link_up()
    host.wait_until_ready()


def test_two_labs_do_not_disturb_each_other(labs: Callable[..., Lab]) -> None:
    first, second = labs(1), labs(1)
    assert first.network != second.network
    assert ssh(first, 0, "true").returncode == 0
    second.down()
    assert ssh(first, 0, "true").returncode == 0


def test_a_name_is_used_once(lab: Lab) -> None:
    with pytest.raises(LabError, match="already"):
        labs_module.up(1, name=lab.name)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_behind(number: signal.Signals, tmp_path: Path) -> None:
    """A process that holds a lab ends by a signal; after SIGKILL, the next lab sweeps."""
    labs_module.sweep()
    before = left_behind()
    program = (
        "import signal, sys\n"
        "from deployer.lab.lab import running\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))\n"
        f"with running(1, name='left-{os.getpid()}') as lab:\n"
        "    print(lab.hosts[0].address, flush=True)\n"
        "    signal.pause()\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline()
    assert left_behind() > before
    process.send_signal(number)
    process.wait(timeout=30)
    process.stdout.close()
    if number == signal.SIGKILL:
        labs_module.sweep()
    deadline = time.monotonic() + 10
    while left_behind() != before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert left_behind() == before
