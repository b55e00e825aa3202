"""Whether nginx took a new configuration at its reload."""

from __future__ import annotations

from deployer.agent.files import read_text
from deployer.agent.processes import children_of
from deployer.agent.reloads import ProxyReload

TYPE_CHECKING = False
if TYPE_CHECKING:
    from deployer.agent.services import Systemd


class _Reload(ProxyReload):
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


def watch(systemd: Systemd, unit: str, main: int) -> ProxyReload:
    """Determines whether the next reload is taken."""
    return _Reload(systemd, unit, main)
