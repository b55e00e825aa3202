"""The link, over a real SSH server in this process, and over a local child."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import paramiko
import pytest

from deployer.errors import (
    AgentError,
    AuthenticationError,
    DeployerError,
    HostKeyError,
    UnreachableError,
)
from deployer.model import Host
from deployer.transport import ConnectOptions, Link, Stream, ssh_config
from deployer.transport.connecting import connect
from tests.support.transport.scripted import archive, scripted
from tests.support.transport.ssh_server import SshServer, echo_server, key
from tests.support.waiting import PATIENCE_S, at_most, stretched, until

_OPTIONS = ConnectOptions(connect_timeout_s=PATIENCE_S, silence_timeout_s=PATIENCE_S)
_IMPATIENT = ConnectOptions(connect_timeout_s=0.15, silence_timeout_s=0.2)

Links = Callable[..., Link]
Servers = Callable[..., SshServer]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without an SSH config and without an agent."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    ssh_config.forget()
    folder = tmp_path / ".ssh"
    folder.mkdir()
    key().write_private_key_file(str(folder / "id_ecdsa"))
    return tmp_path


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Servers]:
    started: list[SshServer] = []

    def start(**options: Any) -> SshServer:
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        python = folder / "python3"
        if not python.exists():
            python.symlink_to(sys.executable)
        server = SshServer(folder, **options)
        started.append(server)
        known = tmp_path / ".ssh/known_hosts"
        with known.open("a") as file:
            file.write(f"[127.0.0.1]:{server.port} {key().get_name()} {key().get_base64()}\n")
        return server

    yield start
    for server in started:
        server.close()


@pytest.fixture
def links(tmp_path: Path) -> Iterator[Links]:
    made: list[Link] = []
    bootstrap = scripted(tmp_path / "state/cache")

    def link(server: SshServer | None, options: ConnectOptions = _OPTIONS, **given: Any) -> Link:
        if server is None:
            host = Host(name="here", hostname="here", vars={"ansible_connection": "local"})
        else:
            host = Host(name="web1", hostname="127.0.0.1", port=server.port, user="me", vars=given)
        made.append(connect(host, options, bootstrap=bootstrap))
        return made[-1]

    yield link
    for one in made:
        one.close()
        assert one.process.wait(lambda one=one: one.process.has_ended, PATIENCE_S)  # type: ignore[misc]
        one.process.errors(wait_s=PATIENCE_S)


@pytest.fixture(params=["ssh", "local"])
def link(request: pytest.FixtureRequest, servers: Servers, links: Links) -> Link:
    """A link of either kind."""
    return links(servers() if request.param == "ssh" else None)


# --- requests -------------------------------------------------------------------------------------


def test_a_request_is_answered(link: Link) -> None:
    assert link.hello["uid"] == os.getuid()
    assert link.request("echo", text="grüß Gott") == {"said": "grüß Gott"}
    assert link.request("source") == {"bytes": len(archive())}


def test_a_large_request_and_its_large_reply(link: Link) -> None:
    text = "x" * 3_000_000
    assert link.request("echo", text=text) == {"said": text}


def test_events_arrive_in_order_without_keepalives(link: Link) -> None:
    events: list[Any] = []
    link.request("count", to=5, on_event=events.append)
    assert [event["n"] for event in events] == [0, 1, 2, 3, 4]


def test_an_error_carries_the_code_and_the_details(link: Link) -> None:
    with pytest.raises(AgentError) as caught:
        link.request("refuse", doing="applying")
    assert (caught.value.code, caught.value.problem) == ("locked", "no")
    assert caught.value.details == {"holder": "me"}
    assert caught.value.doing == "applying"
    assert link.request("echo", text="still here")


def test_much_standard_error_stops_nothing(link: Link) -> None:
    link.request("chatter", bytes=3_000_000)
    assert link.request("echo", text="ok") == {"said": "ok"}


def test_only_one_connection_and_one_command(servers: Servers, links: Links) -> None:
    server = servers()
    link = links(server)
    link.request("echo", text="")
    assert server.connections == 1
    assert len(server.commands) == 1
    assert len(server.commands[0]) < 120
    assert len(server.logins) == 1


# --- silence --------------------------------------------------------------------------------------


def test_a_silent_agent_times_out(servers: Servers, links: Links) -> None:
    for server in (servers(), None):
        link = links(server, ConnectOptions(connect_timeout_s=PATIENCE_S, silence_timeout_s=0.2))
        began = time.monotonic()
        with pytest.raises(UnreachableError, match=r"not responded for 0\.2 s while applying"):
            link.request("hang", doing="applying")
        assert time.monotonic() - began < at_most(1)
        with pytest.raises(UnreachableError):
            link.request("echo", text="")


def test_an_agent_that_works_for_long_is_not_silent(servers: Servers, links: Links) -> None:
    silence_s = stretched(0.5)
    options = ConnectOptions(connect_timeout_s=PATIENCE_S, silence_timeout_s=silence_s)
    link = links(servers(), options)
    assert link.request("work", seconds=2 * silence_s) == {"done": True}


def test_a_request_may_have_a_time_limit_of_its_own(link: Link) -> None:
    with pytest.raises(UnreachableError, match=r"not done within 0\.05 s"):
        link.request("work", seconds=1.0, timeout_s=0.05)
    assert link.request("echo", text="next") == {"said": "next"}


def test_the_end_of_the_agent_is_reported_with_its_last_output(link: Link) -> None:
    with pytest.raises(UnreachableError, match=r"exit status 3\) while applying") as caught:
        link.request("die", doing="applying")
    assert "out of luck" in str(caught.value)


def test_garbage_is_an_error_and_not_a_hang(link: Link) -> None:
    with pytest.raises(UnreachableError, match="Segmentation fault"):
        link.request("garble")


def test_a_connection_that_breaks(servers: Servers, links: Links) -> None:
    server = servers()
    link = links(server)
    with echo_server() as (port, _):
        stream = link.open_stream(host="127.0.0.1", port=port, timeout_s=PATIENCE_S)
        threading.Timer(0.05, server.close).start()
        with pytest.raises(UnreachableError, match="broke while applying"):
            link.request("hang", doing="applying")
        stream.settimeout(PATIENCE_S)
        with pytest.raises(ConnectionResetError, match="broken"):
            stream.recv(1)


@pytest.mark.parametrize("where", ["banner", "login", "exec"])
def test_a_server_that_stalls(servers: Servers, links: Links, where: str) -> None:
    server = servers(stalls_at=where)
    began = time.monotonic()
    with pytest.raises(UnreachableError, match=r"web1: .* (did not|does not|sends no) .* while"):
        links(server, _IMPATIENT)
    assert time.monotonic() - began < at_most(1.5)


def test_closing_is_quick_and_may_be_repeated(link: Link) -> None:
    began = time.monotonic()
    link.close()
    link.close()
    assert time.monotonic() - began < at_most(0.1)
    with pytest.raises(UnreachableError, match="is closed"):
        link.request("echo", text="")


# --- the start ------------------------------------------------------------------------------------


def kept_in(folder: Path, *, without: int = 0) -> Path:
    """The one file of the cache, once it is written; not the one with the inode `without`."""
    found: list[Path] = []

    def is_complete() -> bool:
        found[:] = folder.glob("agent-*") if folder.exists() else []
        return len(found) == 1 and not found[0].suffix and found[0].stat().st_ino != without

    until(is_complete)
    return found[0]


@pytest.mark.skipif(os.getuid() != 0, reason="only root's compiled agent is kept")
def test_the_compiled_agent_is_kept_and_used(
    servers: Servers, links: Links, tmp_path: Path
) -> None:
    server = servers()
    links(server)
    kept = kept_in(tmp_path / "state/cache")
    before = kept.stat()
    links(server)
    assert kept.stat().st_ino == before.st_ino
    kept.write_bytes(kept.read_bytes()[:-1])
    assert links(server).request("source") == {"bytes": len(archive())}
    assert kept_in(tmp_path / "state/cache", without=before.st_ino).stat().st_ino != before.st_ino


def program(folder: Path, text: str) -> None:
    """Put a shell script in the place of python3 on the server."""
    (folder / "python3").unlink(missing_ok=True)
    (folder / "python3").write_text(f"#!/bin/sh\n{text}\n")
    (folder / "python3").chmod(0o755)


def test_output_before_the_agent_starts_is_quoted(servers: Servers, links: Links) -> None:
    for text in ("Welcome to this machine!", "hi"):
        server = servers()
        program(server.folder, f"echo '{text}'; exec sleep 60")
        with pytest.raises(UnreachableError, match=text) as caught:
            links(server, ConnectOptions(connect_timeout_s=stretched(0.6)))
        assert "bashrc" in str(caught.value)


def test_a_host_without_python(servers: Servers, links: Links) -> None:
    server = servers()
    program(server.folder, "echo 'sh: 1: exec: python3: not found' >&2; exit 127")
    with pytest.raises(UnreachableError, match="the host has no python3") as caught:
        links(server)
    assert "--install-python" in str(caught.value)


def test_a_host_with_half_a_python(servers: Servers, links: Links) -> None:
    server = servers()
    program(server.folder, "echo \"ModuleNotFoundError: No module named 'json'\" >&2; exit 1")
    with pytest.raises(UnreachableError, match="No module named 'json'") as caught:
        links(server)
    assert "--install-python" in str(caught.value)


def sudo(folder: Path, text: str) -> None:
    """Put a sudo on the server that does as the real one would."""
    (folder / "sudo").write_text(f"#!/bin/sh\n{text}\n")
    (folder / "sudo").chmod(0o755)


_ASKING = """\
[ "$1" = -S ] || { echo 'sudo: a password is required' >&2; exit 1; }
for try in 1 2 3; do
    printf %s "$3" >&2
    read -r answer
    [ "$answer" = "open sesame" ] && { shift 4; exec "$@"; }
    echo 'Sorry, try again.' >&2
