"""Whether nginx can load its configuration."""

from __future__ import annotations

from deployer.agent.proxies.nginx import config
from deployer.agent.proxies.readiness import Loading, file_limit, refuse_taken


def check(loading: Loading) -> None:
    """Raises: StepError: an address is not free."""
    dump = loading.dump(["nginx", "-T", "-q"])
    refuse_taken(loading, "nginx", config.addresses(dump))
    numbers = config.numbers(dump)
    wanted = numbers.get("worker_connections", 512)
    files = numbers.get("worker_rlimit_nofile") or file_limit(loading, "soft")
    if files < wanted:
        loading.say(
            f"nginx: worker_connections is {wanted}, but a worker may open {files} files, enough "
            f"for {files // 2} WebSocket connections: set worker_rlimit_nofile"
        )
