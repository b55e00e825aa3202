"""Streams to real hosts, agents and networks that fail, and hosts without Python."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from deployer.errors import AuthenticationError, UnreachableError
from deployer.lab.host import LabHost
from deployer.lab.lab import Lab
from deployer.model import Host
from deployer.transport import ConnectOptions, Link, Stream, connect
from tests.integration.transport.test_hosts import (
    facts,
    gives_up_soon,
    inventory_host,
    linked,
    patient,
    restart_sshd,
)
from tests.support.waiting import PATIENCE_S, at_most

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def lab(shared_lab: Lab) -> Lab:
    return shared_lab


@pytest.fixture
def forbidden(server: LabHost) -> Iterator[None]:
    server.sh("echo 'AllowTcpForwarding no' > /etc/ssh/sshd_config.d/no.conf")
    restart_sshd(server)
    yield
    server.sh("rm /etc/ssh/sshd_config.d/no.conf")
    restart_sshd(server)


def read_all(stream: Stream) -> bytes:
    received = b""
    while data := stream.recv(65536):
        received += data
    return received


def check_streams(link: Link) -> None:
    failures: list[BaseException] = []

    def read_banner() -> None:
        try:
            stream = link.open_stream(host="127.0.0.1", port=22, timeout_s=PATIENCE_S)
            stream.settimeout(PATIENCE_S)
            stream.sendall(b"SSH-2.0-test\r\n" + b"x" * 1000)
            assert read_all(stream).startswith(b"SSH-2.0-OpenSSH")
            stream.close()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=read_banner) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert failures == []

    silent = link.open_stream(host="127.0.0.1", port=22, timeout_s=PATIENCE_S)
    assert silent.recv(4) == b"SSH-"
    silent.settimeout(0.1)
    with pytest.raises(TimeoutError):
        read_all(silent)
    silent.close()
    with pytest.raises(ConnectionRefusedError):
        link.open_stream(host="127.0.0.1", port=9, timeout_s=PATIENCE_S)
    with pytest.raises(FileNotFoundError):
        link.open_stream(socket="/run/nothing", timeout_s=PATIENCE_S)
    stream = link.open_stream(socket="/run/dbus/system_bus_socket", timeout_s=PATIENCE_S)
    stream.settimeout(PATIENCE_S)
    stream.sendall(b"\0AUTH ANONYMOUS\r\n")
    assert stream.recv(100)
    stream.close()


def test_streams_by_forwarding(lab: Lab, server: LabHost) -> None:
    with linked(inventory_host(lab, server), patient()) as link:
        check_streams(link)


def test_streams_by_the_agent_if_sshd_forbids_forwarding(
    lab: Lab, server: LabHost, forbidden: None
) -> None:
    with linked(inventory_host(lab, server), patient()) as link:
        check_streams(link)


def took(began: float) -> float:
    return time.monotonic() - began


def test_a_stopped_agent_is_an_error_with_the_action_in_progress(lab: Lab, server: LabHost) -> None:
    link = connect(inventory_host(lab, server), gives_up_soon())
    server.exec(["kill", "-STOP", str(link.hello["pid"])])
    began = time.monotonic()
    with pytest.raises(UnreachableError, match=r"web1: .*not responded.* while reading facts"):
        facts(link)
    assert took(began) < at_most(3)
    began = time.monotonic()
    link.close()
    assert took(began) < at_most(0.2)
    server.exec(["kill", "-KILL", str(link.hello["pid"])])


def test_a_killed_agent_is_an_error_at_once(lab: Lab, server: LabHost) -> None:
    link = connect(inventory_host(lab, server), patient())
    server.exec(["kill", "-KILL", str(link.hello["pid"])])
    began = time.monotonic()
    with pytest.raises(UnreachableError, match="while reading facts"):
        facts(link)
    assert took(began) < at_most(3)
    link.close()


def test_a_stopped_sshd(lab: Lab, server: LabHost) -> None:
    main = server.sh("systemctl show -P MainPID ssh").strip()
    server.exec(["kill", "-STOP", main])
    try:
        began = time.monotonic()
        with pytest.raises(
            UnreachableError, match=r"web1: .*sends no SSH greeting|did not complete"
        ):
            connect(inventory_host(lab, server), ConnectOptions(connect_timeout_s=1.0))
        assert took(began) < at_most(3)
    finally:
        server.exec(["kill", "-CONT", main])


def test_a_link_that_goes_down_during_a_large_request(
    labs: Callable[..., Lab],
) -> None:
    lab = labs(1)
    host = lab.hosts[0]
    link = connect(inventory_host(lab, host), gives_up_soon())
    stream = link.open_stream(host="127.0.0.1", port=22, timeout_s=PATIENCE_S)
    assert stream.recv(4) == b"SSH-"
    host.link_down()
    began = time.monotonic()
    with pytest.raises(UnreachableError, match="while applying"):
        link.request("apply", plan={"much": "x" * 20_000_000}, commit={}, doing="applying")
    assert took(began) < at_most(4)
    stream.settimeout(PATIENCE_S)
    with pytest.raises(OSError, match="broken"):
        read_all(stream)
    link.close()


def test_a_closed_port_and_a_name_that_does_not_exist(lab: Lab, server: LabHost) -> None:
    port = Host(name="web1", hostname=server.address, port=2222)
    with pytest.raises(UnreachableError, match=f"refused by {server.address} port 2222"):
        connect(port, patient())
    with pytest.raises(UnreachableError, match=r"cannot resolve 'no-such-host\.invalid'"):
        connect(Host(name="web9", hostname="no-such-host.invalid"), patient())


def test_a_port_that_accepts_and_stays_silent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        began = time.monotonic()
        with pytest.raises(UnreachableError, match=f"mute: 127.0.0.1 port {port}"):
            connect(
                Host(name="mute", hostname="127.0.0.1", port=port),
                ConnectOptions(connect_timeout_s=0.5),
            )
        assert took(began) < at_most(2)


@pytest.fixture
def without_python(server: LabHost) -> Iterator[None]:
    """Takes python3 away, and has apt-get bring it back, as the host has no network."""
    server.exec(
        ["tee", "/usr/local/bin/apt-get"],
        stdin="#!/bin/sh\n"
        'test "$(id -u)" = 0 || { echo "not root" >&2; exit 100; }\n'
        'test "$1 $2 $4" = "-qy install python3" || { echo "E: $*" >&2; exit 100; }\n'
        "mv /usr/bin/python3.away /usr/bin/python3\n",
    )
    server.sh("chmod +x /usr/local/bin/apt-get; mv /usr/bin/python3 /usr/bin/python3.away")
    yield
    server.sh(
        "rm /usr/local/bin/apt-get; test -e /usr/bin/python3.away && "
        "mv /usr/bin/python3.away /usr/bin/python3 || true"
    )


@pytest.mark.parametrize("user", ["root", "free", "asked"])
def test_python_is_missing_and_is_installed(
    lab: Lab, server: LabHost, without_python: None, user: str
) -> None:
    host = inventory_host(lab, server, ansible_user=user)
    password = "right horse" if user == "asked" else None
    with pytest.raises(UnreachableError, match="the host has no python3") as caught:
        connect(host, patient(become=True, become_password=password))
    assert "--install-python" in str(caught.value)
    installing = patient(become=True, become_password=password, install_python=True)
    with linked(host, installing) as link:
        assert link.hello["uid"] == 0


def test_python_cannot_be_installed(lab: Lab, server: LabHost, without_python: None) -> None:
    server.sh("printf '#!/bin/sh\necho E: no candidate >&2; exit 100' > /usr/local/bin/apt-get")
    with pytest.raises(UnreachableError, match="installation of python3 failed: E: no candidate"):
        connect(inventory_host(lab, server), patient(install_python=True))
    host = inventory_host(lab, server, ansible_user="asked")
    with pytest.raises(AuthenticationError, match="rejects the password of asked"):
        connect(host, patient(become=True, become_password="wrong", install_python=True))


def test_an_old_python(lab: Lab, server: LabHost) -> None:
    pretended = (
        "#!/usr/bin/python3\n"
        "import sys\n"
        "sys.version_info = (3, 7, 3, 'final', 0)\n"
        "exec(sys.argv[sys.argv.index('-c') + 1])\n"
    )
    server.exec(["tee", "/usr/local/bin/python3"], stdin=pretended)
    server.sh("chmod +x /usr/local/bin/python3")
    try:
        with pytest.raises(UnreachableError, match=r"python3 is 3\.7\.3; 3\.8 or newer"):
            connect(inventory_host(lab, server), patient())
    finally:
        server.sh("rm /usr/local/bin/python3")


def test_a_shell_that_prints_text(lab: Lab, server: LabHost) -> None:
    server.sh("sed -i '1i echo welcome to the machine' /home/free/.bashrc")
    try:
        host = inventory_host(lab, server, ansible_user="free")
        with pytest.raises(UnreachableError, match="welcome to the machine"):
            connect(host, ConnectOptions(become=True, connect_timeout_s=2.0))
    finally:
        server.sh("sed -i 1d /home/free/.bashrc")


def test_ctrl_c_leaves_no_thread_that_keeps_the_process(lab: Lab, server: LabHost) -> None:
    """A process that is interrupted in the middle of a request ends at once."""
    variables = lab.inventory()["all"]["vars"]
    program = (
        "import os, signal, threading\n"
        "from deployer.model import Host\n"
        "from deployer.transport import ConnectOptions, connect\n"
        f"link = connect(Host(name='web1', hostname={server.address!r}, user='root',"
        f" vars={variables!r}), ConnectOptions())\n"
        "print(link.hello['pid'], flush=True)\n"
        "input()\n"
        "link.request('facts', packages=[])\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert child.stdout is not None
    assert child.stdin is not None
    agent = child.stdout.readline().strip()
    server.exec(["kill", "-STOP", agent])
    child.stdin.write("\n")
    child.stdin.flush()
    child.send_signal(2)
    assert child.wait(PATIENCE_S) != 0
    child.stdout.close()
    child.stdin.close()
    server.exec(["kill", "-KILL", agent])
