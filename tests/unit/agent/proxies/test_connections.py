"""Which connections a process has, counted over real sockets of processes of our own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deployer.agent.children import Children
from deployer.agent.files import read_text
from deployer.agent.listeners import sockets_of
from deployer.agent.proxies import configs as proxy_configs
from deployer.agent.proxies import readiness
from deployer.agent.proxies.connections import Tables, Worker, worker_connections
from deployer.agent.proxies.haproxy.reload import failed_reloads

#: Replaces a worker with clients and services, and reports its ports.
_WORKER = """
import json, os, select, socket, sys
address, service, unix = sys.argv[1:4]
family = socket.AF_INET6 if ":" in address else socket.AF_INET
listener = socket.create_server((address, 0), family=family)
print(json.dumps(listener.getsockname()[1]), flush=True)
clients, services, kept, waits = [], [], [], []
for line in sys.stdin:
    word = line.strip()
    if word == "client":
        clients.append(listener.accept()[0])
    elif word == "service":
        services.append(socket.create_connection(("127.0.0.1", int(service))))
    elif word == "unix":
        services.append(socket.socket(socket.AF_UNIX))
        services[-1].connect(unix)
    elif word == "pair":
        kept += socket.socketpair()
    elif word == "tunnel":
        waits.append(select.epoll())
        waits[-1].register(clients[-1])
        waits[-1].register(services[-1])
    elif word == "idle":
        waits.append(select.epoll())
        waits[-1].register(clients[-1])
    elif word == "leave":
        listener.close()
    print("done", flush=True)
"""


class Fake:
    """A worker below this very process, in the role of the main process."""

    def __init__(self, folder: Path, address: str) -> None:
        self._service = socket.create_server(("127.0.0.1", 0))
        self._unix = socket.socket(socket.AF_UNIX)
        self._unix.bind(str(folder / "service.sock"))
        self._unix.listen()
        self._address = address
        self._clients: list[socket.socket] = []
        argv = [address, str(self._service.getsockname()[1]), str(folder / "service.sock")]
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _WORKER, *argv],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.port = int(json.loads(self._line()))

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def tell(self, *words: str) -> None:
        assert self.process.stdin is not None
        for word in words:
            if word == "client":
                self._clients.append(socket.create_connection((self._address, self.port)))
            self.process.stdin.write(word + "\n")
            self.process.stdin.flush()
            assert self._line() == "done\n"
            if word == "unix":
                self._clients.append(self._unix.accept()[0])

    def look(self, proxy: str) -> dict[str, Any]:
        (found,) = [
            each
            for each in worker_connections(os.getpid(), proxy)
            if each["pid"] == self.process.pid
        ]
        del found["pid"]
        return found

    def end(self) -> None:
        self.process.communicate()
        for each in (self._service, self._unix, *self._clients):
            each.close()


@pytest.fixture(params=["127.0.0.1", "::1"])
def fake(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Fake]:
    worker = Fake(tmp_path, request.param)
    yield worker
    worker.end()


def test_a_client_and_a_service_are_a_websocket(fake: Fake) -> None:
    """Idle clients, idle services and sockets of its own do not make one."""
    assert fake.look("nginx") == {"websockets": 0, "connections": 0, "is_old": False}
    fake.tell("client", "client", "pair", "pair")
    assert fake.look("nginx") == {"websockets": 0, "connections": 2, "is_old": False}
    fake.tell("service", "service", "service")
    assert fake.look("nginx") == {"websockets": 2, "connections": 2, "is_old": False}


def test_a_service_on_a_unix_socket(fake: Fake) -> None:
    fake.tell("client", "client", "unix", "pair")
    assert fake.look("nginx")["websockets"] == 1


def test_a_worker_that_has_stopped_listening_is_old(fake: Fake) -> None:
    fake.tell("client", "service", "leave")
    assert fake.look("nginx")["is_old"]


def test_apache_waits_on_the_two_ends_of_a_tunnel(fake: Fake) -> None:
    """What else is open idles, on both sides."""
    fake.tell(
        "client", "service", "tunnel", "client", "unix", "tunnel", "client", "idle", "service"
    )
    assert fake.look("apache2") == {"websockets": 2, "connections": 3, "is_old": False}


def test_haproxy_that_does_not_answer(fake: Fake) -> None:
    fake.tell("client", "service", "client")
    assert fake.look("haproxy")["websockets"] == 1


def test_a_process_that_has_ended() -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    worker = Worker(ended.pid, Tables(os.getpid()), set())
    assert (worker.pairs(), worker.tunnels()) == (0, 0)


def test_where_a_process_listens(fake: Fake) -> None:
    tables = Tables(os.getpid())
    inodes = sockets_of(fake.process.pid)
    own = {tables.listening[inode] for inode in inodes if inode in tables.listening}
    assert own == {(fake._address, fake.port)}


# --- before a configuration is loaded -------------------------------------------------------------


def test_the_kernel_is_asked_whether_an_address_is_free(fake: Fake) -> None:
    taken = proxy_configs.Address(fake._address, fake.port, where="x", only_v6=True)
    everything = proxy_configs.Address("::" if ":" in fake._address else "", fake.port, where="x",
                                       only_v6=True)  # fmt: skip
    nowhere = proxy_configs.Address("192.0.2.1", fake.port, where="x")
    in_use, not_here = 98, 99
    assert readiness._problem_of(taken, shared=False) == in_use
    assert readiness._problem_of(everything, shared=True) == in_use
    assert readiness._problem_of(nowhere, shared=False) == not_here
    fake.tell("leave")
    assert readiness._problem_of(taken, shared=False) == 0


def test_units_that_are_no_proxies_pass() -> None:
    """Nothing is even asked of them."""
    children = Children(lambda: pytest.fail("something was run"))
    readiness.check(children, "goaccess", "reload", pytest.fail)
    readiness.check(children, "nginx", "stop", pytest.fail)


# --- whether HAProxy has failed to reload ---------------------------------------------------------


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, 0),
        ({"HAPROXY_MWORKER_WAIT_ONLY": "1"}, 1),
        ({"HAPROXY_PROCESSES": "|type=w;failedreloads=2|type=m;pid=7;failedreloads=3",
          "HAPROXY_MWORKER_WAIT_ONLY": "1"}, 3),
        ({"HAPROXY_PROCESSES": "|type=w;failedreloads=1|type=m;pid=7;failedreloads=0",
          "HAPROXY_MWORKER_WAIT_ONLY": "1"}, 0),
    ],
)  # fmt: skip
def test_a_master_of_haproxy_counts_its_failures(
    environment: dict[str, str], expected: int
) -> None:
    """As Debian's 2.2 reports it, by waiting, and as 2.6 and 3.0 do, by a number."""
    marked = {**environment, "PATH": os.environ["PATH"]}
    master = subprocess.Popen(["sleep", "60"], env=marked)
    try:
        while "PATH=" not in read_text(f"/proc/{master.pid}/environ"):
            assert master.poll() is None
        assert failed_reloads(master.pid) == expected
    finally:
        master.kill()
        master.wait()
