"""A connection to a unix socket as a running proxy makes it: as its user, with its view of files.

Root may open every socket, and sees the /tmp of the host. A proxy's worker may not, and with
PrivateTmp= it does not. Source: unix(7), proc_pid_root(5), systemd.exec(5).
"""

from __future__ import annotations

import os

from deployer.agent.files import names_in, read_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from socket import socket

#: Our roles let each proxy into this group; a HAProxy that runs without sockets is not in it yet.
_GROUP = "www-data"
_UNKNOWN = 255


def connect_as(proxy: str, connection: socket, path: str) -> None:
    """Connect `connection` to `path` as a worker of `proxy`; as root if none is running.

    Raises:
        OSError: as from connect(2).
    """
    worker = _worker_of(proxy)
    if worker is None or os.geteuid() != 0:
        connection.connect(path)
        return
    child = os.fork()
    if child == 0:
        code = _UNKNOWN
        try:
            _become(worker)
            connection.connect(path)  # the parent has the same socket
            code = 0
        except OSError as error:
            code = error.errno or _UNKNOWN
        finally:
            os._exit(code)
    status = os.waitpid(child, 0)[1]
    code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else _UNKNOWN
    if code:
        raise OSError(code, os.strerror(code))


def _worker_of(proxy: str) -> int | None:
    """A process of `proxy` that does not belong to root."""
    pids = sorted(int(name) for name in names_in("/proc") if name.isdigit())
    named = (pid for pid in pids if _field(pid, "Name")[:1] == [proxy])
    return next((pid for pid in named if _field(pid, "Uid")[:1] not in ([], ["0"])), None)


def _become(worker: int) -> None:
    """Take on the user, the groups and the files of a worker, but not its chroot."""
    parent = int(_field(worker, "PPid")[0])
    seen_by = parent if _field(parent, "Name") == _field(worker, "Name") else worker
    user, group = int(_field(worker, "Uid")[1]), int(_field(worker, "Gid")[1])
    groups = {group, *map(int, _field(worker, "Groups")), *_shared_group()}
    os.chroot(f"/proc/{seen_by}/root")
    os.chdir("/")
    os.setgroups(sorted(groups))
    os.setgid(group)
    os.setuid(user)


def _field(pid: int, name: str) -> list[str]:
    for line in read_text(f"/proc/{pid}/status").splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return value.split()
    return []


def _shared_group() -> list[int]:
    for line in read_text("/etc/group").splitlines():
        name, _, rest = line.partition(":")
        if name == _GROUP:
            return [int(rest.split(":")[1])]
    return []
