"""The agent's look at proxies: what is there in place of a file, and who runs what."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from deployer.agent.children import Children
from deployer.agent.files import read_text
from deployer.agent.proxies import inspect as inspection
from deployer.agent.proxies.files import FileReader, Hurry, NotAFileError, beginning, opened

_LIMIT_S = 120


@pytest.fixture(autouse=True)
def _in_time() -> object:
    """What hangs fails, instead of the whole run."""

    def late(number: int, frame: object) -> None:
        raise AssertionError("it hangs")

    signal.signal(signal.SIGALRM, late)
    signal.alarm(_LIMIT_S)
    yield
    signal.alarm(0)


@pytest.fixture
def children() -> Hurry:
    return Hurry(Children(threading.Event().is_set), _LIMIT_S)


def test_pipes_and_devices_are_not_waited_for(tmp_path: Path, children: Hurry) -> None:
    pipe, log = tmp_path / "pipe", tmp_path / "log"
    os.mkfifo(pipe)
    log.write_text("a line\n")
    with pytest.raises(NotAFileError):
        opened(str(pipe))
    reader = FileReader()
    found = reader.read_all([str(pipe), "/dev/zero", str(tmp_path), str(log)])
    assert [each["text"] for each in found] == ["a line\n"]
    assert beginning(str(pipe)) == beginning(str(tmp_path / "nothing")) == ""
    notes: list[str] = []
    logs = [str(pipe), "/dev/stderr", str(tmp_path / "nothing"), str(log)]
    assert inspection._log(children, "no-such-unit", logs, notes)[-1] == "a line"
    assert notes == []


def test_all_files_together_are_bounded(tmp_path: Path) -> None:
    size = 1 << 20
    paths = []
    for number in range(8):
        paths.append(str(tmp_path / f"{number}.conf"))
        Path(paths[-1]).write_bytes(b"#" * size)
    reader = FileReader()
    found = reader.read_all(paths)
    assert sum(len(each["text"]) for each in found) <= 6 * size
    assert len(found) + len(reader.notes) == len(paths)
    assert reader.notes[-1].startswith(f"{paths[-1]} was not read: 1048576 bytes")


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_what_another_user_calls_nginx_is_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who may not become root would otherwise have root run a program of theirs."""
    program, ran = tmp_path / "nginx", tmp_path / "ran"
    script = (
        "import os, socket, sys\n"
        "held = socket.create_server(('127.0.0.1', 0))\n"
        "open('/proc/self/comm', 'w').write('nginx')\n"
        "os.setgid(65534), os.setuid(65534)\n"
        "print('there', flush=True)\n"
        "sys.stdin.read()\n"
    )
    program.write_text(f"#!/bin/sh\ntouch {ran}\n")
    program.chmod(0o755)
    with subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as stranger:
        assert stranger.stdout is not None
        assert stranger.stdout.readline() == b"there\n"
        assert read_text(f"/proc/{stranger.pid}/comm").strip() == "nginx"
        assert not inspection._is_trusted(stranger.pid)
        asked: list[tuple[str, int]] = []

        class Asked:
            PROGRAMS = (str(program),)

            @staticmethod
            def ask(children: Hurry, program: str, main: int, reader: FileReader) -> object:
                asked.append((program, main))
                empty = {"version": "", "config": [], "dump": "", "logs": []}
                return {**empty, "test_ok": None, "test_output": ""}

            @staticmethod
            def is_leaving(worker: object, main: int, title: str) -> bool:
                return False

        notes: list[str] = []
        monkeypatch.setitem(sys.modules, "deployer.agent.proxies.nginx.inspect", Asked)
        hurry = Hurry(Children(threading.Event().is_set), _LIMIT_S)
        nginx = inspection.PROXIES["nginx"]
        state = inspection._state_of(hurry, nginx, stranger.pid, FileReader(), notes)
        stranger.communicate(b"")
    assert asked == [(str(program), 0)], "neither its program nor its words"
    assert state is not None
    assert state["is_running"]
    words = "does not belong to root: its program was not run"
    assert notes == [f"the running nginx, process {stranger.pid}, {words}"]


def test_a_socket_is_no_file(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as line:
        line.bind(str(tmp_path / "socket"))
        assert FileReader().read(str(tmp_path / "socket")) is None
