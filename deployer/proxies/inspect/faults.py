"""What is wrong in a proxy's configuration and state, on the way of one request."""

from __future__ import annotations

from dataclasses import replace

from deployer.proxies.inspect import state as of_state
from deployer.proxies.inspect.by_proxy import READERS
from deployer.proxies.inspect.model import Fault, ProxyState


def faults(state: ProxyState, *, name: str, port: int, path: str, tls: bool) -> tuple[Fault, ...]:
    """What is wrong on the way of requests for `path` at `name` and `port`, most certain first."""
    reader = READERS.get(state.proxy)
    found: tuple[Fault, ...] = ()
    if reader is not None:
        found = reader().faults(state, name=name, port=port, path=path, tls=tls)
    certain, possible = of_state.certain(state), of_state.possible(state)
    if any(fault.code == "reload-not-taken" for fault in (*certain, *possible)):
        # The files may say what is wrong, or what will be right: they are not what runs.
        found = tuple(
            fault if fault.stands_alone else replace(fault, is_certain=False) for fault in found
        )
    return (*certain, *found, *possible)
