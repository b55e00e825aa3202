"""The control group of a process: the one thing about it that it cannot choose itself.

A process may take any name and any parent, but it stays in the cgroup of the unit that started it,
or in one below. Source: proc_pid_cgroup(5), systemd.resource-control(5).
"""

from __future__ import annotations

from deployer.agent.files import read_text

_UNITS = (".service", ".scope")


def cgroup_of(pid: int | str) -> str:
    """The path of a process's cgroup as systemd names it in ``ControlGroup``; empty if unknown.

    With cgroup v1, and with both versions, systemd tracks units in its own hierarchy.
    """
    found = {"": "", "name=systemd": ""}
    for line in read_text(f"/proc/{pid}/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers in found:
            found[controllers] = path
    legacy = found["name=systemd"]
    return legacy if legacy not in ("", "/") else found[""]


def is_in(path: str, top: str) -> bool:
    """Whether the cgroup `path` is `top` or one below it."""
    return top not in ("", "/") and (path == top or path.startswith(top + "/"))


def unit_in(path: str) -> str:
    """The unit that a cgroup belongs to, such as ``chat.service``; empty if there is none.

    Services create cgroups of any name below their own, so the first unit in the path counts: that
    of a user's own service is ``user@1000.service``.
    """
    own = cgroup_of(1)
    top = own[: -len("/init.scope")] if own.endswith("/init.scope") else ""
    relative = path[len(top) :] if is_in(path, top) else path
    return next((part for part in relative.split("/") if part.endswith(_UNITS)), "")


def place_in(path: str) -> str:
    """The unit for people; a user's own is ``chat.service of user@1000.service``."""
    unit = unit_in(path)
    if not unit.startswith("user@"):
        return unit
    below = path.partition(unit + "/")[2].split("/")
    own = next((part for part in below if part.endswith(_UNITS) and part != "init.scope"), "")
    return f"{own} of {unit}" if own else unit


def unit_of(pid: int) -> str:
    """The system service of a process, without the suffix; empty if there is none."""
    unit = unit_in(cgroup_of(pid))
    return unit[: -len(".service")] if unit.endswith(".service") else ""
