"""Who reads which proxy's configuration: a module for each, loaded when it is needed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from deployer.model import Proxy
from deployer.proxies.inspect.model import Fault, ProxyState, Served


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
    from deployer.proxies.nginx import inspect as nginx_inspect

    return nginx_inspect


def _apache() -> Reader:
    from deployer.proxies.apache import inspect as apache_inspect

    return apache_inspect


def _haproxy() -> Reader:
    from deployer.proxies.haproxy import inspect as haproxy_inspect

    return haproxy_inspect


#: By the proxy's word.
READERS: Mapping[Proxy, Callable[[], Reader]] = {
    "nginx": _nginx,
    "apache": _apache,
    "haproxy": _haproxy,
}
