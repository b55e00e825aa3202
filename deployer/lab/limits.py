"""The kernel's limit that a machine full of hosts meets first."""

from __future__ import annotations

from pathlib import Path

from deployer.errors import LabError

_INSTANCES = Path("/proc/sys/fs/inotify/max_user_instances")  # inotify(7)
_EACH_HOST = 16  # systemd and what it starts have six to ten each
_ENOUGH = 8192


def allow_hosts(count: int) -> None:
    """Let `count` more hosts watch their files: all of them are root's, whose limit is often 128.

    A systemd beyond that limit ends without a word. A higher limit costs nothing, and it stays.

    Raises:
        LabError: the limit is too low, and may not be changed.
    """
    limit = int(_INSTANCES.read_text())
    if limit >= _ENOUGH:
        return
    try:
        _INSTANCES.write_text(f"{_ENOUGH}\n")
    except OSError as error:
        if limit < _EACH_HOST * count:
            raise LabError(
                f"{count} hosts need fs.inotify.max_user_instances of {_EACH_HOST * count} or "
                f"more; it is {limit}, and cannot be set: {error.strerror}.",
                hint=f"sysctl fs.inotify.max_user_instances={_ENOUGH}",
            ) from error
