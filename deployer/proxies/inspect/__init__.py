"""The actual state of a host's proxies, regardless of who set them up.

`model.py` has the host's reply about its proxies, `by_proxy.py` how a proxy's configuration handles
a request and which faults it has, `explain.py` what that means for failed checks. Everything here
is pure: it uses the reply to one request to the agent (`inspect`).
"""

from __future__ import annotations

from deployer.proxies.inspect.by_proxy import faults, served
from deployer.proxies.inspect.explain import explained, noticed, refused_by_address
from deployer.proxies.inspect.model import (
    ConfigFile,
    Fault,
    Inspection,
    Process,
    ProxyState,
    Served,
    inspection_from_json,
)

__all__ = [
    "ConfigFile",
    "Fault",
    "Inspection",
    "Process",
    "ProxyState",
    "Served",
    "explained",
    "faults",
    "inspection_from_json",
    "noticed",
    "refused_by_address",
    "served",
]
