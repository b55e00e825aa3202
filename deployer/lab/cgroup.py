"""A control group of its own for each host.

systemd-nspawn with ``--keep-unit`` puts a host's processes into ``payload`` below the group that
it is started in. Two hosts started from one shell would share that group, and with it the group of
each service of the same name: one host's systemd would count the other's nginx as its own. Where
systemd is in charge of this machine it gives each host a scope; elsewhere a group is made here.

Source: https://systemd.io/CONTROL_GROUP_INTERFACE/, cgroups(7)
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

from deployer.errors import LabError

_PARENT = "deployer-lab"
_SYSTEMD_IS_IN_CHARGE = Path("/run/systemd/system")  # sd_booted(3)

#: Joins the groups whose ``cgroup.procs`` are named before ``--``, then becomes the rest.
_JOIN = 'while [ "$1" != -- ]; do echo 0 >"$1"; shift; done; shift; exec "$@"'


def in_own_group(name: str, argv: list[str]) -> list[str]:
    """`argv`, so that it runs in a control group of its own; the group is made where need be.

    Raises:
        LabError: no group can be made.
    """
    if _SYSTEMD_IS_IN_CHARGE.is_dir():
        scope = ["systemd-run", "--scope", "--quiet", "--collect", f"--unit={_PARENT}-{name}"]
        return [*scope, f"--description=Rehearsal host {name}", "--property=Delegate=yes", *argv]
    groups = list(_groups(name))
    for group in groups:
        try:
            group.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LabError(
                f"No control group can be made in {group.parent.parent}: {error.strerror}.",
                hint="Rehearsal hosts need a machine of their own, or a privileged container.",
            ) from error
    lists = [str(group / "cgroup.procs") for group in groups]
    return ["sh", "-c", _JOIN, "sh", *lists, "--", *argv]


def remove_group(name: str, *, timeout_s: float = 5.0) -> None:
    """Remove what `in_own_group` made, once the processes in it are gone."""
    deadline = time.monotonic() + timeout_s
    for group in _groups(name):
        while group.is_dir() and not _removed(group) and time.monotonic() < deadline:
            time.sleep(0.01)  # a process that has ended leaves its group a moment later
        if group.parent.is_dir():
            _rmdir(group.parent)  # the last host's; refused while there are others


def _groups(name: str) -> Iterator[Path]:
    """The group's folders, in the hierarchies that systemd-nspawn looks at."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, where, kind, options, *_ = line.split()
        if kind == "cgroup2" or (kind == "cgroup" and "name=systemd" in options.split(",")):
            yield Path(where) / _PARENT / name


def _removed(group: Path) -> bool:
    # Unlike Path.rglob, it passes over folders that go away while it looks.
    for folder, _, _ in os.walk(group, topdown=False):
        _rmdir(Path(folder))
    return _rmdir(group)


def _rmdir(folder: Path) -> bool:
    try:
        folder.rmdir()
    except OSError:
        return not folder.exists()
    return True
