"""Which worker of Apache a request uses, and so which ``upgrade=`` and ``timeout=`` apply.

Apache creates a worker for the address of each ProxyPass. If an earlier worker's address is a
prefix of it, no new one is created, and the options of the later line are ignored (logged at level
info only). A line whose address has ``$1`` is found only if its replacement has at least two
characters; otherwise the worker has no options. Measured with 2.4.67 and 2.4.71.
Source: mod_proxy, "ProxyPass", section on worker sharing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from deployer.proxies.apache.config import ApacheConfig
from deployer.proxies.apache.tree import Directive
from deployer.proxies.apache.virtual_hosts import Pass, site_passes

_NOT_LOOKED_UP = ("balancer://", "unix:")


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """One worker: its address, and the line that created it."""

    address: str
    made_by: Pass

    def takes(self, url: str) -> bool:
        """Whether requests to `url` can use this worker."""
        if len(self.address) > len(url):
            return False
        if "$" not in self.address:
            return url.startswith(self.address)
        pattern = re.sub(r"\\\$\d", ".*", re.escape(self.address))
        return re.match(pattern, url) is not None


def workers_of(config: ApacheConfig, site: Directive | None) -> list[Worker]:
    """The workers of a site, in the order in which Apache creates them."""
    workers: list[Worker] = []
    for each in _looked_up(config, site):
        address = _address(each.target)
        if not any(address.startswith(one.address) for one in workers):
            workers.append(Worker(address=address, made_by=each))
    return workers


def worker_for(
    config: ApacheConfig, site: Directive | None, made: Pass, path: str
) -> Worker | None:
    """The worker of a request that `made` matches; `None` for the one without options."""
    address = _address(made.target)
    base = re.sub(r"^(\w+://[^/]*).*", r"\1", address, flags=re.DOTALL)
    return worker_of_url(config, site, base + made.path_at_service(path, address[len(base) :]))


def worker_of_url(config: ApacheConfig, site: Directive | None, url: str) -> Worker | None:
    """The worker for an address, such as the result of a rewrite rule."""
    fitting = [each for each in workers_of(config, site) if each.takes(url)]
    return max(fitting, key=lambda each: len(each.address), default=None)


def is_looked_up(made: Pass) -> bool:
    """Whether its address selects the worker; balancers have their own members."""
    return bool(made.target) and not made.target.lower().startswith(_NOT_LOOKED_UP)


def _looked_up(config: ApacheConfig, site: Directive | None) -> Iterator[Pass]:
    return (each for each in site_passes(config, site) if is_looked_up(each))


def _address(target: str) -> str:
    """The address with scheme and host in lower case, without a default port."""
    found = re.match(r"(\w+)://([^/$]*)(.*)", target, re.DOTALL)
    if found is None:
        return target
    scheme, host, rest = found.group(1).lower(), found.group(2).lower(), found.group(3)
    usual = {"http": ":80", "ws": ":80", "https": ":443", "wss": ":443"}.get(scheme, "")
    return f"{scheme}://{host.removesuffix(usual) if usual else host}{rest}"
