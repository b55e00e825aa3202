"""Replacing a file or a link atomically."""

from __future__ import annotations

import binascii
import os
import stat

from deployer.agent.encoding import sha256
from deployer.agent.files import look_at, sync_folder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from deployer.agent.settings import Entry, Json


def temporary_name(path: str) -> str:
    """The temporary name next to `path` for its replacement."""
    name = f".deployer-{sha256(os.fsencode(path)).hexdigest()[:16]}"
    return os.path.join(os.path.dirname(path), name)


def replace_file(path: str, write: Callable[[int], None], like: Entry) -> None:
    """Replace `path` by a regular file with the mode ``m``, owner ``u``, ``g``, time ``n`` and
    extended attributes ``x`` of `like`; it is on the disk when this returns."""
    temporary = temporary_name(path)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    if look_at(temporary) is not None:  # from a run that died here
        os.unlink(temporary)
    descriptor = os.open(temporary, flags, 0o600)
    try:
        write(descriptor)
        set_attributes(descriptor, like)
        os.fsync(descriptor)
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    finally:
        os.close(descriptor)
    sync_folder(os.path.dirname(path))


def set_attributes(target: Any, like: Entry) -> None:
    """Set owner, mode, extended attributes and time, in an order in which none resets another."""
    info = os.stat(target)
    if (info.st_uid, info.st_gid) != (like["u"], like["g"]):
        os.chown(target, like["u"], like["g"])
    if stat.S_IMODE(os.stat(target).st_mode) != like["m"]:
        os.chmod(target, like["m"])
    _set_extended_attributes(target, like.get("x", {}))
    if like.get("n") is not None:
        os.utime(target, ns=(info.st_atime_ns, like["n"]))


def _set_extended_attributes(target: Any, wanted: Json) -> None:
    try:
        present = os.listxattr(target)
        for name in set(present) - set(wanted):
            os.removexattr(target, name)
        for name, value in wanted.items():
            data = binascii.a2b_base64(value)
            if name not in present or os.getxattr(target, name) != data:
                os.setxattr(target, name, data)
    except OSError:
        pass  # the file system or a security module forbids it: the probe afterwards decides


def replace_link(path: str, target: str) -> None:
    """Replace `path` by a symbolic link."""
    temporary = temporary_name(path)
    if look_at(temporary) is not None:
        os.unlink(temporary)
    os.symlink(target, temporary)
    try:
        os.rename(temporary, path)
    except OSError:
        os.unlink(temporary)
        raise
    sync_folder(os.path.dirname(path))
