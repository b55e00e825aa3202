"""Which processes accept the connections to an endpoint, each with its unit."""

from __future__ import annotations

from deployer.agent.cgroups import cgroup_of, place_in
from deployer.agent.errors import Refusal
from deployer.agent.files import check_path, read_text
from deployer.agent.services import Systemd
from deployer.agent.socket_units import SYSTEMD_PID, SocketUnits
from deployer.agent.sockets import Sockets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from deployer.agent.children import Children
    from deployer.agent.settings import Json


def holders(children: Children, endpoints: list[Json]) -> list[list[Json]]:
    """One process of each unit for each endpoint, the one that began first.

    A socket that systemd holds for a service that has been started is the service's; before that,
    it is the .socket unit's.
    """
    for endpoint in endpoints:
        if endpoint.get("socket"):
            check_path(endpoint["socket"])
        elif not 0 < int(endpoint["port"]) < 1 << 16:
            raise Refusal("bad-request", "{} is not a port".format(endpoint["port"]))
    sockets, socket_units = Sockets(), SocketUnits(Systemd(children))
    return [_holders(sockets, socket_units, endpoint) for endpoint in endpoints]


def _holders(sockets: Sockets, socket_units: SocketUnits, endpoint: Json) -> list[Json]:
    found: dict[str, Json] = {}
    for inode in sockets.at(endpoint):
        pids = sockets.holders(inode)
        for pid in [pid for pid in pids if pid != SYSTEMD_PID] or pids:
            unit, starts = place_in(cgroup_of(pid)), ""
            if pid == SYSTEMD_PID:
                of_socket, starts = socket_units.at(sockets.address(inode))
                unit = of_socket or unit
            process = read_text(f"/proc/{pid}/comm").strip()
            about = {"pid": pid, "process": process, "unit": unit, "starts": starts}
            found.setdefault(unit or process, about)
    return list(found.values())
