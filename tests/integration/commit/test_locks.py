"""Two runs on one host at the same time: the second is stopped, or waits."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Timer
from typing import Any

import pytest

from deployer.lab.host import LabHost
from deployer.lab.lab import Lab
from tests.support.interrupted_runs import SLOW, ended, is_over, let_go, under_way
from tests.support.runs import Ran, deployer, differences, state_of, write_playbook
from tests.support.waiting import PATIENCE_S, until

pytestmark = pytest.mark.lab

#: The same, but it ends successfully.
GOOD = SLOW.replace("done']", "done; touch MADE']").replace("/etc/never", "MADE")


@pytest.fixture(scope="module")
def host(shared_lab: Lab) -> LabHost:
    return shared_lab.hosts[0]


@pytest.fixture
def busy(shared_lab: Lab, host: LabHost, workdir: Path) -> Iterator[Any]:
    """A host on which an apply runs, which succeeds when it is released."""
    write_playbook(workdir, GOOD.replace("MADE", f"/etc/made-{workdir.name}"), shared_lab)
    with under_way(host) as process:
        yield process


@pytest.mark.usefixtures("busy")
@pytest.mark.parametrize("command", ["apply", "rollback", "reload", "recover"])
def test_the_second_run_is_stopped_at_once(command: str, host: LabHost) -> None:
    before = state_of(host)
    options = [] if command == "recover" else ["--yes"]
    ran = deployer(command, "site.yml", *options, "--json")
    assert ran.code == ran.document["exit_code"] == 3, ran
    report = ran.document["hosts"]["web1"]
    assert report["state"] == "failed"
    for words in (
        " holds the lock of this host, since 20",
        "second",
        "--lock-timeout",
        "`deployer history site.yml`",
    ):
        assert words in report["message"], ran
    lock = report["found"]["lock"]
    assert (set(lock), lock["since"][:2]) == ({"who", "from", "since"}, "20")
    assert "plan" not in report
    assert differences(before, state_of(host)) == {}


@pytest.mark.usefixtures("busy")
def test_a_plan_continues_with_a_note() -> None:
    ran = deployer("plan", "site.yml")
    assert ran.code == 0, ran
    assert "holds the lock of this host" in ran.out
    assert "its state may change" in ran.out


class OnTerminal:
    """An apply that waits for the lock, on a terminal, where it shows that it waits."""

    def __init__(self, *options: str) -> None:
        self._ours, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "deployer", "apply", "site.yml", "-y", *options],
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=theirs,
            env={**os.environ, "COLUMNS": "200", "TERM": "xterm"},
        )
        os.close(theirs)
        self._shown = b""

    def wait_for(self, words: str) -> None:
        """Return as soon as it shows `words`."""
        while words.encode() not in self._shown:
            assert self._read(), self._shown.decode()

    def ended(self) -> Ran:
        while self._read():
            pass
        os.close(self._ours)
        return Ran(self.process.wait(PATIENCE_S), self._shown.decode(), "")

    def _read(self) -> bool:
        try:
            data = os.read(self._ours, 4096)
        except OSError:  # nothing has the terminal open any more
            return False
        self._shown += data
        return data != b""


def test_a_waiting_run_continues_with_the_new_state(busy: Any, host: LabHost) -> None:
    """The other run makes all the changes."""
    waiting = OnTerminal("--lock-timeout", "600")
    waiting.wait_for("waiting for ")
    let_go(host)
    assert ended(busy).code == 0
    ran = waiting.ended()
    assert ran.code == 0, ran
    assert "nothing to do" in ran.out


@pytest.mark.usefixtures("busy")
def test_a_run_that_waits_too_long() -> None:
    began = time.monotonic()
    ran = deployer("apply", "site.yml", "-y", "--lock-timeout", "1.5", "--json")
    assert ran.code == 3, ran
    assert time.monotonic() - began >= 1.5
    message = ran.document["hosts"]["web1"]["message"]
    assert "still holds the lock of this host" in message
    assert "waited 1.5 s" in message


@pytest.mark.usefixtures("busy")
def test_ctrl_c_ends_the_waiting() -> None:
    waiting = OnTerminal("--lock-timeout", "600")
    waiting.wait_for("waiting for ")
    waiting.process.send_signal(signal.SIGINT)
    ran = waiting.ended()
    assert ran.code == 3, ran
    assert "interrupted while waiting" in ran.out
    assert "nothing was changed" in ran.out


def test_someone_begins_while_the_plan_is_looked_at(
    shared_lab: Lab, host: LabHost, workdir: Path
) -> None:
    """The lock is taken between plan and apply: the message is the same."""
    until(lambda: is_over(host))
    write_playbook(workdir, SLOW, shared_lab)
    ours, theirs = pty.openpty()
    asked = subprocess.Popen(
        [sys.executable, "-m", "deployer", "apply", "site.yml"],
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert asked.stderr is not None
        assert asked.stdout is not None
        read = b""
        watch = Timer(PATIENCE_S, asked.kill)
        watch.start()
        while b"[y/N]" not in read:
            more = os.read(asked.stderr.fileno(), 1000)
            assert more, read
            read += more
        watch.cancel()
        with under_way(host):
            os.write(ours, b"y\n")
            ran = ended(asked)
        assert ran.code == 3, ran
        assert " holds the lock of this host, since 20" in ran.out
        assert "--lock-timeout" in ran.out
    finally:
        asked.kill()
        os.close(ours)
        os.close(theirs)
    until(lambda: "pending" not in host.sh("ls /var/lib/deployer"))
