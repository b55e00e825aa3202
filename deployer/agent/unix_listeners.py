"""Unix sockets on which a process listens, and those that it has left behind.

nginx before 1.19.1 leaves them when it is stopped gracefully, as systemd does, and does not start
again while they exist. Source: proc_pid_net(5); nginx, "CHANGES".
"""

from __future__ import annotations

import os
import socket
import stat

from deployer.agent.files import read_text
from deployer.agent.listeners import sockets_of

#: The flag of a socket that accepts connections, in /proc/net/unix.
_ACCEPTS = "00010000"


def unix_listeners(pid: int) -> list[str]:
    """The paths of the unix sockets on which a process listens."""
    own = sockets_of(pid)
    lines = read_text(f"/proc/{pid}/net/unix").splitlines()[1:]
    named = (line.split(None, 7) for line in lines if line.count("/"))
    return [
        each[7]
        for each in named
        if len(each) == 8 and each[3] == _ACCEPTS and each[6] in own and each[7].startswith("/")
    ]


def remove_stale(paths: list[str]) -> None:
    """Remove those of `paths` that are sockets on which no process listens."""
    for path in paths:
        try:
            if stat.S_ISSOCK(os.lstat(path).st_mode) and _is_refused(path):
                os.unlink(path)
        except OSError:
            continue


def _is_refused(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(1.0)
        try:
            line.connect(path)
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
    return False
