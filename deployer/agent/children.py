"""Programs that the agent runs, each with a time limit."""

from __future__ import annotations

import os
import select
import signal
import time

from deployer.agent import settings
from deployer.agent.errors import Gone, StepError, os_words
from deployer.agent.files import names_in
from deployer.agent.settings import CHILD_LIMIT_S, CHUNK_BYTES, OUTPUT_TAIL_BYTES, PACKAGE_LIMIT_S

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

CHILD_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C.UTF-8",
    "HOME": "/root",
    "SYSTEMD_PAGER": "",
    "SYSTEMD_COLORS": "0",
}


class Children:
    """Runs programs without a shell, each in its own session and with a time limit."""

    def __init__(self, gone: Callable[[], bool]) -> None:
        self._gone = gone
        self.commit = ""  # the commit they work for: a revert has to find them

    def run(
        self,
        argv: list[str],
        *,
        limit_s: float = CHILD_LIMIT_S,
        environment: dict[str, str] | None = None,
        chdir: str | None = None,
        interruptible: bool = True,
        on_output: Callable[[str], None] | None = None,
    ) -> tuple[int, str]:
        """The exit code and the end of the output, standard output and error combined.

        Raises:
            StepError: the program does not exist, or took longer than `limit_s`.
            Gone: the controller disconnected, so the program was ended.
        """
        if chdir:  # posix_spawn cannot change the working directory; the script is constant
            argv = ["/bin/sh", "-c", 'cd -- "$1" && shift && exec "$@"', "sh", chdir, *argv]
        read_end, write_end = os.pipe()
        around = {**CHILD_ENVIRONMENT, **(environment or {})}
        if self.commit:
            around[_ENDED_WITH if interruptible else _WAITED_FOR] = _marked(self.commit)
        try:
            pid = self._spawn(argv, write_end, around)
        except OSError as error:
            os.close(read_end)
            raise StepError(f"{argv[0]} cannot be run: {os_words(error)}") from None
        finally:
            os.close(write_end)
        try:
            return self._follow(pid, argv, read_end, limit_s, interruptible, on_output)
        finally:
            os.close(read_end)

    @staticmethod
    def _spawn(argv: list[str], output: int, environment: dict[str, str]) -> int:
        return os.posix_spawnp(
            argv[0],
            argv,
            environment,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, output, 1),
                (os.POSIX_SPAWN_DUP2, output, 2),
            ],
            setsid=True,
            setsigdef=[signal.SIGPIPE, signal.SIGHUP],
        )

    def _follow(
        self,
        pid: int,
        argv: list[str],
        read_end: int,
        limit_s: float,
        interruptible: bool,
        on_output: Callable[[str], None] | None,
    ) -> tuple[int, str]:
        tail = bytearray()
        deadline = time.monotonic() + limit_s
        reading = True
        while True:
            # A program that starts a daemon ends without closing the pipe, so poll for its end.
            ready = select.select([read_end] if reading else [], [], [], 0.1 if reading else 0.005)
            if ready[0]:
                data = os.read(read_end, CHUNK_BYTES)
                reading = bool(data)
                tail = (tail + data)[-OUTPUT_TAIL_BYTES:]
                if data and on_output:
                    on_output(data.decode("utf-8", "replace"))
                if data:
                    continue
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                return _exit_code(status), tail.decode("utf-8", "replace").strip()
            if interruptible and self._gone():
                _end_group(pid)
                raise Gone
            if time.monotonic() > deadline:
                _end_group(pid)
                text = tail.decode("utf-8", "replace").strip()
                raise StepError(f"{argv[0]} did not end within {limit_s:g} s and was killed", text)

    def succeed(self, argv: list[str], **options: Any) -> str:
        """The output of a program that must exit with code 0.

        Raises:
            StepError: it did not.
        """
        code, output = self.run(argv, **options)
        if code != 0:
            raise StepError(f"{' '.join(argv[:3])} ended with exit code {code}", output)
        return output


#: In the environment of every program that works for a commit: whether it may be interrupted.
_ENDED_WITH, _WAITED_FOR = "DEPLOYER_COMMIT", "DEPLOYER_COMMIT_UNCUT"


def end_leftovers(commit: str) -> None:
    """End the programs that a dead agent left running for `commit`; wait for package tools.

    Raises:
        StepError: some of them do not end.
    """
    began = time.monotonic()
    while True:
        ended, waited = _at_work(_ENDED_WITH, commit), _at_work(_WAITED_FOR, commit)
        if not ended and not waited:
            return
        passed_s = time.monotonic() - began
        for pid in ended if passed_s < 20.0 else []:
            try:
                os.kill(pid, signal.SIGTERM if passed_s < 3.0 else signal.SIGKILL)
            except ProcessLookupError:
                pass
        if passed_s > (PACKAGE_LIMIT_S if waited else 20.0):
            pids = ", ".join(map(str, ended + waited))
            raise StepError(f"programs of the interrupted run do not end: processes {pids}")
        time.sleep(0.05)


def _marked(commit: str) -> str:
    return commit + " in " + settings.STATE


def _at_work(mark: str, commit: str) -> list[int]:
    """The processes with `mark` for `commit` in their environment."""
    wanted = (mark + "=" + _marked(commit)).encode()
    found = []
    for name in names_in("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        try:
            with open(f"/proc/{name}/environ", "rb") as file:
                if wanted in file.read().split(b"\0"):
                    found.append(int(name))
        except OSError:
            continue
    return found


def _exit_code(status: int) -> int:
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)


def _end_group(pid: int) -> None:
    """Send SIGTERM to the child's process group, then SIGKILL."""
    for number, patience_s in ((signal.SIGTERM, 3.0), (signal.SIGKILL, 10.0)):
        try:
            os.killpg(pid, number)
        except ProcessLookupError:
            pass
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            if os.waitpid(pid, os.WNOHANG)[0]:
                return
            time.sleep(0.01)
