"""A separate control group for each host.

systemd-nspawn with ``--keep-unit`` puts a host's processes into ``payload`` below the group that
it is started in. Two hosts started from one shell would share that group, and with it the group of
each service of the same name: one host's systemd would count the other's nginx as its own. If this
machine runs systemd, each host gets a scope; otherwise a group is created here.

Source: https://systemd.io/CONTROL_GROUP_INTERFACE/, cgroups(7)
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

from deployer.errors import LabError

_PARENT = "deployer-lab"
_SYSTEMD_IS_RUNNING = Path("/run/systemd/system")  # sd_booted(3)

#: Joins the groups whose ``cgroup.procs`` precede ``--``, then executes the rest.
_JOIN = 'while [ "$1" != -- ]; do echo 0 >"$1"; shift; done; shift; exec "$@"'


def in_own_group(name: str, argv: list[str]) -> list[str]:
    """The command that runs `argv` in a separate control group, which is created if necessary.

    Raises:
        LabError: the group cannot be created.
    """
    if _SYSTEMD_IS_RUNNING.is_dir():
        scope = ["systemd-run", "--scope", "--quiet", "--collect", f"--unit={_PARENT}-{name}"]
        return [*scope, f"--description=Lab host {name}", "--property=Delegate=yes", *argv]
    groups = list(_groups(name))
    for group in groups:
        try:
            group.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LabError(
                f"Cannot create a control group in {group.parent.parent}: {error.strerror}.",
                hint="Lab hosts need a machine or a privileged container.",
            ) from error
    lists = [str(group / "cgroup.procs") for group in groups]
    return ["sh", "-c", _JOIN, "sh", *lists, "--", *argv]


def remove_group(name: str, *, timeout_s: float = 5.0) -> None:
    """Remove the group that `in_own_group` created, once its processes are gone."""
    deadline = time.monotonic() + timeout_s
    for group in _groups(name):
        while group.is_dir() and not _removed(group) and time.monotonic() < deadline:
            time.sleep(0.01)  # an ended process leaves its group with a short delay
        if group.parent.is_dir():
            _rmdir(group.parent)  # fails unless this was the last host


def _groups(name: str) -> Iterator[Path]:
    """The folders of the group, in the hierarchies that systemd-nspawn uses."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, where, kind, options, *_ = line.split()
        if kind == "cgroup2" or (kind == "cgroup" and "name=systemd" in options.split(",")):
            yield Path(where) / _PARENT / name


def _removed(group: Path) -> bool:
    # Unlike Path.rglob, os.walk ignores folders that disappear meanwhile.
    for folder, _, _ in os.walk(group, topdown=False):
        _rmdir(Path(folder))
    return _rmdir(group)


def _rmdir(folder: Path) -> bool:
    try:
        folder.rmdir()
    except OSError:
        return not folder.exists()
    return True
