"""The services that a commit starts: each must be up by itself when the commit is confirmed.

A service is up if its unit is active, was not restarted since the commit started it, and accepts
the connections to its port itself: an older process on that port would pass every handshake. The
ports are those that the plan declares (``listens``); for a service without that, they are the
upstreams of the commit's sites that it had before, or that its own command line names.
"""

from __future__ import annotations

import itertools
import os
import time

from deployer.agent import settings
from deployer.agent.commit.plan import units_of
from deployer.agent.commit.port_owners import PortOwners, mentions, unit_processes
from deployer.agent.commit.unit_states import (
    PROPERTIES,
    is_long_running,
    is_on_its_way,
    is_running,
    problem_of,
    restart_of,
)
from deployer.agent.encoding import canonical_json
from deployer.agent.errors import Refusal, StepError
from deployer.agent.files import read_json, write_synced
from deployer.agent.processes import uptime_ns
from deployer.agent.proxies import BY_UNIT
from deployer.agent.services import Systemd, service_name
from deployer.agent.sockets import endpoint_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from deployer.agent.children import Children
    from deployer.agent.settings import Json

_RECORD = "services.json"
_PAUSE_S = 0.1
#: How long a service may take to accept connections after its sites were verified.
_PATIENCE_S = 5.0
#: How long a process that is not the service's may still have its port.
_HANDOVER_S = 0.5
#: How often it is looked at least: on a busy host, one look may take longer than that.
_LOOKS = 3
#: How long a service has to run before it counts as up: many crash within seconds.
_SETTLED_S = 5.0
#: The same for a service that accepts no connections, if others answer for the sites: an
#: interpreter may need this long to find out that its port is taken.
_WATCHED_S = 10.0
_WATCH_PAUSE_S = 0.25
#: Units of this host rather than of its packages.
_LOCAL_UNITS = "/etc/systemd/"


#: What a service accepted before the commit that did not run then.
_HAD_NOTHING: Json = {"running": False, "backends": [], "listened": False}


class StartedServices:
    """The services of one plan, watched from before its first change."""

    def __init__(self, children: Children, plan: Json, sites: list[Json]) -> None:
        self._systemd = Systemd(children)
        self._backends = backends_of(sites)
        self._listens = _listens_of(plan["changes"])
        runs = os.path.isdir(settings.SYSTEMD_RUNS)
        self._units = _wanted_units(plan) if runs else []
        self._all_before = (
            self._systemd.show_services(PROPERTIES) if runs and _starts_any(plan) else None
        )
        self._before = self._shown() if self._units else {}
        self._base: dict[str, Json] = {}
        self._had = self._ports_before() if self._units else {}

    def check(self) -> None:
        """Look at the services that were started so far.

        Raises:
            StepError: one of them is not up.
        """
        if not self._units:
            return
        shown = self._shown()
        started = {unit: shown[unit] for unit in self._units if self._is_started(unit, shown)}
        for unit, now in started.items():
            problem = problem_of(unit, now, self._base.setdefault(unit, now))
            if problem:
                raise StepError(problem, self._systemd.last_words(unit))
        declared = {unit: now for unit, now in started.items() if self._listens.get(unit)}
        if declared:
            self._check_ports(declared)

    def _check_ports(self, units: dict[str, Json]) -> None:
        """Nothing else may have a service's port; that it does not listen yet is no problem."""
        began = time.monotonic()
        for look in itertools.count(1):
            unit, problem = self._held_port(units)
            if not problem:
                return
            if look >= _LOOKS and time.monotonic() - began > _HANDOVER_S:
                raise StepError(problem, self._systemd.last_words(unit))
            time.sleep(_PAUSE_S)

    def _held_port(self, units: dict[str, Json]) -> tuple[str, str]:
        owners = PortOwners(self._systemd, units)
        for unit in units:
            for endpoint in endpoints_of(self._listens[unit] or [], self._backends):
                strangers = owners.strangers(unit, endpoint)
                if strangers:
                    return unit, held_words(unit, endpoint, owners.words(strangers, endpoint))
        return "", ""

    def record(self, folder: str) -> None:
        """Note for the confirmation what it has to find again."""
        others = self._also_started()
        if not self._units and not others:
            return
        shown = self._shown() if self._units else {}
        units = {
            unit: {
                "shown": shown[unit],
                "restarts": self._base.get(unit, shown[unit]).get("NRestarts"),
                "started": self._is_started(unit, shown),
                "listens": self._listens.get(unit),
                "had": self._had.get(unit),
            }
            for unit in self._units
        }
        for unit, now in others.items():
            units[unit] = {
                "shown": now,
                "restarts": now.get("NRestarts"),
                "started": True,
                "listens": None,
                "had": _HAD_NOTHING,
            }
        record = canonical_json({"units": units, "backends": self._backends, "at_ns": uptime_ns()})
        write_synced(os.path.join(folder, _RECORD), record)

    def _also_started(self) -> dict[str, Json]:
        """Other services that were started meanwhile: wanted by a target or a different unit, or by
        a command. Those that a package starts and that did not run before do not count."""
        if self._all_before is None:
            return {}
        found = {}
        for unit, now in self._systemd.show_services(PROPERTIES).items():
            before = self._all_before.get(unit, {})
            is_new = now.get("InvocationID", "") not in ("", before.get("InvocationID", ""))
            is_local = now.get("FragmentPath", "").startswith(_LOCAL_UNITS)
            is_ours = unit in map(service_name, self._units) or unit in BY_UNIT
            if is_new and not is_ours and is_long_running(now) and (is_local or is_running(before)):
                found[unit] = now
        return found

    def _shown(self) -> dict[str, Json]:
        return self._systemd.show(self._units, PROPERTIES)

    def _is_started(self, unit: str, shown: dict[str, Json]) -> bool:
        """Whether the unit was started since the commit began, by whatever means."""
        return bool(
            shown[unit].get("InvocationID", "") != self._before[unit].get("InvocationID", "")
        )

    def _ports_before(self) -> dict[str, Json]:
        """What the services whose ports are unknown accepted before the commit."""
        unknown = [unit for unit in self._units if has_unknown_ports(unit, self._listens.get(unit))]
        running = {unit: self._before[unit] for unit in unknown if is_running(self._before[unit])}
        had: dict[str, Json] = {unit: dict(_HAD_NOTHING) for unit in unknown}
        if running:
            owners = PortOwners(self._systemd, running)
            used = [each for each in self._backends if owners.is_accepted(each)]
            for unit in running:
                own = [endpoint_text(e) for e in used if owners.strangers(unit, e) == []]
                had[unit] = {"running": True, "backends": own, "listened": owners.listens(unit)}
        return had


