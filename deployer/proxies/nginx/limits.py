"""How many WebSockets nginx's limits allow, and which are reached.

Source: ngx_core_module; worker_connections counts connections to services and listeners too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from deployer.proxies.inspect.capacity import NEARLY, OF_FULL, logged
from deployer.proxies.inspect.model import Fault, Place, ProxyState, fault, place_of
from deployer.proxies.limits import Limit, Value, files_limit, number_of, times, workers

_DEFAULT_CONNECTIONS = 512


def limits(state: ProxyState) -> Iterator[Limit]:
    """Each limit with the number of WebSockets that it allows."""
    number = max(1, len(workers(state)))
    each = number_of(state, r"worker_connections\s+(\d+)\s*;") or Value(number=_DEFAULT_CONNECTIONS)
    own = len(state.listeners) + 1
    yield Limit(
        code="connections-exhausted",
        name=f"worker_connections {each.number}",
        websockets=number * max(0, (each.number - own) // 2),
        reckoning=f"two for each WebSocket, in each of {times(number, 'worker')}",
        fix="Raise worker_connections in events { }, and with it worker_rlimit_nofile.",
        file=each.file,
    )
    yield from files_limit(
        state,
        fix="Raise worker_rlimit_nofile in nginx.conf, or LimitNOFILE of nginx.service.",
    )


def reached(state: ProxyState) -> Iterator[Fault]:
    """worker_connections, if they are used up or nearly so."""
    place, number = Place(), _DEFAULT_CONNECTIONS
    for each in state.config:
        for found in re.finditer(r"^[^#\n]*?\bworker_connections\s+(\d+)", each.text, re.MULTILINE):
            place, number = place_of(each, found), int(found.group(1))
    in_log = logged(state, r"\d+ worker_connections are not enough")
    serving = [each for each in state.processes if "worker process" in each.title]
    taking = max(1, len([each for each in serving if not each.is_leaving]))
    if in_log is None and 2 * state.websockets < NEARLY * number * taking:
        return
    yield fault(
        place,
        code="connections-exhausted",
        explains=OF_FULL,
        cause=f"Each of nginx's {taking} workers has room for {number} connections"
        f" (worker_connections), and a WebSocket takes two: {state.websockets} are open"
        + (", and new ones were refused a moment ago." if in_log is not None else "."),
        fix="Raise worker_connections, and worker_rlimit_nofile with it; then reload nginx.",
        directive=f"worker_connections {max(4096, number * 4)};",
        severity="error" if in_log is not None else "warning",
        stands_alone=True,
    )
