"""Runs that are cut off in the middle, with real signals, and what is left on the host then."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from deployer.lab.host import LabHost
from tests.support.runs import Ran
from tests.support.waiting import PATIENCE_S, until

#: Writes a file, and then waits until the test lets it go on.
SLOW = """- hosts: all
  tasks:
    - copy: {dest: /etc/first, content: x}
    - command:
        argv: [sh, -c, 'touch /run/under-way; until rm /run/go; do sleep 0.1; done']
        creates: /etc/never
"""


@contextmanager
def under_way(host: LabHost, *options: str) -> Iterator[subprocess.Popen[str]]:
    """An apply that has changed something and goes on for long."""
    until(lambda: is_over(host))
    host.sh("rm -f /run/under-way /run/go")
    process = subprocess.Popen(
        [sys.executable, "-m", "deployer", "apply", "site.yml", "--yes", "--json", *options],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        until(lambda: host.sh("ls /run/under-way", check=False) != "")
        yield process
    finally:
        process.kill()
        process.communicate()


def is_settled(host: LabHost) -> bool:
    """Whether no commit is pending, and none is being reverted."""
    return host.sh("cd /var/lib/deployer; ls -d pending reverting 2>/dev/null", check=False) == ""


def is_free(host: LabHost) -> bool:
    """Whether the lock is free."""
    lock = "/var/lib/deployer/lock"
    words = f"test -e {lock} && ! flock --nonblock {lock} true && echo taken"
    return host.sh(words, check=False) == ""


def is_over(host: LabHost) -> bool:
    """Whether nothing of a commit is under way, its watchdog included."""
    return is_settled(host) and is_free(host)


def let_go(host: LabHost) -> None:
    """Let the apply that is under way go on."""
    host.sh("touch /run/go")


def kill_runner(host: LabHost) -> None:
    """SIGKILL to the process that has the lock."""
    holder = json.loads(host.sh("cat /var/lib/deployer/lock"))
    host.exec(["kill", "-KILL", str(holder["pid"])])


def cut_off(host: LabHost, *options: str) -> None:
    """An apply whose controller and runner are both killed: its commit is left pending."""
    with under_way(host, *options) as process:
        process.send_signal(signal.SIGSTOP)  # or it would ask what became of its commit
        kill_runner(host)
    assert not is_settled(host)


def ended(process: subprocess.Popen[str], timeout_s: float = PATIENCE_S) -> Ran:
    """How a run comes out."""
    out, err = process.communicate(timeout=timeout_s)
    assert "Traceback" not in err
    return Ran(process.returncode, out, err)
