"""Whether Apache took a new configuration at its reload."""

from __future__ import annotations

from deployer.agent.processes import NS
from deployer.agent.proxies.apache.workers import read_ns
from deployer.agent.reloads import ProxyReload

TYPE_CHECKING = False
if TYPE_CHECKING:
    from deployer.agent.services import Systemd


class _Reload(ProxyReload):
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
        read_s = read_ns(self._main) / NS
        return (not read_s or read_s > self._begun_s - 0.02) and super()._is_taken()

    def _reason(self) -> str:
        lines = [line for line in self._new_lines() if any(sign in line for sign in self._SIGNS)]
        return "\n".join(dict.fromkeys(lines[-10:]))


def watch(systemd: Systemd, unit: str, main: int) -> ProxyReload:
    """Determines whether the next reload is taken."""
    return _Reload(systemd, unit, main)
