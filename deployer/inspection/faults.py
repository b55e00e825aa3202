"""What is wrong in a proxy's configuration and state, on the way of one request."""

from __future__ import annotations

from deployer.inspection import state as of_state
from deployer.inspection.model import Fault, ProxyState
from deployer.inspection.readers import READERS


def faults(state: ProxyState, *, name: str, port: int, path: str, tls: bool) -> tuple[Fault, ...]:
    """What is wrong on the way of requests for `path` at `name` and `port`, most certain first."""
    reader = READERS.get(state.proxy)
    found: tuple[Fault, ...] = ()
    if reader is not None:
        found = reader().faults(state, name=name, port=port, path=path, tls=tls)
    return (*of_state.certain(state), *found, *of_state.possible(state))
