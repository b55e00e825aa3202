"""How many WebSockets Apache's limits allow, and which are reached. Source: MPM event."""

from __future__ import annotations

from collections.abc import Iterator

from deployer.proxies.apache.config import config_of
from deployer.proxies.inspect.capacity import NEARLY, OF_FULL, logged
from deployer.proxies.inspect.model import Fault, Place, ProxyState, fault
from deployer.proxies.limits import Limit, Value, number_of
from deployer.text.numbers import is_number

_DEFAULT_REQUESTS = 400
_DEFAULT_PROCESSES = 16
_DEFAULT_PREFORK_PROCESSES = 256


def limits(state: ProxyState) -> Iterator[Limit]:
    """Each limit with the number of WebSockets that it allows."""
    threads = number_of(state, r"ThreadsPerChild\s+(\d+)") or Value(number=25)
    asked = number_of(state, r"(?:MaxRequestWorkers|MaxClients)\s+(\d+)") or Value(
        number=_DEFAULT_REQUESTS
    )
    places = number_of(state, r"ServerLimit\s+(\d+)") or Value(number=_DEFAULT_PROCESSES)
    yield Limit(
        code="threads-exhausted",
        name=f"MaxRequestWorkers {asked.number}",
        websockets=asked.number,
        reckoning="a thread for each WebSocket",
        fix="Raise MaxRequestWorkers, and ServerLimit × ThreadsPerChild with it (a restart).",
        file=asked.file,
    )
    leaving = sum(each.is_leaving for each in state.processes)
    yield Limit(
        code="scoreboard-full",
        name=f"ServerLimit {places.number}",
        websockets=max(0, places.number - leaving) * threads.number,
        reckoning=f"{places.number} processes of {threads.number} threads"
        + (f", of which {leaving} finish connections from before a reload" if leaving else ""),
        fix="Raise ServerLimit (a restart), or limit old connections: `drain` in the playbook.",
        file=places.file,
    )


def reached(state: ProxyState) -> Iterator[Fault]:
    """Processes or threads, if they are used up or nearly so."""
    yield from _processes(state)
    yield from _threads(state)


def _setting(state: ProxyState, name: str) -> tuple[int | None, Place]:
    found = config_of(state).setting(name)
    if found is None or not found.words or not is_number(found.words[0]):
        return None, Place()
    return int(found.words[0]), Place(found.file, found.line)


def _server_limit(state: ProxyState) -> tuple[int, Place]:
    number, place = _setting(state, "serverlimit")
    if number is not None:
        return number, place
    is_prefork = "mpm_prefork" in config_of(state).modules
    return (_DEFAULT_PREFORK_PROCESSES if is_prefork else _DEFAULT_PROCESSES), place


def _processes(state: ProxyState) -> Iterator[Fault]:
    """Children that finish old connections keep the slots that new ones would need."""
    children = [each for each in state.processes if each.pid not in state.main_pids]
    leaving = [each for each in children if each.is_leaving]
    limit, place = _server_limit(state)
    is_full = len(leaving) >= limit
    in_log = logged(state, "AH03490|AH00485|AH00159")
    if not is_full and (len(leaving) < max(2, limit // 2)):
        return
    words = (
        f"Apache has room for {limit} processes (ServerLimit{'' if place.file else ', its default'}"
        f"), and {len(leaving)} with earlier configurations still serve {state.websockets}"
        " WebSockets"
    )
    if is_full or (in_log is not None and len(leaving) == len(children)):
        yield fault(
            place,
            code="scoreboard-full",
            explains=OF_FULL,
            cause=f"{words}: none is left for new connections, so they hang.",
            fix="systemctl restart apache2 closes those connections, and Apache answers again;"
            " raise ServerLimit, and reload less often.",
            directive=f"ServerLimit {max(16, limit * 4)}",
            stands_alone=True,
        )
    else:
        yield fault(
            place,
            code="scoreboard-full",
            explains=OF_FULL,
            cause=f"{words}: after {limit - len(leaving)} more reloads, Apache hangs.",
            fix="Raise ServerLimit, and reload less often.",
            directive=f"ServerLimit {max(16, limit * 4)}",
            severity="warning",
            stands_alone=True,
        )


def _threads(state: ProxyState) -> Iterator[Fault]:
    """Each WebSocket keeps a thread (in prefork: a process) for as long as it is open."""
    most, place = _setting(state, "maxrequestworkers")
    if most is None:
        most, place = _setting(state, "maxclients")
    most = most if most is not None else _DEFAULT_REQUESTS
    in_log = logged(state, "AH00484|AH00161|reached MaxRequestWorkers")
    is_full = state.websockets >= most
    if not is_full and (in_log is None or state.websockets < NEARLY * most):
        return
    yield fault(
        place,
        code="threads-exhausted",
        explains=OF_FULL,
        cause=f"Apache serves at most {most} requests at once (MaxRequestWorkers), and"
        f" {state.websockets} WebSockets keep that many threads: all other requests wait.",
        fix="Raise MaxRequestWorkers, and ServerLimit with it (ServerLimit × ThreadsPerChild must"
        " be at least as much); then restart Apache.",
        directive=f"MaxRequestWorkers {most * 4}",
        stands_alone=True,
    )
