"""How many files this process may open: each connection of a load is one."""

from __future__ import annotations

import resource

from deployer.errors import UsageError

#: What this process has open beside the load.
_RESERVE = 200


def raise_open_files_limit(number: int) -> None:
    """Raise this process's limit of open files so far that `number` more can be opened.

    Raises: UsageError where the system does not let us.
    """
    needed = number + _RESERVE
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    try:
        above = hard != resource.RLIM_INFINITY and hard < needed
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, needed if above else hard))
    except (ValueError, OSError) as error:
        raise UsageError(
            f"--load {number} needs {needed:,} open files here, and this process may have"
            f" {hard:,}; no host was touched",
            hint="Raise it (`ulimit -Hn`, LimitNOFILE, /etc/security/limits.conf), or load less.",
        ) from error
