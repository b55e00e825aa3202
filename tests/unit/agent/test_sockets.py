"""Which socket accepts the connections to an address, on this machine."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deployer.agent import cgroups
from deployer.agent.cgroups import cgroup_of, is_in, place_in, unit_in
from deployer.agent.sockets import Sockets, addresses_here, answers


@contextmanager
def listening(host: str, port: int = 0, *, reuse: bool = False) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as server:
        if family == socket.AF_INET6:
            server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(host != "::"))
        if reuse:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        server.bind((host, port))
        server.listen()
        yield server


def inode(server: socket.socket) -> str:
    return str(os.fstat(server.fileno()).st_ino)


def test_the_holder_of_a_port_is_found() -> None:
    with listening("127.0.0.1") as server:
        port = server.getsockname()[1]
        sockets = Sockets()
        assert sockets.at({"host": "127.0.0.1", "port": port}) == [inode(server)]
        assert sockets.at({"host": "localhost", "port": port}) == [inode(server)]
        assert sockets.at({"port": port}) == [inode(server)]
        assert sockets.holders(inode(server)) == [os.getpid()]
    assert Sockets().at({"host": "127.0.0.1", "port": port}) == []


def test_a_socket_for_a_different_address_does_not_count() -> None:
    """The same port of IPv6 is a different service: the proxy connects to 127.0.0.1."""
    with listening("127.0.0.1") as server:
        port = server.getsockname()[1]
        with listening("::1", port) as other:
            sockets = Sockets()
            assert sockets.at({"host": "127.0.0.1", "port": port}) == [inode(server)]
            assert sockets.at({"host": "::1", "port": port}) == [inode(other)]
            assert sorted(sockets.at({"host": "localhost", "port": port})) == sorted(
                [inode(server), inode(other)]
            )


def test_a_wildcard_of_ipv6_accepts_ipv4_too() -> None:
    with listening("::") as server:
        port = server.getsockname()[1]
        assert Sockets().at({"host": "127.0.0.1", "port": port}) == [inode(server)]


def test_the_exact_address_comes_before_the_wildcard() -> None:
    with listening("127.0.0.1", reuse=True) as exact:
        port = exact.getsockname()[1]
        with listening("0.0.0.0", port, reuse=True) as every:  # noqa: S104
            sockets = Sockets()
            assert sockets.at({"host": "127.0.0.1", "port": port}) == [inode(exact)]
            assert sockets.at({"host": "127.0.0.2", "port": port}) == [inode(every)]


def test_two_services_that_share_a_port_are_both_found() -> None:
    with listening("127.0.0.1", reuse=True) as one:
        port = one.getsockname()[1]
        with listening("127.0.0.1", port, reuse=True) as other:
            found = Sockets().at({"host": "127.0.0.1", "port": port})
            assert sorted(found) == sorted([inode(one), inode(other)])


@pytest.mark.parametrize("host", ["203.0.113.9", "2001:db8::9", "no-such-name.example.com"])
def test_other_machines_have_no_socket_here(host: str) -> None:
    assert addresses_here(host) == []
    assert Sockets().at({"host": host, "port": 80}) == []


_REPLACES = """
import os, socket, sys
os.unlink(sys.argv[1])
server = socket.socket(socket.AF_UNIX)
server.bind(sys.argv[1])
server.listen()
print("up", flush=True)
sys.stdin.read()
"""


def test_a_unix_socket_that_was_replaced(tmp_path: Path) -> None:
    """The kernel still lists the former socket under the same path."""
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as former:
        former.bind(path)
        former.listen()
        with subprocess.Popen(
            [sys.executable, "-c", _REPLACES, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()
            sockets = Sockets()
            (found,) = sockets.at({"socket": path})
            assert sockets.holders(found) == [process.pid]
            assert answers({"socket": path})
            assert process.stdin is not None
            process.stdin.close()


def test_nothing_answers_on_a_closed_port() -> None:
    with listening("127.0.0.1") as server:
        port = server.getsockname()[1]
        assert answers({"host": "127.0.0.1", "port": port})
    assert not answers({"host": "127.0.0.1", "port": port})


V2 = "0::/system.slice/chat.service/workers\n"
LEGACY = "5:memory:/x\n1:name=systemd:/system.slice/chat.service\n"
BOTH = "1:name=systemd:/system.slice/chat.service\n0::/system.slice/chat.service\n"


@pytest.mark.parametrize("text", [V2, LEGACY, BOTH])
def test_the_cgroup_of_every_version(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups, "read_text", lambda _: text)
    assert is_in(cgroup_of(7), "/system.slice/chat.service")
    assert not is_in(cgroup_of(7), "/system.slice/chat")
    assert not is_in(cgroup_of(7), "")


@pytest.mark.parametrize(
    ("path", "unit"),
    [
        ("/system.slice/chat.service", "chat.service"),
        ("/system.slice/chat.service/worker.service", "chat.service"),
        (
            "/user.slice/user-1000.slice/user@1000.service/app.slice/chat.service",
            "user@1000.service",
        ),
        ("/user.slice/user-0.slice/session-3.scope", "session-3.scope"),
        ("/init.scope", "init.scope"),
        ("/", ""),
    ],
)
def test_the_unit_is_the_first_in_the_path(path: str, unit: str) -> None:
    """A user's own chat.service is not the system's."""
    assert unit_in(path) == unit


def test_the_own_service_of_a_user() -> None:
    top = "/user.slice/user-1000.slice/user@1000.service"
    assert place_in(f"{top}/app.slice/chat.service") == "chat.service of user@1000.service"
    assert place_in(f"{top}/init.scope") == "user@1000.service"
    assert place_in("/system.slice/chat.service") == "chat.service"


def test_where_a_socket_is_bound(tmp_path: Path) -> None:
    path = str(tmp_path / "s")
    with listening("127.0.0.1") as server, socket.socket(socket.AF_UNIX) as local:
        local.bind(path)
        local.listen()
        port = server.getsockname()[1]
        sockets = Sockets()
        (tcp,), (unix,) = sockets.at({"port": port}), sockets.at({"socket": path})
        assert (sockets.address(tcp), sockets.address(unix)) == (f"127.0.0.1:{port}", path)


def test_the_unit_within_a_container(monkeypatch: pytest.MonkeyPatch) -> None:
    around = "/system.slice/lxc.service/web1"
    monkeypatch.setattr(cgroups, "cgroup_of", lambda _: f"{around}/init.scope")
    assert unit_in(f"{around}/system.slice/chat.service") == "chat.service"
