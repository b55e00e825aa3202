"""The real agent on a rehearsal host, under faults, started there without ssh."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from deployer.errors import LabError
from deployer.lab.host import LabHost
from tests.crash.faults import BOOTSTRAP, Fault, body
from tests.support.agent.process import AgentProcess
from tests.support.waiting import PATIENCE_S

_ENVIRONMENT = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class InsideAgent(AgentProcess):
    """An agent on `host`, as root. One that takes longer than `limit_s` is killed, and `hung`.

    `on_held` is called when it says that it is held, see `Fault`.
    """

    def __init__(
        self,
        host: LabHost,
        fault: Fault | None = None,
        *,
        limit_s: float = 300.0,
        on_held: Callable[[], None] | None = None,
    ) -> None:
        self._host = host
        self.hung = False
        self._limit = threading.Timer(limit_s, self._give_up)
        self._limit.daemon = True
        self._limit.start()
        inside = host.root.parts[2]  # /proc/PID/root
        argv = ["nsenter", f"--target={inside}", "--all", "--root", "--wd", "env", "-i",
                _ENVIRONMENT, "HOME=/root", "python3", "-I", "-c", BOOTSTRAP]  # fmt: skip
        super().__init__(argv, (fault or Fault()).settings(), body=body())
        self._watcher = threading.Thread(target=self._watch, args=(on_held,), daemon=True)
        if on_held:
            self._watcher.start()

    def _watch(self, on_held: Callable[[], None] | None) -> None:
        descriptor = os.dup(self.process.stderr.fileno())  # type: ignore[union-attr]
        with os.fdopen(descriptor, "rb") as errors:
            for line in errors:
                if line == b"held\n" and on_held:
                    on_held()
                    return

    def _give_up(self) -> None:
        self.hung = True
        self.kill()

    def kill(self) -> None:
        """End it at once, wherever it is; its host may be switched off at the same moment."""
        if hasattr(self, "hello"):
            with suppress(LabError):
                self._host.exec(["kill", "-KILL", str(self.hello["pid"])], check=False)
                return
        self.process.kill()

    def end(self) -> int:
        """Close standard input, and wait until the agent has ended."""
        try:
            return super().end()
        except subprocess.TimeoutExpired:
            self._give_up()
            self.process.wait(PATIENCE_S)
            return -1
        finally:
            self._limit.cancel()
            if self._watcher.is_alive():
                self._watcher.join(60)


def facts_of(host: LabHost) -> dict[str, Any]:
    """What the host itself says: `pending`, `lock`, and `history`, newest first."""
    agent = InsideAgent(host)
    try:
        about: dict[str, Any] = agent.ask("facts", packages=[])["deployer"]
        return {**about, "history": agent.ask("history")["generations"]}
    finally:
        agent.end()


def journal_of(host: LabHost, since: int) -> str:
    """What deployer has said in the host's log, from a time in seconds since 1970."""
    argv = ["journalctl", "--no-pager", "-o", "short-iso", "-t", "deployer", f"--since=@{since}"]
    return host.exec(argv, check=False).stdout
