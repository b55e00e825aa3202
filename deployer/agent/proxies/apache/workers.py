"""Which children of Apache use the configuration that it loaded last."""

from __future__ import annotations

from deployer.agent.files import look_at, read_text
from deployer.agent.processes import listening_children

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

#: Apache rewrites it whenever it has read its configuration. Source: `ap_log_pid`.
_PID_FILE = "/run/apache2/apache2.pid"


def current_workers(main: int) -> Iterator[int]:
    """Children with an earlier configuration have stopped listening."""
    return listening_children(main)


def read_ns(main: int) -> int:
    """When this Apache last read its configuration, by the wall clock; 0 if unknown.

    Its children do not show it: it ends some and starts others as the load changes.
    """
    if read_text(_PID_FILE).strip() != str(main):
        return 0
    info = look_at(_PID_FILE)
    return info.st_mtime_ns if info else 0
