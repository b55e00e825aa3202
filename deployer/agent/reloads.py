"""Whether a proxy took a new configuration at its reload."""

from __future__ import annotations

import os
import stat
import time

from deployer.agent.errors import StepError
from deployer.agent.files import names_in
from deployer.agent.listeners import listening_sockets, listens
from deployer.agent.processes import listening_children, proxy_of, started_at

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from deployer.agent.services import Systemd


class ProxyReload:
    """Determines whether a proxy took a new configuration; made before the reload.

    Exit code 0 of a reload only means that a signal was sent. What counts: there are new workers
    that accept connections, and the former ones accept none.
    """

    _LIMIT_S = 15.0
    #: How long a proxy that has reported an error may still take the configuration.
    _AFTER_REFUSAL_S = 4.0
    _NAME = ""
    _OLD_ONE = "the old one is still in use"

    def __init__(self, systemd: Systemd, unit: str, main: int) -> None:
        self._systemd = systemd
        self._unit = unit
        self._main = main
        self._main_start = started_at(main)
        self._workers = self._workers_now()
        self._logs = {path: os.path.getsize(path) for path in self._open_logs()}
        self._begun_s = time.time()

    def wait(self) -> None:
        """Return once only new workers accept connections.

        Raises:
            StepError: the proxy kept its old configuration, or exited; `output` has the reason.
        """
        deadline = time.monotonic() + self._LIMIT_S
        is_refused = is_taken = False
        while time.monotonic() < deadline:
            self.must_live()
            is_taken = is_taken or self._is_taken()
            if is_taken and all(map(self._has_stopped_listening, self._workers)):
                return
            if not (is_taken or is_refused) and self._is_refused():
                is_refused = True
                deadline = min(deadline, time.monotonic() + self._AFTER_REFUSAL_S)
            time.sleep(0.01 if is_taken else 0.02)
        if is_taken:
            return
        why = "rejected the new configuration" if is_refused else "started no new workers"
        words = f"{self._NAME} {why} during its reload, although its configuration test passed"
        raise StepError(f"{words}; {self._OLD_ONE}", self._reason())

    def must_live(self) -> None:
        """Raises: StepError: the proxy has exited; the reload may fail then, or exit with 0."""
        if started_at(self._main) != self._main_start:
            words = f"{self._NAME} exited during its reload, although its configuration test passed"
            raise StepError(f"{words}; nothing listens on its ports now", self._reason())

    # what depends on the proxy

    def _workers_now(self) -> set[int]:
        """The processes that accept connections."""
        return set(listening_children(self._main))

    def _is_taken(self) -> bool:
        return bool(self._workers_now() - self._workers)

    def _has_stopped_listening(self, worker: int) -> bool:
        return not listens(worker, listening_sockets(self._main))

    def _is_refused(self) -> bool:
        return bool(self._reason())

    def _reason(self) -> str:
        """The proxy's messages about the failure."""
        raise NotImplementedError

    # logs

    def _open_logs(self) -> list[str]:
        folder = f"/proc/{self._main}/fd"
        logs = set()
        for name in names_in(folder):
            try:
                path = os.readlink(os.path.join(folder, name))
                if path.startswith("/") and stat.S_ISREG(os.stat(path).st_mode):
                    logs.add(path)
            except OSError:
                continue
        return sorted(logs)

    def _new_lines(self) -> Iterator[str]:
        """The lines written to the logs since."""
        for path, seen in self._logs.items():
            try:
                with open(path, "rb") as log:
                    log.seek(seen)
                    yield from log.read(1 << 20).decode("utf-8", "replace").splitlines()
            except OSError:
                continue


def reload_watch(systemd: Systemd, unit: str, main: int) -> ProxyReload | None:
    """Determines whether the unit's next reload is taken; `None` if it is not a proxy."""
    proxy = proxy_of(main)
    return proxy.reload.watch(systemd, unit, main) if proxy else None
