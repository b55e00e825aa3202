"""The .socket units for which systemd itself listens. Source: systemd.socket(5), systemctl(1)."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from deployer.agent.services import Systemd

SYSTEMD_PID = 1


class SocketUnits:
    """One look at all of them, taken when the first is asked for."""

    def __init__(self, systemd: Systemd) -> None:
        self._systemd = systemd
        self._found: dict[str, tuple[str, str]] | None = None

    def at(self, address: str) -> tuple[str, str]:
        """The unit that listens on ``127.0.0.1:80``, ``[::]:80`` or a path, and the service that it
        starts; empty if there is none."""
        if self._found is None:
            self._found = _listed(self._systemd.sockets())
        return self._found.get(address, ("", ""))


def _listed(shown: str) -> dict[str, tuple[str, str]]:
    found = {}
    for block in shown.split("\n\n"):
        fields = [line.partition("=")[::2] for line in block.splitlines()]
        named = dict(fields)
        for key, value in fields:
            if key == "Listen":
                unit = named.get("Id", ""), named.get("Triggers", "")
                found[value.rpartition(" (")[0]] = unit
    return found
