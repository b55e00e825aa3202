"""Whether HAProxy can load its configuration."""

from __future__ import annotations

import re

from deployer.agent.errors import StepError
from deployer.agent.proxies.haproxy import config
from deployer.agent.proxies.haproxy.config import FILE
from deployer.agent.proxies.readiness import Loading, file_limit, refuse_taken

#: The files that HAProxy opens in addition to two sockets per connection: 40 in 2.6, 54 in 3.0.
_OWN_FILES = 40


def check(loading: Loading) -> None:
    """Raises: StepError: an address is not free, or it needs too many open files."""
    refuse_taken(loading, "HAProxy", config.addresses(FILE), shares=True)
    maxconn = config.number(FILE, "maxconn") or 0
    needed, limit = 2 * maxconn + _OWN_FILES, file_limit(loading, "hard")
    limit = config.number(FILE, "fd-hard-limit") or limit
    if not maxconn or needed <= limit:
        return
    words = (
        f"maxconn {maxconn} in {FILE} needs {needed} open files, two per connection, but "
        f"HAProxy may open {limit}: lower it to {(limit - _OWN_FILES) // 2}, or raise "
        "LimitNOFILE of haproxy.service"
    )
    version = re.search(r"version (\d+)\.(\d+)", loading.dump(["haproxy", "-v"]))
    if version and tuple(map(int, version.groups())) < (2, 3):
        loading.say(f"HAProxy: {words}")  # it starts anyway, and runs out of them later
    else:
        raise StepError(words)
