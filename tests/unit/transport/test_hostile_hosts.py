"""Hosts that send anything: the link ends with one message, and no thread with a traceback."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Iterator
from queue import Empty, Queue

import pytest

from deployer.errors import HostError
from deployer.model import Host
from deployer.transport import Link, framing
from deployer.transport import link as link_module
from tests.support.waiting import PATIENCE_S

_HOST = Host(name="web1", hostname="web1")


class Replies:
    """A pipe to a host that sends `data` as soon as it is asked something."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._output: Queue[bytes] = Queue()

    def read(self, timeout_s: float) -> bytes | None:
        try:
            return self._output.get(timeout=timeout_s)
        except Empty:
            return None

    def read_errors(self) -> bytes:
        return b""

    def write(self, data: bytes) -> None:
        for start in range(0, len(self._data), 1 << 20):
            self._output.put(self._data[start : start + (1 << 20)])
        self._output.put(b"")

    def exit_status(self, timeout_s: float) -> int | None:
        return 1

    def is_connected(self) -> bool:
        return True

    def close(self) -> None:
        self._output.put(b"")


def frame(body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + body


def asked(data: bytes) -> HostError:
    """The error of a request that is answered with `data`."""
    pipe = Replies(data)
    link = Link(_HOST, pipe, silence_timeout_s=PATIENCE_S, dial=lambda **_: None)
    try:
        with pytest.raises(HostError) as caught:
            link.request("facts", timeout_s=PATIENCE_S)
        return caught.value
    finally:
        link.close()


@pytest.fixture(autouse=True)
def no_thread_fails(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    failed: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", failed.append)
    yield
    assert not failed


DEEP = b'{"id":1,"reply":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
BODIES = [
    DEEP,
    b"[" * 5_000_000,
    b'{"id": []}',
    b'{"id": {}, "reply": {}}',
    b'{"id": "1", "reply": {}}',
    b'{"id": 1.0, "reply": {}}',
    b'{"id": true, "reply": {}}',
    b'{"id": null}',
    b'{"relay": []}',
    b'{"relay": {"a": 1}, "data_b64": "x"}',
    b'{"id": 1, "reply": []}',
    b'{"id": 1, "reply": null}',
    b'{"id": 1, "error": "text"}',
    b'{"id": 1, "error": []}',
    b'{"id": 1, "error": {}}',
    b'{"id": 1, "error": {"code": [], "message": {}}}',
    b'{"id": 1, "reply": ' + b"9" * 10_000 + b"}",
    b'{"id": 1e999, "reply": {}}',
    b"[]",
    b"1",
    b'"text"',
    b"null",
    b"{",
    b"",
    b"\xff\xfe\x00",
    b'{"id": 1, "reply": NaN}',
]


@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
def test_a_message_that_cannot_be_used(body: bytes) -> None:
    error = asked(frame(body))
    assert "web1" in str(error)
    assert len(str(error)) < 1000


def test_a_huge_length() -> None:
    assert "not a message" in str(asked(b"\xff\xff\xff\xff" + b"x" * 100))


def test_more_messages_than_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_module, "_MAX_UNREAD", 1000)
    error = asked(frame(b"{}") * 2000)
    assert "more messages than can be read" in str(error)


def test_large_messages_that_are_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_module, "_MAX_UNREAD_BYTES", 1_000_000)
    text = json.dumps({"text": "x" * 100_000}).encode()
    assert "more messages than can be read" in str(asked(frame(text) * 20))


def test_any_bytes_end_in_one_error() -> None:
    """Valid messages with random damage, always the same ones."""
    chooser = random.Random(13)  # noqa: S311 - not for secrets
    valid = [
        framing.encode({"id": 1, "event": "alive"}),
        framing.encode({"id": 1, "reply": {"python": "3.11", "proxies": {}}}),
        framing.encode({"relay": 1, "data_b64": "AAAA"}),
        framing.encode({"hello": 1}),
    ]
    for _ in range(150):
        data = bytearray(b"".join(chooser.choices(valid, k=chooser.randint(1, 4))))
        for _ in range(chooser.randint(1, 6)):
            place = chooser.randrange(len(data))
            match chooser.randrange(3):
                case 0:
                    data[place] = chooser.randrange(256)
                case 1:
                    del data[place : place + chooser.randint(1, 5)]
                case 2:
                    data[place:place] = chooser.randbytes(chooser.randint(1, 5))
            data = data or bytearray(b"x")
        link = Link(
            _HOST, Replies(bytes(data)), silence_timeout_s=PATIENCE_S, dial=lambda **_: None
        )
        try:
            found = link.request("facts", timeout_s=PATIENCE_S)
        except HostError as error:
            found = {"error": str(error)}
        finally:
            link.close()
        assert isinstance(found, dict)
