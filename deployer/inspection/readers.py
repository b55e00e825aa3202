"""Who reads which proxy's configuration: a module for each, loaded when it is needed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from deployer.inspection.model import Fault, ProxyState, Served
from deployer.model import Proxy


class Reader(Protocol):
    """What a module that reads one proxy's configuration offers."""

    def served(
        self, state: ProxyState, *, name: str, port: int, path: str, tls: bool
    ) -> Served | None:
        """What the configuration does with such a request; `None` where nobody can tell."""

    def faults(
        self, state: ProxyState, *, name: str, port: int, path: str, tls: bool
    ) -> tuple[Fault, ...]:
        """What is wrong on the way of such a request, the most certain first."""


def _nginx() -> Reader:
    from deployer.inspection import nginx

    return nginx


def _apache() -> Reader:
    from deployer.inspection import apache

    return apache


def _haproxy() -> Reader:
    from deployer.inspection import haproxy

    return haproxy


#: By the proxy's word.
READERS: Mapping[Proxy, Callable[[], Reader]] = {
    "nginx": _nginx,
    "apache": _apache,
    "haproxy": _haproxy,
}
