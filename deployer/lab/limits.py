"""The kernel limit that a machine with many hosts reaches first."""

from __future__ import annotations

from pathlib import Path

from deployer.errors import LabError

_INSTANCES = Path("/proc/sys/fs/inotify/max_user_instances")  # inotify(7)
_EACH_HOST = 16  # systemd and its services use six to ten
_ENOUGH = 8192


def allow_hosts(count: int) -> None:
    """Raise root's inotify limit for `count` more hosts; the default of 128 is often too low.

    A systemd that exceeds the limit exits silently. A higher limit costs nothing, and is kept.

    Raises:
        LabError: the limit is too low and cannot be changed.
    """
    limit = int(_INSTANCES.read_text())
    if limit >= _ENOUGH:
        return
    try:
        _INSTANCES.write_text(f"{_ENOUGH}\n")
    except OSError as error:
        if limit < _EACH_HOST * count:
            raise LabError(
                f"{count} hosts need fs.inotify.max_user_instances of at least "
                f"{_EACH_HOST * count}; it is {limit}, and cannot be changed: {error.strerror}.",
                hint=f"sysctl fs.inotify.max_user_instances={_ENOUGH}",
            ) from error
