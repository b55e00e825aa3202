"""What two sides of a WebSocket say to each other comes through as it is."""

from __future__ import annotations

import pytest
from websockets.exceptions import ConnectionClosed

from tests.integration.conformance.world import World, echoed
from tests.support.waiting import PATIENCE_S

pytestmark = pytest.mark.lab


@pytest.mark.every_release
@pytest.mark.parametrize("path", ["/ws", "/ws/deep", "/secure", "/pair"])
def test_large_messages(world: World, path: str) -> None:
    message = bytes(range(256)) * 4096 * 8
    with world.open(path) as connection:
        echoed(connection)
        connection.send(message)
        assert connection.recv(timeout=PATIENCE_S) == message


@pytest.mark.every_release
def test_subprotocols(world: World) -> None:
    with world.open("/ws", subprotocols=["v1.chat", "v2.chat"]) as connection:
        assert connection.subprotocol == "v2.chat"
        assert echoed(connection).header("Sec-WebSocket-Protocol") == ["v1.chat, v2.chat"]
    with world.open("/ws", subprotocols=["v1.chat"]) as connection:
        assert connection.subprotocol is None


@pytest.mark.every_release
def test_permessage_deflate(world: World) -> None:
    with world.open("/ws", compression=True) as connection:
        assert connection.is_compressed
        echoed(connection)
        for message in ("hello " * 20_000, "again " * 20_000):
            connection.send(message)
            assert connection.recv() == message
    with world.open("/ws") as connection:
        assert not connection.is_compressed
        assert echoed(connection).header("Sec-WebSocket-Extensions") == []


@pytest.mark.every_release
def test_many_small_messages(world: World) -> None:
    with world.open("/ws") as connection:
        echoed(connection)
        for number in range(500):
            connection.send(str(number))
        assert [connection.recv() for _ in range(500)] == [str(number) for number in range(500)]


def test_close_codes(world: World) -> None:
    with world.open("/ws") as connection:
        echoed(connection)
        connection.close(4001, "as agreed")
        with pytest.raises(ConnectionClosed) as closed:
            connection.recv()
    assert closed.value.rcvd
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4001, "as agreed")


@pytest.mark.every_release
def test_many_at_once(world: World) -> None:
    connections = [world.open("/ws") for _ in range(50)]
    for connection in connections:
        echoed(connection)
    for number, connection in enumerate(connections):
        connection.send(f"number {number}")
    for number, connection in enumerate(connections):
        with connection:
            assert connection.recv() == f"number {number}"