class Confirmation:
    """The same services when the commit is to be confirmed; `folder` is that of the commit."""

    def __init__(self, children: Children, folder: str) -> None:
        self._systemd = Systemd(children)
        record = read_json(os.path.join(folder, _RECORD)) or {"units": {}, "backends": []}
        self._units: dict[str, Json] = record["units"]
        self._backends: list[Json] = record["backends"]
        self._noted_ns: int = record.get("at_ns", 0)

    def check(self) -> None:
        """Wait for a moment until every service is up by itself.

        Raises:
            Refusal: one of them is not.
        """
        if not self._units:
            return
        self.check_states()
        self._await_ports()
        if self._watch():
            self._await_ports()

    def _await_ports(self) -> None:
        began = time.monotonic()
        for look in itertools.count(1):
            unit, problem, limit_s = self._port_problem()
            if not problem:
                break
            if look >= _LOOKS and time.monotonic() - began > limit_s:
                raise self._refusal(unit, problem)
            time.sleep(_PAUSE_S)

    def check_states(self) -> None:
        """Check that every unit is active and was not restarted.

        Raises:
            Refusal: one of them is not.
        """
        if not self._units:
            return
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            shown = self._systemd.show(list(self._units), PROPERTIES)
            for unit, known in self._units.items():
                base = {**known["shown"], "NRestarts": known["restarts"]}
                problem = problem_of(unit, shown[unit], base)
                if not problem and known["started"]:
                    problem = restart_of(unit, shown[unit], known["shown"], self._noted_ns)
                if problem:
                    raise self._refusal(unit, problem)
            if not any(map(is_on_its_way, shown.values())) or time.monotonic() > deadline:
                return
            time.sleep(_PAUSE_S)

    def _refusal(self, unit: str, problem: str) -> Refusal:
        output = self._systemd.last_words(unit)
        return Refusal("not-up", problem, resource_id="service:" + unit, output=output)

    def _started(self) -> dict[str, Json]:
        return {unit: known for unit, known in self._units.items() if known["started"]}

    def _owners(self) -> PortOwners:
        return PortOwners(self._systemd, {u: known["shown"] for u, known in self._units.items()})

    def _port_problem(self) -> tuple[str, str, float]:
        """A service whose port it does not accept itself, the problem, and how long to wait."""
        started = self._started()
        if not any(map(_has_ports, started.items())):
            return "", "", 0.0
        owners = self._owners()
        for endpoint in self._backends:
            if owners.is_silent(endpoint):
                words = f"nothing listens on {endpoint_text(endpoint)} any more"
                return next(iter(started)), words, _PATIENCE_S
        for unit, known in started.items():
            for endpoint in endpoints_of(known["listens"] or [], self._backends):
                strangers = owners.strangers(unit, endpoint)
                if strangers is None:
                    words = f"{unit} is active, but does not listen on {endpoint_text(endpoint)}"
                    return unit, words, _PATIENCE_S
                if strangers:
                    words = held_words(unit, endpoint, owners.words(strangers, endpoint))
                    return unit, words, _HANDOVER_S
            for endpoint in self._taken_from(unit, known, owners):
                strangers = owners.strangers(unit, endpoint) or []
                words = held_words(unit, endpoint, owners.words(strangers, endpoint))
                hint = f"If {unit} does not listen there, add listens: [] to its service task."
                return unit, f"{words}\n{hint}", _HANDOVER_S
        return "", "", 0.0

    def _taken_from(self, unit: str, known: Json, owners: PortOwners) -> list[Json]:
        """The upstreams of sites that should be this service's, but are a stranger's."""
        if not has_unknown_ports(unit, known["listens"]):
            return []
        had, strange = known["had"], self._strange(owners)
        lost = [each for each in strange if endpoint_text(each) in had["backends"]]
        if lost or not strange or self._is_as_before(unit, had, owners):
            return lost
        pids = unit_processes(known["shown"].get("ControlGroup", ""))
        return [each for each in strange if mentions(pids, each)]

    def _strange(self, owners: PortOwners) -> list[Json]:
        """The upstreams on this host that none of the started services accepts."""
        return [
            each
            for each in self._backends
            if owners.is_accepted(each)
            and not any(owners.strangers(unit, each) == [] for unit in self._started())
        ]

    @staticmethod
    def _is_as_before(unit: str, had: Json, owners: PortOwners) -> bool:
        """Whether a service ran before too, and has not stopped to accept connections."""
        return bool(had["running"] and (owners.listens(unit) or not had["listened"]))

    def _watch(self) -> bool:
        """Watch services that have just been started for a while; whether there was one."""
        until = max((self._watched_until(*each) for each in self._started().items()), default=0.0)
        if time.monotonic() >= until:
            return False
        while time.monotonic() < until:
            time.sleep(_WATCH_PAUSE_S)
            self.check_states()
        return True

    def _watched_until(self, unit: str, known: Json) -> float:
        if not _is_service(unit) or not unit_processes(known["shown"].get("ControlGroup", "")):
            return 0.0
        began_s = int(known["shown"].get("InactiveExitTimestampMonotonic") or 0) / 1e6
        return began_s + (_WATCHED_S if self._is_suspect(unit, known) else _SETTLED_S)

    def _is_suspect(self, unit: str, known: Json) -> bool:
        """Whether a service accepts no connections, although something else does for the sites."""
        if not has_unknown_ports(unit, known["listens"]):
            return False
        owners = self._owners()
        is_known = owners.listens(unit) or self._is_as_before(unit, known["had"], owners)
        return not is_known and bool(self._strange(owners))


