"""What is reported when a program on the host does not become an agent."""

from __future__ import annotations

import time

import pytest

from deployer.model import Host
from deployer.transport.bootstrap import Bootstrap
from deployer.transport.command import Elevation
from deployer.transport.link import Link
from deployer.transport.refusal import NoPythonError
from deployer.transport.starting import start_agent
from tests.support.transport.scripted import archive
from tests.support.waiting import PATIENCE_S


class EndsUnseen:
    """The streams of a shell that has ended: writing fails before its end has been read."""

    def read(self, timeout_s: float) -> bytes | None:
        time.sleep(0.3)
        return b""

    def read_errors(self) -> bytes:
        time.sleep(0.3)
        text, self._text = self._text, b""
        return text

    _text = b"bash: line 1: exec: python3: not found\n"

    def write(self, data: bytes) -> None:
        raise OSError("Socket is closed")

    def exit_status(self, timeout_s: float) -> int | None:
        return 127

    def is_connected(self) -> bool:
        return True

    def close(self) -> None:
        pass


def test_a_program_that_ended_before_it_could_be_given_input_is_reported_by_its_output() -> None:
    host = Host(name="web1", hostname="web1")
    link = Link(host, EndsUnseen(), silence_timeout_s=PATIENCE_S, dial=lambda **_: None)
    elevation = Elevation(host="web1", user="root", method=None)
    with pytest.raises(NoPythonError, match="the host has no python3"):
        start_agent(link, Bootstrap("digest", archive), elevation=elevation, timeout_s=PATIENCE_S)
