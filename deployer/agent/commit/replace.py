"""Changing one path: atomically, and without following links that other users can redirect."""

from __future__ import annotations

import binascii
import errno
import os
import stat

from deployer.agent.encoding import sha256
from deployer.agent.files import look_at, type_of
from deployer.agent.reach import Reached

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from deployer.agent.settings import Entry, Json

_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def temporary_name(path: str) -> str:
    """The temporary name next to `path` for its replacement."""
    return os.path.join(os.path.dirname(path), _temporary(path))


def _temporary(path: str) -> str:
    return f".deployer-{sha256(os.fsencode(path)).hexdigest()[:16]}"


def replace_file(path: str, write: Callable[[int], None], like: Entry) -> None:
    """Replace `path` by a regular file with the mode ``m``, owner ``u``, ``g``, time ``n`` and
    extended attributes ``x`` of `like`; it is on the disk when this returns."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with Reached(path) as place:
        place.admit(like["u"])
        temporary = place.at(_temporary(path))
        if look_at(temporary) is not None:  # from a run that died here
            os.unlink(temporary)
        descriptor = os.open(temporary, flags, 0o600)
        try:
            write(descriptor)
            set_attributes(descriptor, like)
            os.fsync(descriptor)
            os.rename(temporary, place.here)
        except BaseException:
            os.unlink(temporary)
            raise
        finally:
            os.close(descriptor)
        place.sync()


def replace_link(path: str, target: str, like: Entry | None = None) -> None:
    """Replace `path` by a symbolic link; with the owner and time of `like`, if given."""
    with Reached(path) as place:
        place.admit(os.geteuid() if like is None else like["u"])
        temporary = place.at(_temporary(path))
        if look_at(temporary) is not None:
            os.unlink(temporary)
        os.symlink(target, temporary)
        try:
            if like is not None:
                _set_on_link(temporary, like)
            os.rename(temporary, place.here)
        except OSError:
            os.unlink(temporary)
            raise
        place.sync()


def make_folder(path: str, like: Entry) -> None:
    """Create a folder with the mode, owner, time and extended attributes of `like`."""
    with Reached(path) as place:
        place.admit(like["u"])
        os.mkdir(place.here, 0o700)
        descriptor = os.open(place.here, _OPEN | os.O_DIRECTORY)
        try:
            set_attributes(descriptor, like)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        place.sync()


def make_parents(path: str, uid: int) -> None:
    """Create the missing folders above `path`, as mkdir(1) would, for what will belong to `uid`.

    Below a link of that user, they belong to the user too.
    """
    missing = []
    folder = os.path.dirname(path)
    while look_at(folder) is None:
        missing.append(folder)
        folder = os.path.dirname(folder)
    for each in reversed(missing):
        with Reached(each) as place:
            owner = uid if place.links else os.geteuid()
            place.admit(owner)
            os.mkdir(place.here, 0o755)
            descriptor = os.open(place.here, _OPEN | os.O_DIRECTORY)
            try:
                os.chmod(descriptor, 0o755)  # noqa: S103 - as mkdir(1) would
                if owner != os.geteuid():
                    os.chown(descriptor, owner, -1)
            finally:
                os.close(descriptor)
            place.sync()


def make_fifo(path: str, like: Entry) -> None:
    """Create a named pipe with the attributes of `like`."""
    with Reached(path) as place:
        place.admit(like["u"])
        os.mkfifo(place.here, 0o600)
    change_attributes(path, like)


def change_attributes(path: str, like: Entry) -> None:
    """Set the attributes of `like` on what is at `path`, which must be of the type ``t`` of `like`,
    if it has one, or a regular file.

    Raises:
        OSError: it is anything else by now.
    """
    with Reached(path) as place:
        place.admit(like["u"])
        if like.get("t") == "link":
            _set_on_link(place.here, like)
            return
        descriptor = os.open(place.here, _OPEN)
        try:
            wanted = like.get("t", "file")
            if type_of(os.fstat(descriptor)) != wanted:
                raise OSError(errno.EINVAL, f"not a {wanted}", path)
            set_attributes(descriptor, like)
            if wanted != "fifo":
                os.fsync(descriptor)
        finally:
            os.close(descriptor)


def restore_time(path: str, modified_ns: int) -> None:
    """Set the time of a folder."""
    with Reached(path) as place:
        descriptor = os.open(place.here, _OPEN | os.O_DIRECTORY)
        try:
            info = os.fstat(descriptor)
            place.admit(info.st_uid)
            os.utime(descriptor, ns=(info.st_atime_ns, modified_ns))
        finally:
            os.close(descriptor)


def remove_entry(path: str) -> None:
    """Remove a file, a link or an empty folder.

    Raises:
        OSError: it is a folder that is not empty.
    """
    with Reached(path) as place:
        info = os.lstat(place.here)
        place.admit(info.st_uid)
        (os.rmdir if stat.S_ISDIR(info.st_mode) else os.unlink)(place.here)
        place.sync()


def remove_temporary(path: str) -> None:
    """Remove the temporary file of `path` that a run left when it died."""
    try:
        with Reached(path) as place:
            os.unlink(place.at(_temporary(path)))
    except FileNotFoundError:
        pass


def _set_on_link(path: str, like: Entry) -> None:
    os.chown(path, like["u"], like["g"], follow_symlinks=False)
    if like.get("n") is not None:
        os.utime(path, ns=(like["n"], like["n"]), follow_symlinks=False)


def set_attributes(descriptor: int, like: Entry) -> None:
    """Set owner, mode, extended attributes and time, in an order in which none resets another."""
    info = os.fstat(descriptor)
    if (info.st_uid, info.st_gid) != (like["u"], like["g"]):
        os.chown(descriptor, like["u"], like["g"])
    if stat.S_IMODE(os.fstat(descriptor).st_mode) != like["m"]:
        os.chmod(descriptor, like["m"])
    _set_extended_attributes(descriptor, like.get("x", {}))
    if like.get("n") is not None:
        os.utime(descriptor, ns=(info.st_atime_ns, like["n"]))


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
