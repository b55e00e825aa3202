"""Which processes accept the connections to an endpoint, each with its unit."""

from __future__ import annotations

from deployer.agent.cgroups import cgroup_of, unit_in
from deployer.agent.errors import Refusal
from deployer.agent.files import check_path, read_text
from deployer.agent.sockets import Sockets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from deployer.agent.settings import Json

_SYSTEMD_PID = 1


def holders(endpoints: list[Json]) -> list[list[Json]]:
    """One process of each unit for each endpoint, the one that began first.

    A socket that systemd holds for a service that has been started is the service's.
    """
    for endpoint in endpoints:
        if endpoint.get("socket"):
            check_path(endpoint["socket"])
        elif not 0 < int(endpoint["port"]) < 1 << 16:
            raise Refusal("bad-request", "{} is not a port".format(endpoint["port"]))
    sockets = Sockets()
    return [_holders(sockets, endpoint) for endpoint in endpoints]


def _holders(sockets: Sockets, endpoint: Json) -> list[Json]:
    found: dict[str, Json] = {}
    for inode in sockets.at(endpoint):
        pids = sockets.holders(inode)
        for pid in [pid for pid in pids if pid != _SYSTEMD_PID] or pids:
            unit = unit_in(cgroup_of(pid))
            process = read_text(f"/proc/{pid}/comm").strip()
            found.setdefault(unit or process, {"pid": pid, "process": process, "unit": unit})
    return list(found.values())
