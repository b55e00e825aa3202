"""What is wrong in a proxy's configuration and state, on the way of one request."""

from __future__ import annotations

from deployer.inspection.model import Fault, ProxyState
from deployer.inspection.readers import READERS, STATE_RULES


def faults(state: ProxyState, *, name: str, port: int, path: str, tls: bool) -> tuple[Fault, ...]:
    """What is wrong on the way of requests for `path` at `name` and `port`, most certain first."""
    reader = READERS.get(state.proxy)
    found: tuple[Fault, ...] = ()
    if reader is not None:
        found = reader().faults(state, name=name, port=port, path=path, tls=tls)
    for rule in STATE_RULES:
        found += rule(state)
    return found
