"""Raise this process's limit of open files: each connection of a load is one."""

from __future__ import annotations

import resource

from deployer.errors import UsageError

#: Files that this process has open in addition to the load.
_RESERVE = 200


def raise_open_files_limit(number: int) -> None:
    """Raise this process's limit of open files so that `number` more can be opened.

    Raises: UsageError if the system does not allow it.
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
            f"--load {number} needs {needed:,} open files on this machine, but the limit of this"
            f" process is {hard:,}; no host was touched",
            hint="Raise the limit (`ulimit -Hn`, LimitNOFILE, /etc/security/limits.conf), or use a"
            " smaller --load.",
        ) from error
