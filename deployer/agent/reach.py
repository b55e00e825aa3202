"""Reaching the folder of a path without following links that other users could redirect.

Root writes into folders of unprivileged users, and any of them may be a link to /etc, or become one
between a check and the write. So a path is opened folder by folder, and what is done below the last
one is done through its descriptor. Links of root are followed. A link of another user is followed
only for what will belong to that user, and only into a folder of that user or one next to the link:
places where the user could have written it.
"""

from __future__ import annotations

import errno
import os
import stat

from deployer.agent.accounts import user_name
from deployer.agent.errors import StepError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

_OPEN = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_MOST_LINKS = 40  # as in Linux


class LinkError(StepError):
    """A link of another user is on the way to a path."""


class Link:
    """A followed link of a user other than root, and the folder it is in.

    In a sticky folder such as /tmp, the folders next to the link may belong to anyone.
    """

    def __init__(self, path: str, owner: int, is_in_sticky: bool) -> None:
        self.path = path
        self.owner = owner
        self.folder = "" if is_in_sticky else os.path.dirname(path)


class Reached:
    """The open folder of `path`: ``with Reached(path) as place``.

    `here` is the path for system calls. Its last component is not followed by them, unless they
    follow links: open with O_NOFOLLOW, and use lstat, rename, unlink, mkdir, symlink.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.links: list[Link] = []
        self._folder = -1

    def __enter__(self) -> Reached:
        self._folder = self._open(os.path.dirname(self.path))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._folder)
        if isinstance(error, OSError) and str(error.filename).startswith("/proc/self/fd/"):
            error.filename = self.path

    @property
    def folder(self) -> str:
        """The path of the open folder for system calls."""
        return f"/proc/self/fd/{self._folder}"

    @property
    def here(self) -> str:
        """The path for system calls."""
        return self.at(os.path.basename(self.path))

    def at(self, name: str) -> str:
        """The path for system calls of the entry `name` of the folder."""
        return f"{self.folder}/{name}"

    def sync(self) -> None:
        """Write the folder to the disk."""
        descriptor = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def admit(self, uid: int) -> None:
        """Check that what will belong to `uid` may be written here, or removed.

        Raises:
            LinkError: a user made a link on the way, and could not write it there.
        """
        for link in self.links:
            if link.owner != uid or not self._is_own(link):
                raise LinkError(self.refused(link, uid))

    def refused(self, link: Link, uid: int) -> str:
        """The message about a link that is not followed."""
        if link.owner != uid:
            why = f"{self.path} belongs to {user_name(uid)}"
        else:
            why = (
                f"it leads to {os.readlink(self.folder)}, which does not belong to {user_name(uid)}"
            )
        return (
            f"{self.path} is not changed through {link.path}, a link that the user "
            f"{user_name(link.owner)} can redirect: {why}. Use the path that the link leads to"
        )

    def _is_own(self, link: Link) -> bool:
        leads_to = os.readlink(self.folder)
        is_near = leads_to == link.folder or leads_to.startswith(link.folder + "/")
        return (bool(link.folder) and is_near) or os.stat(self.folder).st_uid == link.owner

    def _open(self, path: str) -> int:
        """The descriptor of a folder; `links` has the links of other users on the way."""
        trusted = (0, os.geteuid())
        waiting = _names(path)
        count = 0
        folder = os.open("/", _OPEN | os.O_DIRECTORY)
        try:
            while waiting:
                name = waiting.pop()
                inner, is_link = _open_one(name, folder, path)
                if not is_link:
                    os.close(folder)
                    folder = inner
                    continue
                try:
                    owner, target = os.fstat(inner).st_uid, os.readlink("", dir_fd=inner)
                finally:
                    os.close(inner)
                count += 1
                if count > _MOST_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
                if owner not in trusted:
                    where = os.path.join(os.readlink(f"/proc/self/fd/{folder}"), name)
                    is_sticky = bool(os.fstat(folder).st_mode & stat.S_ISVTX)
                    self.links.append(Link(where, owner, is_sticky))
                if target.startswith("/"):
                    root = os.open("/", _OPEN | os.O_DIRECTORY)
                    os.close(folder)
                    folder = root
                waiting += _names(target)
        except BaseException:
            os.close(folder)
            raise
        return folder


def _names(path: str) -> list[str]:
    """The components of a path, the last one first."""
    return [name for name in path.split("/") if name not in ("", ".")][::-1]


def _open_one(name: str, folder: int, path: str) -> tuple[int, bool]:
    """The folder or link `name`, and whether it is a link."""
    try:
        return os.open(name, _OPEN | os.O_DIRECTORY, dir_fd=folder), False
    except OSError as error:
        if error.errno != errno.ENOTDIR:
            error.filename = path
            raise
    try:
        found = os.open(name, _OPEN, dir_fd=folder)
    except OSError as error:
        error.filename = path
        raise
    if stat.S_ISLNK(os.fstat(found).st_mode):
        return found, True
    os.close(found)
    raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)


def refusal(path: str, uid: int) -> str:
    """Why what is to belong to `uid` cannot be written at `path`; empty if it can."""
    place = Reached(path)
    try:
        with place:
            place.admit(uid)
    except LinkError as error:
        return error.message
    except OSError:  # a folder is still missing: the links before it are known
        return next((place.refused(link, uid) for link in place.links if link.owner != uid), "")
    return ""


def has_links_of_others(path: str) -> bool:
    """Whether a link of a user other than root is on the way to `path`."""
    place = Reached(path)
    try:
        with place:
            pass
    except OSError:
        pass
    return bool(place.links)
