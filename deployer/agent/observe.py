"""The attributes of paths, users and services as they are now."""

from __future__ import annotations

import os
import stat

from deployer.agent import settings
from deployer.agent.accounts import group_name, user_name
from deployer.agent.errors import StepError
from deployer.agent.files import hash_of, names_in, type_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from deployer.agent.settings import Json


def path_attributes(path: str) -> Json | None:
    """The attributes of `path`; regular files are hashed, special files are not opened."""
    try:
        info = os.lstat(path)
    except FileNotFoundError:
        return None
    except NotADirectoryError:
        raise StepError(f"{path} cannot exist: {_first_non_folder(path)} is not a folder") from None
    kind = type_of(info)
    if kind == "link":
        return {"type": "link", "target": os.readlink(path)}
    attributes: Json = {
        "type": kind,
        "mode": f"{stat.S_IMODE(info.st_mode):04o}",
        "owner": user_name(info.st_uid),
        "group": group_name(info.st_gid),
    }
    if kind == "file":
        attributes["sha256"] = hash_of(path)
        attributes["size"] = info.st_size
    return attributes


def _first_non_folder(path: str) -> str:
    parts = path.split("/")
    for count in range(2, len(parts)):
        folder = "/".join(parts[:count])
        if not os.path.isdir(folder):
            return folder
    return os.path.dirname(path)


def user_attributes(name: str) -> Json | None:
    import grp
    import pwd

    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    return {
        "uid": entry.pw_uid,
        "group": group_name(entry.pw_gid),
        "groups": sorted(group.gr_name for group in grp.getgrall() if name in group.gr_mem),
        "home": entry.pw_dir,
        "shell": entry.pw_shell,
        "comment": entry.pw_gecos,
    }


def service_attributes(unit: Json | None) -> Json | None:
    """`enabled` and `active` from what `systemctl show` reports; `None` without such a unit."""
    if unit is None or unit.get("LoadState") in (None, "", "not-found"):
        return None
    state = unit.get("UnitFileState", "")
    name = unit.get("Id", "").rpartition(".")[0]
    enabled = state in ("enabled", "enabled-runtime")
    if state == "generated":  # an init script, enabled by links in /etc/rc*.d
        enabled = any(
            entry[:1] == "S" and entry[3:] == name
            for folder in ("rc2.d", "rc3.d", "rc5.d")
            for entry in names_in(os.path.join(settings.ETC, folder))
        )
    return {"enabled": enabled, "active": unit.get("ActiveState") in ("active", "reloading")}