done
exit 1
"""
#: The same with the dialogue of sudo-rs, which Ubuntu has since 25.10.
_ASKING_IN_RUST = """\
[ "$1" = -S ] || { echo 'sudo: interactive authentication is required' >&2; exit 1; }
for try in 1 2 3; do
    printf '[sudo: %s] Password: ' "$3" >&2
    read -r answer
    [ "$answer" = "open sesame" ] && { shift 4; exec "$@"; }
    [ "$try" = 3 ] || echo 'sudo: Authentication failed, try again.' >&2
done
echo 'sudo: maximum 3 incorrect authentication attempts' >&2
exit 1
"""


@pytest.mark.parametrize("asking", [_ASKING, _ASKING_IN_RUST], ids=["sudo", "sudo-rs"])
def test_sudo_gets_the_password_when_it_asks(servers: Servers, links: Links, asking: str) -> None:
    server = servers()
    sudo(server.folder, asking)
    link = links(
        server,
        ConnectOptions(become=True, become_password="open sesame", connect_timeout_s=PATIENCE_S),
    )
    assert link.request("echo", text="ok") == {"said": "ok"}
    assert "open sesame" not in server.commands[0]


_NO_HAL = "I'm sorry me. I'm afraid I can't do that"
_LOCKED = "account validation failure"


@pytest.mark.parametrize(
    ("password", "script", "words"),
    [
        ("wrong", _ASKING, "sudo rejects the password of me"),
        (None, _ASKING, "sudo asks for the password of me while becoming root\nGive it with -K"),
        ("wrong", _ASKING_IN_RUST, "sudo rejects the password of me"),
        (None, _ASKING_IN_RUST, "sudo asks for the password of me while .*\nGive it with -K"),
        ("x", f'echo "sudo: {_NO_HAL}" >&2; exit 1', "me may not become root with sudo"),
        ("x", f'printf "[sudo: $3] Password: sudo: {_LOCKED}" >&2; exit 1', f": {_LOCKED} while"),
        ("x", "echo 'me is not in the sudoers file.' >&2; exit 1", "me may not become root"),
        ("x", "echo 'env: sudo: No such file or directory' >&2; exit 127", "there is no sudo"),
        (None, "echo 'sudo: sorry, you must have a tty to run sudo' >&2; exit 1", "requiretty"),
    ],
)
def test_sudo_refuses(
    servers: Servers, links: Links, password: str | None, script: str, words: str
) -> None:
    server = servers()
    sudo(server.folder, script)
    options = ConnectOptions(become=True, become_password=password, connect_timeout_s=PATIENCE_S)
    with pytest.raises(AuthenticationError, match=words):
        links(server, options)
    assert repr(options).count("password") == 0


def test_a_sudo_that_neither_prompts_nor_starts(servers: Servers, links: Links) -> None:
    server = servers()
    sudo(server.folder, "echo 'Touch your token' >&2; exec sleep 60")
    options = ConnectOptions(become=True, become_password="x", connect_timeout_s=stretched(0.6))
    with pytest.raises(UnreachableError, match="Touch your token while becoming root"):
        links(server, options)


# --- keys -----------------------------------------------------------------------------------------


def test_unknown_and_changed_host_keys(servers: Servers, links: Links, home: Path) -> None:
    server = servers()
    known = home / ".ssh/known_hosts"
    good = known.read_text()
    known.write_text("")
    with pytest.raises(HostKeyError, match="is not known") as caught:
        links(server)
    assert f"[127.0.0.1]:{server.port}" in str(caught.value)
    assert f"ssh-keyscan -p {server.port} 127.0.0.1" in str(caught.value)
    assert server.logins == [], "no login with an unknown key"

    links(server, ConnectOptions(accept_new=True, connect_timeout_s=PATIENCE_S))
    assert known.read_text() == good

    other = paramiko.ECDSAKey.generate()
    known.write_text(good.replace(key().get_base64(), other.get_base64()))
    logins = len(server.logins)
    with pytest.raises(HostKeyError, match="has changed") as caught:
        links(server, ConnectOptions(accept_new=True, connect_timeout_s=PATIENCE_S))
    assert other.fingerprint in str(caught.value)
    assert key().fingerprint in str(caught.value)
    assert f"{known}:1" in str(caught.value)
    assert len(server.logins) == logins

    known.write_text(good + f"@revoked * {key().get_name()} {key().get_base64()}\n")
    with pytest.raises(HostKeyError, match="revoked"):
        links(server)


def test_a_refused_key_and_then_a_password(servers: Servers, links: Links, home: Path) -> None:
    server = servers()
    own = home / ".ssh/id_ecdsa"
    own.unlink()
    paramiko.ECDSAKey.generate().write_private_key_file(str(own))
    with pytest.raises(AuthenticationError, match="rejects the login of me") as caught:
        links(server)
    assert f"key {own}: refused" in str(caught.value)
    assert links(server, ansible_password="open sesame").hello
    with pytest.raises(AuthenticationError, match="the password: refused"):
        links(server, ansible_password="close sesame")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "no such file"),
        ("nonsense", "not a private key"),
        ("locked", "encrypted, and not in ssh-agent"),
    ],
)
def test_key_files_that_cannot_be_used(
    servers: Servers, links: Links, tmp_path: Path, content: str | None, words: str
) -> None:
    path = tmp_path / "key"
    if content == "locked":
        key().write_private_key_file(str(path), password="secret")
    elif content is not None:
        path.write_text(content)
    with pytest.raises(AuthenticationError, match=words):
        links(servers(), ansible_ssh_private_key_file=str(path))


# --- streams --------------------------------------------------------------------------------------


@pytest.fixture(params=["forwarded", "relayed", "local"])
def dialling(request: pytest.FixtureRequest, servers: Servers, links: Links) -> Link:
    """A link with each method to open streams."""
    if request.param == "local":
        return links(None)
    return links(servers(forwards=request.param == "forwarded"))


def exchange(stream: Stream, text: bytes) -> bytes:
    stream.settimeout(PATIENCE_S)
    stream.sendall(text)
    received = b""
    while len(received) < len(text):
        data = stream.recv(65536)
        assert data
        received += data
    return received


def test_streams_carry_bytes_in_both_directions(dialling: Link) -> None:
    text = os.urandom(300_000)
    with echo_server() as (port, _):
        stream = dialling.open_stream(host="127.0.0.1", port=port, timeout_s=PATIENCE_S)
        assert exchange(stream, text) == text
        stream.settimeout(0.02)
        with pytest.raises(TimeoutError):
            stream.recv(1)
        stream.close()


def test_unix_sockets(dialling: Link, tmp_path: Path) -> None:
    with echo_server(tmp_path) as (_, path):
        stream = dialling.open_stream(socket=path, timeout_s=PATIENCE_S)
        assert exchange(stream, b"hello") == b"hello"
        stream.close()
    with pytest.raises(FileNotFoundError):
        dialling.open_stream(socket=str(tmp_path / "none"), timeout_s=PATIENCE_S)


def test_refused_connections(dialling: Link) -> None:
    with echo_server() as (port, _):
        pass
    with pytest.raises(ConnectionRefusedError):
        dialling.open_stream(host="127.0.0.1", port=port, timeout_s=PATIENCE_S)


def test_the_other_side_ends_a_stream(dialling: Link) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        stream = dialling.open_stream(host="127.0.0.1", port=port, timeout_s=PATIENCE_S)
        connection, _ = listener.accept()
        connection.sendall(b"bye")
        connection.close()
        stream.settimeout(PATIENCE_S)
        assert stream.recv(10) == b"bye"
        assert stream.recv(10) == b""
        assert stream.recv(10) == b""
        stream.close()


def test_streams_in_several_threads_during_a_request(dialling: Link) -> None:
    texts = [bytes([n]) * 100_000 for n in range(4)]
    with echo_server() as (port, _):
        streams = [
            dialling.open_stream(host="127.0.0.1", port=port, timeout_s=PATIENCE_S) for _ in texts
        ]
        received: dict[int, bytes | DeployerError] = {}

        def talk(n: int) -> None:
            received[n] = exchange(streams[n], texts[n])

        threads = [threading.Thread(target=talk, args=(n,)) for n in range(len(texts))]
        for thread in threads:
            thread.start()
        dialling.request("count", to=200)
        for thread in threads:
            thread.join(PATIENCE_S)
        assert [received[n] for n in range(len(texts))] == texts
        for stream in streams:
            stream.close()
