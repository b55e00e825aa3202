"""Read a proxy's configuration by that proxy's own rules: what it does with a request, and faults.

Each proxy has a module `inspect` that is a `Reader`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

from deployer.proxies import PROXIES
from deployer.proxies.inspect import state as of_state
from deployer.proxies.inspect.model import Fault, ProxyState, Served


class Reader(Protocol):
    """What the `inspect` module of each proxy offers."""

    def served(
        self, state: ProxyState, *, name: str, port: int, path: str, tls: bool
    ) -> Served | None:
        """What the configuration does with such a request; `None` if that is unknown."""

    def faults(
        self, state: ProxyState, *, name: str, port: int, path: str, tls: bool
    ) -> tuple[Fault, ...]:
        """The faults on the path of such a request, the most certain first."""


def served(state: ProxyState, *, name: str, port: int, path: str, tls: bool) -> Served | None:
    """What becomes of requests for `path` at `name` that arrive at `port`.

    `None` if the proxy does not serve them, or its configuration cannot be read that far.
    """
    reader = PROXIES[state.proxy].reader
    return reader.served(state, name=name, port=port, path=path, tls=tls)


def faults(state: ProxyState, *, name: str, port: int, path: str, tls: bool) -> tuple[Fault, ...]:
    """Faults of the configuration and the state that affect such requests, most certain first."""
    reader = PROXIES[state.proxy].reader
    found = reader.faults(state, name=name, port=port, path=path, tls=tls)
    certain, possible = of_state.certain(state), of_state.possible(state)
    if any(fault.code == "reload-not-taken" for fault in (*certain, *possible)):
        # The proxy runs with other files: these may show the fault, or already its fix.
        found = tuple(
            fault if fault.stands_alone else replace(fault, is_certain=False) for fault in found
        )
    return (*certain, *found, *possible)
