"""The connections of nginx.

The smaller number of clients and services counts: if both are idle at the same time, some of them
are included, for as long as nginx keeps them, which is a minute.
"""

from __future__ import annotations

from deployer.agent.proxies.connections import time_set

TYPE_CHECKING = False
if TYPE_CHECKING:
    from deployer.agent.proxies.connections import Worker

_FILES = ("/etc/nginx/modules-enabled/90-deployer.conf", "/etc/nginx/nginx.conf")
_DRAIN = r"^\s*worker_shutdown_timeout\s+(\d+)(ms|s|m|h|d)?;"


def websockets(worker: Worker, main: int) -> int:
    """How many WebSockets a worker has, or a few more."""
    return worker.pairs()


def clients(worker: Worker) -> list[str]:
    """The addresses of all connections of clients."""
    return worker.ends(of_tunnels=False)


def drain_s() -> float | None:
    """For how long connections may stay open after a reload; `None` if there is no limit."""
    return time_set(_FILES, _DRAIN)
