"""What a proxy's state tells by itself, whatever was asked: its log, its processes, its limits."""

from __future__ import annotations

from deployer.proxies.inspect import capacity, drains, reloads
from deployer.proxies.inspect.model import Fault, ProxyState

__all__ = ["certain", "possible"]


def certain(state: ProxyState) -> tuple[Fault, ...]:
    """What comes before all that stands in the files: they are not what runs, or it is full."""
    return (*reloads.faults(state), *capacity.faults(state))


def possible(state: ProxyState) -> tuple[Fault, ...]:
    """What is looked at where the files explain nothing."""
    return (*reloads.stopped(state), *drains.faults(state), *reloads.hints(state))
