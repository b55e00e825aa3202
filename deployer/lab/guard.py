"""Take a lab down when the process that holds it ends, for whatever reason.

The holder has a lock on a file in the lab's folder. A shell waits for that lock; it gets the lock
when the kernel closes the holder's files, even after SIGKILL, and then cleans up.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path

import deployer

_LOCK = "held"
_WAIT_AND_SWEEP = 'trap "" INT TERM HUP; flock "$1" true && exec "$2" -c "$3"'
_SWEEP = "from deployer.lab.lab import sweep; sweep()"


@dataclass(frozen=True, slots=True)
class Hold:
    """This process's hold on a lab: a lock, and the guard process that waits for it."""

    lock: TextIOWrapper
    guard: subprocess.Popen[bytes]

    def release(self) -> None:
        """Release the lab and stop the guard; no-op if that was done before."""
        if self.guard.poll() is None:
            os.killpg(self.guard.pid, signal.SIGKILL)
            self.guard.wait(timeout=10)
        self.lock.close()


def hold(folder: Path) -> Hold:
    """Hold the lab in `folder` until `Hold.release`, or until this process ends."""
    path = folder / _LOCK
    lock = path.open("w")
    fcntl.flock(lock, fcntl.LOCK_EX)
    packages = str(Path(deployer.__file__).parent.parent)
    guard = subprocess.Popen(
        ["sh", "-c", _WAIT_AND_SWEEP, "deployer-lab-guard", str(path), sys.executable, _SWEEP],
        cwd="/",
        env={**os.environ, "PYTHONPATH": packages},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    return Hold(lock=lock, guard=guard)


def is_held(folder: Path) -> bool:
    """Whether some process holds the lab in `folder`."""
    try:
        with (folder / _LOCK).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False
