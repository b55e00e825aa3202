"""What a host's proxies really have and do: read as they are, by nobody who deployed them.

`model.py` has what a host says of its proxies, `served.py` what a proxy's configuration does with a
request, `faults.py` what is wrong in it, `explain.py` what that means to checks that have failed.
Everything here is pure: it works on the answer to one request of the runner (`inspect`).
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
