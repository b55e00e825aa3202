"""Faults in a proxy's state, independent of a request: its log, its processes, its limits."""

from __future__ import annotations

from deployer.proxies.inspect import capacity, drains, reloads
from deployer.proxies.inspect.model import Fault, ProxyState

__all__ = ["certain", "possible"]


def certain(state: ProxyState) -> tuple[Fault, ...]:
    """Faults that precede those in the files: they are not loaded, or a limit is reached."""
    return (*reloads.faults(state), *capacity.faults(state))


def possible(state: ProxyState) -> tuple[Fault, ...]:
    """Faults to consider if the files explain nothing."""
    return (*reloads.stopped(state), *drains.faults(state), *reloads.hints(state))
