"""Runs interrupted by real signals, and what they leave on the host."""

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

#: Writes a file and waits until the test releases it.
SLOW = """- hosts: all
  tasks:
    - copy: {dest: /etc/first, content: x}
    - command:
        argv: [sh, -c, 'touch /run/under-way; until rm /run/go; do sleep 0.1; done']
        creates: /etc/never
"""


@contextmanager
def under_way(host: LabHost, *options: str) -> Iterator[subprocess.Popen[str]]:
    """An apply that has changed something and keeps running."""
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
    """Whether no commit is in progress, including its watchdog."""
    return is_settled(host) and is_free(host)


def let_go(host: LabHost) -> None:
    """Release the running apply."""
    host.sh("touch /run/go")


def kill_agent(host: LabHost) -> None:
    """Send SIGKILL to the process that holds the lock."""
    holder = json.loads(host.sh("cat /var/lib/deployer/lock"))
    host.exec(["kill", "-KILL", str(holder["pid"])])


def cut_off(host: LabHost, *options: str) -> None:
    """An apply with controller and agent both killed: its commit is left pending."""
    with under_way(host, *options) as process:
        process.send_signal(signal.SIGSTOP)  # or it would ask what became of its commit
        kill_agent(host)
    assert not is_settled(host)


def ended(process: subprocess.Popen[str], timeout_s: float = PATIENCE_S) -> Ran:
    """The result of a run."""
    out, err = process.communicate(timeout=timeout_s)
    assert "Traceback" not in err
    return Ran(process.returncode, out, err)
