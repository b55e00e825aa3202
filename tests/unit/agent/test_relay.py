"""Bytes that an agent passes on to sockets of its host, and signs of life."""

from __future__ import annotations

import base64
import hashlib
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.agent.process import AgentProcess, AgentRefusal, local_agent
from tests.support.waiting import PATIENCE_S


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[AgentProcess]:
    running = local_agent(tmp_path, alive_every_s=0.05)
    yield running
    assert running.end() == 0


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(PATIENCE_S)
        yield server


def connected(
    agent: AgentProcess, listener: socket.socket, number: int
) -> tuple[int, socket.socket]:
    port = listener.getsockname()[1]
    assert agent.ask("connect", relay=number, host="127.0.0.1", port=port) == {"relay": number}
    connection, _ = listener.accept()
    connection.settimeout(PATIENCE_S)
    return number, connection


def put(agent: AgentProcess, number: int, data: bytes) -> None:
    agent.send({"relay": number, "data_b64": base64.b64encode(data).decode()})


def relayed(agent: AgentProcess, number: int, count: int) -> bytes:
    data = b""
    while len(data) < count:
        message = agent.receive()
        if message.get("relay") == number:
            data += base64.b64decode(message["data_b64"])
    return data


def read(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = connection.recv(1 << 16)
        assert more
        data += more
    return data


def test_several_relays_at_once(agent: AgentProcess, listener: socket.socket) -> None:
    first, one = connected(agent, listener, 1)
    second, two = connected(agent, listener, 2)
    with one, two:
        put(agent, second, b"to two")
        put(agent, first, b"to one")
        assert (read(one, 6), read(two, 6)) == (b"to one", b"to two")
        one.sendall(b"from one")
        assert relayed(agent, first, 8) == b"from one"
        assert agent.ask("history") == {"generations": []}, "requests go on meanwhile"
        two.sendall(b"from two")
        assert relayed(agent, second, 8) == b"from two"


def test_many_bytes_to_a_slow_reader(agent: AgentProcess, listener: socket.socket) -> None:
    number, connection = connected(agent, listener, 7)
    block = bytes(range(256)) * 256
    count = 80  # 5 MiB: more than the agent keeps, so that it has to stop reading

    def write() -> None:
        for _ in range(count):
            put(agent, number, block)

    writer = threading.Thread(target=write)
    writer.start()
    with connection:
        received = read(connection, count * len(block))
    writer.join(10)
    assert hashlib.sha256(received).digest() == hashlib.sha256(block * count).digest()


def test_many_bytes_from_the_host(agent: AgentProcess, listener: socket.socket) -> None:
    number, connection = connected(agent, listener, 7)
    block = bytes(range(256)) * 8192
    with connection:
        sender = threading.Thread(target=connection.sendall, args=(block,))
        sender.start()
        assert relayed(agent, number, len(block)) == block
        sender.join(10)


def test_the_service_closes(agent: AgentProcess, listener: socket.socket) -> None:
    number, connection = connected(agent, listener, 1)
    connection.sendall(b"bye")
    connection.close()
    assert relayed(agent, number, 3) == b"bye"
    assert agent.receive() == {"relay": number, "closed": True}


def test_the_controller_closes(agent: AgentProcess, listener: socket.socket) -> None:
    number, connection = connected(agent, listener, 1)
    put(agent, number, b"last words")
    agent.send({"relay": number, "closed": True})
    with connection:
        assert read(connection, 10) == b"last words"
        assert connection.recv(1) == b""
    assert agent.receive() == {"relay": number, "closed": True}
    connected(agent, listener, 1)[1].close()  # the number is free again


def test_a_unix_socket(agent: AgentProcess, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "app.sock"))
        server.listen()
        agent.ask("connect", relay=1, socket=str(tmp_path / "app.sock"))
        connection, _ = server.accept()
        with connection:
            connection.sendall(b"hello")
            assert relayed(agent, 1, 5) == b"hello"


def test_nothing_listens(agent: AgentProcess, listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    listener.close()
    with pytest.raises(AgentRefusal) as caught:
        agent.ask("connect", relay=1, host="127.0.0.1", port=port)
    assert caught.value.code == "connect-failed"
    assert str(caught.value.error["message"]) == (
        f"127.0.0.1 port {port} does not answer: Connection refused"
    )


def test_signs_of_life_during_long_work(agent: AgentProcess, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    script = f"while ! test -e {gate}; do sleep 0.01; done"
    asked = {"id": "command:x", "kind": "command", "name": "x"}
    number = agent.start("probe", resources=[{**asked, "query": {"unless": ["sh", "-c", script]}}])
    for _ in range(2):
        assert agent.receive() == {"id": number, "event": "alive"}
    gate.touch()
    assert agent.finish(number)["observations"][0]["attributes"] == {"done": True}


def test_a_hangup_does_not_end_the_agent(agent: AgentProcess) -> None:
    agent.process.send_signal(signal.SIGHUP)
    agent.process.send_signal(signal.SIGPIPE)
    assert agent.ask("history") == {"generations": []}
