"""The slots for Apache's processes: a full scoreboard stops a reload."""

from __future__ import annotations

import time

from deployer.agent.errors import StepError
from deployer.agent.files import look_at
from deployer.agent.processes import TICK_NS, started_at, uptime_ns
from deployer.agent.proxies.apache.config import ApacheConfig
from deployer.agent.proxies.connections import worker_connections

TYPE_CHECKING = False
if TYPE_CHECKING:
    from deployer.agent.proxies.readiness import Loading
    from deployer.agent.settings import Json

#: The defaults of `ServerLimit`: of mpm_prefork, and of the others.
_PREFORK_SERVER_LIMIT, _SERVER_LIMIT = 256, 16


def config_of(loading: Loading) -> ApacheConfig:
    """The effective configuration."""
    asked = ["DUMP_INCLUDES", "DUMP_MODULES", "DUMP_RUN_CFG"]
    options = [word for name in asked for word in ("-D", name)]
    return ApacheConfig(loading.dump(["apachectl", "-t", *options]))


def refuse_full_scoreboard(loading: Loading, config: ApacheConfig) -> None:
    """Children with open connections stay after a reload, and each occupies a process slot. If no
    slot is left, Apache hangs without a message."""
    limit, stay = _places(loading, config)
    if len(stay) < limit:
        return
    held = sum(worker["websockets"] for worker in stay)
    raise StepError(
        f"Apache has room for {limit} processes (ServerLimit), and {len(stay)} of earlier "
        f"configurations would stay after this reload because of their connections ({held} "
        "WebSockets): none would be left to accept new ones. Wait until they have drained, or run "
        "`systemctl restart apache2`, which closes them; a larger ServerLimit takes effect at a "
        "restart too"
    )


def _places(loading: Loading, config: ApacheConfig) -> tuple[int, list[Json]]:
    """How many process slots Apache has, and the children that would stay after a reload."""
    usual = _PREFORK_SERVER_LIMIT if config.has_module("mpm_prefork") else _SERVER_LIMIT
    limit, file = config.number("ServerLimit") or (usual, "")
    workers = worker_connections(loading.main, "apache2")
    if len(workers) <= usual < limit and _is_newer(file, loading.main):
        limit = usual  # the number of slots is that of the start, whatever the file says now
    stay = [
        worker
        for worker in workers
        if worker["websockets"] or (worker["is_old"] and worker["connections"])
    ]
    return limit, stay


def places(loading: Loading) -> tuple[int, list[Json]]:
    """How many process slots Apache has, and the children that would stay after a reload."""
    return _places(loading, config_of(loading))


def _is_newer(file: str, main: int) -> bool:
    """Whether a file has changed since a process started."""
    info = look_at(file) if file else None
    if info is None:
        return False
    changed_ns: int = info.st_ctime_ns - (time.time_ns() - uptime_ns())
    return changed_ns > started_at(main) * TICK_NS
