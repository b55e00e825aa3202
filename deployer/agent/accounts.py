"""The names and IDs of users and groups."""

from __future__ import annotations

from deployer.agent.errors import StepError


def user_name(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def group_name(gid: int) -> str:
    import grp

    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def user_id(name: str) -> int:
    """The ID of a user, given by name or ID."""
    import pwd

    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        if name.isdigit():
            return int(name)
        raise StepError(f"the user {name} does not exist on the host") from None


def group_id(name: str) -> int:
    """The ID of a group, given by name or ID."""
    import grp

    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        if name.isdigit():
            return int(name)
        raise StepError(f"the group {name} does not exist on the host") from None
