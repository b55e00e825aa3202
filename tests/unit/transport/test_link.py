"""The link, over a local child; tests/integration has the same over SSH."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deployer.commit.heartbeat import heartbeat
from deployer.errors import AgentError, HostError, UnreachableError
from deployer.model import Host
from deployer.transport import ConnectOptions, Link, framing
from deployer.transport.connecting import connect
from tests.support.transport.scripted import archive, scripted
from tests.support.waiting import PATIENCE_S, at_most, until

_HOST = Host(name="here", hostname="here", vars={"ansible_connection": "local"})


def started(folder: Path, *, silence_timeout_s: float = PATIENCE_S) -> Link:
    bootstrap = scripted(folder / "state/cache")
    options = ConnectOptions(connect_timeout_s=PATIENCE_S, silence_timeout_s=silence_timeout_s)
    return connect(_HOST, options, bootstrap=bootstrap)


def ended(link: Link) -> None:
    link.close()
    assert link.process.wait(lambda: link.process.has_ended, PATIENCE_S)
    link.process.errors(wait_s=PATIENCE_S)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Link]:
    """A link for the tests that leave it whole."""
    link = started(tmp_path_factory.mktemp("shared"))
    yield link
    ended(link)


@pytest.fixture
def link(tmp_path: Path) -> Iterator[Link]:
    link = started(tmp_path)
    yield link
    ended(link)


def test_a_request_is_answered(shared: Link) -> None:
    assert shared.hello["uid"] == os.getuid()
    assert shared.request("echo", text="grüß Gott") == {"said": "grüß Gott"}
    assert shared.request("source") == {"bytes": len(archive())}


def test_events_arrive_in_order_without_keepalives(shared: Link) -> None:
    events: list[Any] = []
    shared.request("count", to=5, on_event=events.append)
    assert [event["n"] for event in events] == [0, 1, 2, 3, 4]


def test_an_error_carries_the_code_and_the_details(shared: Link) -> None:
    with pytest.raises(AgentError) as caught:
        shared.request("refuse", doing="applying")
    assert (caught.value.code, caught.value.problem) == ("locked", "no")
    assert caught.value.details == {"holder": "me"}
    assert caught.value.doing == "applying"


def test_a_request_may_have_a_time_limit_of_its_own(shared: Link) -> None:
    with pytest.raises(UnreachableError, match=r"not done within 0\.01 s"):
        shared.request("work", seconds=0.5, timeout_s=0.01)
    assert shared.request("echo", text="next") == {"said": "next"}


def test_what_is_too_large_is_not_sent(shared: Link, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deployer.transport.framing.MAX_MESSAGE_BYTES", 1 << 10)
    with pytest.raises(HostError, match="at most 64 are possible\nNothing was changed"):
        shared.request("echo", text="x" * (1 << 10), doing="applying")
    assert shared.request("echo", text="next") == {"said": "next"}


def test_refused_connections(shared: Link, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        shared.open_stream(socket=str(tmp_path / "none"), timeout_s=PATIENCE_S)


def test_a_silent_agent_times_out(tmp_path: Path) -> None:
    link = started(tmp_path, silence_timeout_s=0.2)
    began = time.monotonic()
    with pytest.raises(UnreachableError, match=r"not responded for 0\.2 s while applying"):
        link.request("hang", doing="applying")
    assert time.monotonic() - began < at_most(1)
    ended(link)


def test_the_end_of_the_agent_is_reported_with_its_last_output(link: Link) -> None:
    with pytest.raises(UnreachableError, match=r"exit status 3\) while applying") as caught:
        link.request("die", doing="applying")
    assert "out of luck" in str(caught.value)


def test_closing_is_quick_and_may_be_repeated(link: Link) -> None:
    began = time.monotonic()
    link.close()
    link.close()
    assert time.monotonic() - began < at_most(0.1)
    with pytest.raises(UnreachableError, match="is closed"):
        link.request("echo", text="")


# --- messages ------------------------------------------------------------------------------------


def test_messages_survive_being_cut_anywhere() -> None:
    sent = [{"a": "ü" * 10}, {}, {"id": 1}]
    data = b"".join(framing.encode(message) for message in sent)
    for size in (1, 3, 7, len(data)):
        decoder = framing.Decoder()
        pieces = [data[at : at + size] for at in range(0, len(data), size)]
        assert [message for piece in pieces for message in decoder.feed(piece)] == sent
        assert decoder.pending == b""


@pytest.mark.parametrize("data", [b"Welcome!", b"\0\0\0\2[]", b"\0\0\0\3{a}", b"\xff" * 4])
def test_what_is_no_message_is_refused(data: bytes) -> None:
    with pytest.raises(framing.FramingError):
        list(framing.Decoder().feed(data))


def test_the_empty_message_is_ready() -> None:
    assert framing.encode({}) == framing.READY


# --- what it costs -------------------------------------------------------------------------------


def test_the_import_is_light() -> None:
    code = (
        "import sys; import deployer.transport;"
        "print([name for name in ('paramiko', 'fabric', 'invoke', 'cryptography', 'yaml',"
        " 'asyncio', 'logging', 'unittest') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_fabric_is_whole_after_the_quick_import() -> None:
    code = (
        "from deployer.transport import preload; preload(); preload()\n"
        "import sys; assert 'unittest.mock' not in sys.modules\n"
        "import invoke, unittest.mock\n"
        "assert invoke.context.MockContext(run=invoke.Result('x')).run('y').stdout == 'x'\n"
        "assert unittest.mock.Mock().method() is not None\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def test_messages_without_a_reply_are_sent_while_the_connection_is_open(link: Link) -> None:
    assert link.tell({"extend": "c1"})
    assert link.request("extended") == {"commits": ["c1"]}
    link.close()
    assert not link.tell({"extend": "c1"})


def test_a_heart_beats_several_times_within_the_time_to_confirm(link: Link) -> None:
    def beats() -> list[str]:
        found: list[str] = link.request("extended")["commits"]
        return found

    with heartbeat(link, "c1", rollback_duration_s=0.3):
        until(lambda: len(beats()) >= 3)
    assert set(beats()) == {"c1"}
