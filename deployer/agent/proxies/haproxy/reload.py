"""Whether HAProxy took a new configuration at its reload."""

from __future__ import annotations

from deployer.agent.files import read_text
from deployer.agent.proxies.haproxy.workers import current_workers
from deployer.agent.reloads import ProxyReload

TYPE_CHECKING = False
if TYPE_CHECKING:
    from deployer.agent.services import Systemd


class _Reload(ProxyReload):
    """The master re-executes itself, reads the files, opens sockets (for up to 2 s, during which
    nothing listens) and starts a worker that takes over; or it counts a failed reload, and the
    former worker continues. Source: HAProxy's management guide, 3 and 4; its `mworker.c`.
    """

    _NAME = "HAProxy"
    _AFTER_REFUSAL_S = 0.0  # it has given up when it counts the failure

    def __init__(self, systemd: Systemd, unit: str, main: int) -> None:
        super().__init__(systemd, unit, main)
        self._failures = failed_reloads(main)

    def _workers_now(self) -> set[int]:
        return set(current_workers(self._main))

    def _is_refused(self) -> bool:
        return failed_reloads(self._main) > self._failures

    def _reason(self) -> str:
        lines = self._systemd.words_since(self._unit, self._begun_s)
        alerts = [line for line in lines if "[ALERT]" in line and f"({self._main})" in line]
        return "\n".join(dict.fromkeys(alerts[-10:]))


def failed_reloads(master: int) -> int:
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


def watch(systemd: Systemd, unit: str, main: int) -> ProxyReload:
    """Determines whether the next reload is taken."""
    return _Reload(systemd, unit, main)