def backends_of(sites: list[Json]) -> list[Json]:
    """The endpoints of all upstreams of sites, each once."""
    found: dict[str, Json] = {}
    for site in sites:
        for route in site["routes"]:
            for upstream in route["upstreams"]:
                path = upstream.get("socket")
                keys = ("socket",) if path else ("host", "port")
                endpoint = {key: upstream[key] for key in keys}
                found[endpoint_text(endpoint)] = endpoint
    return list(found.values())


def endpoints_of(listens: list[str], backends: list[Json]) -> list[Json]:
    """The endpoints of declared ports and paths; at the addresses that the sites use, if any."""
    found: list[Json] = []
    for each in listens:
        if each.startswith("/"):
            found.append({"socket": each})
        else:
            port = int(each)
            used = [backend for backend in backends if backend.get("port") == port]
            found += used or [{"port": port}]
    return found


def has_unknown_ports(unit: str, listens: list[str] | None) -> bool:
    """Whether a unit may accept connections, and nothing says where. A proxy has its own checks."""
    return listens is None and _is_service(unit)


def _is_service(unit: str) -> bool:
    is_service = "." not in unit or unit.endswith(".service")
    return is_service and service_name(unit) not in BY_UNIT


def held_words(unit: str, endpoint: Json, holder: str) -> str:
    """``chat does not have 127.0.0.1:8000: python3 (process 812 of old.service) listens there``."""
    return f"{unit} does not have {endpoint_text(endpoint)}: {holder} listens there"


def _has_ports(item: tuple[str, Json]) -> bool:
    unit, known = item
    return bool(known["listens"]) or has_unknown_ports(unit, known["listens"])


def _listens_of(changes: list[Json]) -> dict[str, list[str] | None]:
    return {
        change["resource_id"].partition(":")[2]: (change["after"] or {}).get("listens")
        for change in changes
        if change["resource_id"].startswith("service:")
    }


def _starts_any(plan: Json) -> bool:
    """Whether a plan may start services, by whatever means."""
    kinds = {
        change["resource_id"].partition(":")[0]
        for change in plan["changes"]
        if change.get("action") != "no-op" and change["after"] is not None
    }
    handlers = {run["handler"]["action"] for run in plan["handlers"]}
    return bool(kinds & {"service", "command", "package"} or handlers - {"reload", "stop"})


def _wanted_units(plan: Json) -> list[str]:
    """The units that run when the plan is done, as far as it says so."""
    runs: dict[str, bool] = {}
    for change in plan["changes"]:
        kind, _, name = change["resource_id"].partition(":")
        active = (change["after"] or {}).get("active") if kind == "service" else None
        if active is not None:
            runs[name] = active
    for run in plan["handlers"]:
        handler = run["handler"]
        if handler.get("unit") and handler["action"] in ("start", "restart", "stop"):
            runs[handler["unit"]] = handler["action"] != "stop"
    known = units_of(plan["changes"], plan["handlers"])
    return [unit for unit in known if runs.get(unit)]
