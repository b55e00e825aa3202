"""Proxies on a host, and their registry: one row for each that can serve a site.

A proxy is a folder here with the modules that `parts` describes. They are imported when they are
first needed: a host usually has one proxy, and most requests need only its workers.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from deployer.agent.proxies import parts


class Proxy:
    """One proxy. `unit` is the name of its unit on Debian, and of its main process.

    `also_called` has these names in other distributions. `left_by_purges` are files that a script
    of its package creates, and a purge leaves behind. `has_slots`: its processes occupy slots of a
    fixed number, also those that only finish their connections after a reload. `shared_file` is the
    one file of a proxy that has the sites of all playbooks in it.
    """

    def __init__(
        self,
        name: str,
        *,
        unit: str,
        also_called: tuple[str, ...] = (),
        left_by_purges: tuple[str, ...] = (),
        has_slots: bool = False,
        shared_file: str = "",
    ) -> None:
        self.name = name
        self.unit = unit
        self.also_called = also_called
        self.left_by_purges = left_by_purges
        self.has_slots = has_slots
        self.shared_file = shared_file

    @property
    def workers(self) -> parts.Workers:
        """Which of its processes use the configuration that it loaded last."""
        found: parts.Workers = self._part("workers")
        return found

    @property
    def reload(self) -> parts.Reload:
        """Whether it took a new configuration."""
        found: parts.Reload = self._part("reload")
        return found

    @property
    def readiness(self) -> parts.Readiness:
        """Whether it can load its configuration."""
        found: parts.Readiness = self._part("readiness")
        return found

    @property
    def slots(self) -> parts.Slots:
        """Its process slots, if it `has_slots`."""
        found: parts.Slots = self._part("slots")
        return found

    @property
    def connections(self) -> parts.Connections:
        """Its open connections."""
        found: parts.Connections = self._part("connections")
        return found

    @property
    def shared(self) -> parts.Shared:
        """What its `shared_file` has to keep, if it has one."""
        found: parts.Shared = self._part("shared")
        return found

    @property
    def inspection(self) -> parts.Inspection:
        """Its files, configuration test and logs."""
        found: parts.Inspection = self._part("inspect")
        return found

    def _part(self, part: str) -> Any:
        name = f"{__name__}.{self.name}.{part}"
        __import__(name)  # importing importlib takes longer
        return sys.modules[name]


_ROWS = (
    Proxy("nginx", unit="nginx", left_by_purges=("/var/www/html/index.nginx-debian.html",)),
    Proxy("apache", unit="apache2", also_called=("httpd",), has_slots=True),
    Proxy("haproxy", unit="haproxy", shared_file="/etc/haproxy/haproxy.cfg"),
)
PROXIES = {row.name: row for row in _ROWS}
BY_UNIT = {row.unit: row for row in _ROWS}
#: Their units in all distributions.
UNITS = tuple(unit for row in _ROWS for unit in (row.unit, *row.also_called))
