"""Web servers that are not inspected: where they are reached."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from deployer.agent.proxies import others
from deployer.agent.proxies.others import other_servers

_SERVER = """
import socket, sys
held = [socket.create_server((host, 0)) for host in sys.argv[1:]]
open("/proc/self/comm", "w").write("caddy")
print(*(each.getsockname()[1] for each in held), flush=True)
sys.stdin.read()
"""


@contextmanager
def serving(*hosts: str, before: Sequence[str] = ()) -> Iterator[tuple[int, list[int]]]:
    """A process that is called caddy, and the ports on which it listens."""
    argv = [*before, sys.executable, "-c", _SERVER, *hosts]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        ports = [int(word) for word in server.stdout.readline().split()]
        yield server.pid, ports
        server.communicate(b"")


def found(*inspected: int) -> list[tuple[str, str, int]]:
    notes: list[str] = []
    every = other_servers(inspected, notes)
    return [(each["process"], each["host"], each["port"]) for each in every]


def test_where_another_web_server_listens() -> None:
    with serving("127.0.0.1", "") as (pid, ports):
        listed = found()
        assert {("caddy", "127.0.0.1", port) for port in ports} <= set(listed)
        assert not set(ports) & {port for _, _, port in found(pid)}


def test_the_number_of_addresses_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(others, "_MOST", 1)
    notes: list[str] = []
    with serving("127.0.0.1", "127.0.0.1"):
        assert len(other_servers((), notes)) == 1
    assert notes
    assert notes[0].endswith(" addresses of other web servers are not compared")


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("ip"), reason="makes a network")
def test_a_container_is_reached_at_the_address_of_its_network(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(others, "_MOST", 1000)
    link = "ip link add d0 type veth peer name d1"
    setup = f"{link} && ip addr add 192.0.2.7/24 dev d0 && ip link set lo up && ip link set d0 up"
    shell = ["unshare", "-n", "sh", "-c", f'{setup} && exec "$@"', "sh"]
    with serving("127.0.0.1", "", before=shell) as (_, ports):
        of_it = [(host, port) for _, host, port in found() if port in ports]
    assert of_it == [("192.0.2.7", ports[1])], "its own loopback is out of reach"
