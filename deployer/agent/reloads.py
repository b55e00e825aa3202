"""Whether a proxy took a new configuration at its reload."""

from __future__ import annotations

import os
import stat
import time

from deployer.agent.errors import StepError
from deployer.agent.files import names_in, read_text
from deployer.agent.listeners import listening_sockets, listens
from deployer.agent.processes import (
    NS,
    apache_read_ns,
    children_of,
    current_workers,
    current_workers_of_haproxy,
    started_at,
)

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
        return set(current_workers(self._main))

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


class NginxReload(ProxyReload):
    """``nginx -s reload`` only sends a signal. The master then reads the files, opens sockets (it
    tries five times in 2.5 s), and starts new workers; or it writes ``[emerg]`` to its log and
    continues as before. Source: nginx, "Controlling nginx", and `ngx_open_listening_sockets`.
    """

    _NAME = "nginx"

    def _workers_now(self) -> set[int]:
        return children_of(self._main)

    def _has_stopped_listening(self, worker: int) -> bool:
        """Old workers accept connections for another 0.1 s, and then change their title."""
        title = read_text(f"/proc/{worker}/cmdline")
        return not title or "shutting down" in title

    def _reason(self) -> str:
        lines = [line for line in self._new_lines() if "[emerg]" in line]
        return "\n".join(dict.fromkeys(lines[-10:]))


class ApacheReload(ProxyReload):
    """``apachectl graceful`` only sends a signal. The parent then reads the files, opens sockets
    and logs, rewrites its PID file, and starts new children, which takes up to a second if the
    old ones still have connections. If any of that fails, it exits, and nothing listens any more.
    Source: httpd, "Stopping and Restarting", and `event_run` of mpm_event.
    """

    _NAME = "Apache"
    _OLD_ONE = "it takes no new connections now"
    _SIGNS = ("emerg]", "alert]", "crit]", "AH00072")

    def _is_refused(self) -> bool:
        return False  # it exits in that case

    def _is_taken(self) -> bool:
        read_s = apache_read_ns(self._main) / NS
        return (not read_s or read_s > self._begun_s - 0.02) and super()._is_taken()

    def _reason(self) -> str:
        lines = [line for line in self._new_lines() if any(sign in line for sign in self._SIGNS)]
        return "\n".join(dict.fromkeys(lines[-10:]))


class HaproxyReload(ProxyReload):
    """The master re-executes itself, reads the files, opens sockets (for up to 2 s, during which
    nothing listens) and starts a worker that takes over; or it counts a failed reload, and the
    former worker continues. Source: HAProxy's management guide, 3 and 4; its `mworker.c`.
    """

    _NAME = "HAProxy"
    _AFTER_REFUSAL_S = 0.0  # it has given up when it counts the failure

    def __init__(self, systemd: Systemd, unit: str, main: int) -> None:
        super().__init__(systemd, unit, main)
        self._failures = _failed_reloads(main)

    def _workers_now(self) -> set[int]:
        return set(current_workers_of_haproxy(self._main))

    def _is_refused(self) -> bool:
        return _failed_reloads(self._main) > self._failures

    def _reason(self) -> str:
        lines = self._systemd.words_since(self._unit, self._begun_s)
        alerts = [line for line in lines if "[ALERT]" in line and f"({self._main})" in line]
        return "\n".join(dict.fromkeys(alerts[-10:]))


def _failed_reloads(master: int) -> int:
    """How many reloads of this HAProxy have failed since the last successful one.

    The master keeps the number in its environment. Before 2.4 there is none, but a master that
    waits for a valid configuration has a variable for that.
    """
    environment = read_text(f"/proc/{master}/environ").split("\0")
    fields = {key: value for key, _, value in (word.partition("=") for word in environment)}
    for process in fields.get("HAPROXY_PROCESSES", "").split("|"):
        about = dict(field.partition("=")[::2] for field in process.split(";"))
        if about.get("type") == "m" and about.get("failedreloads", "").isdigit():
            return int(about["failedreloads"])
    has_numbers = any("failedreloads=" in word for word in environment)
    return 0 if has_numbers else int("HAPROXY_MWORKER_WAIT_ONLY" in fields)


#: By the name of a proxy's main process.
_RELOADS = {"nginx": NginxReload, "apache2": ApacheReload, "haproxy": HaproxyReload}


def reload_watch(systemd: Systemd, unit: str, main: int) -> ProxyReload | None:
    """Determines whether the unit's next reload is taken; `None` if it is not a proxy."""
    kind = _RELOADS.get(read_text(f"/proc/{main}/comm").strip())
    return kind(systemd, unit, main) if kind else None
