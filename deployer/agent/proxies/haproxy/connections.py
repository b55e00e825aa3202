"""The connections of HAProxy, which counts its streams itself.

Source: HAProxy's management guide.
"""

from __future__ import annotations

import socket

from deployer.agent.files import read_text
from deployer.agent.proxies.connections import time_set
from deployer.agent.proxies.haproxy.config import FILE
from deployer.agent.settings import CHUNK_BYTES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from deployer.agent.proxies.connections import Worker

_SOCKET_LIMIT_S = 3.0
_DRAIN = r"^\s*hard-stop-after\s+(\d+)(ms|s|m|h|d)?\s*$"


def websockets(worker: Worker, main: int) -> int:
    """How many WebSockets a worker has."""
    busy = _busy(worker.pid, main) if worker.pairs() else None
    return worker.pairs() if busy is None else busy


def clients(worker: Worker) -> list[str]:
    """The addresses of all connections of clients."""
    return worker.ends(of_tunnels=False)


def drain_s() -> float | None:
    """For how long connections may stay open after a reload; `None` if there is no limit.

    A time without a unit is in milliseconds.
    """
    return time_set((FILE,), _DRAIN, default_unit="ms")


def _busy(worker: int, master: int) -> int | None:
    """How many streams a worker has to services; `None` if unknown.

    The master forwards commands to each worker, also to those with earlier configurations.
    """
    words = read_text(f"/proc/{master}/cmdline").split("\0")
    path = words[words.index("-S") + 1].partition(",")[0] if "-S" in words else ""
    text = ask_socket(path, f"@!{worker} show stat -1 2 -1\n") if path else ""
    rows = [line.split(",") for line in text.splitlines()]
    busy = [row[4] for row in rows if len(row) > 4 and row[1] == "BACKEND" and row[4].isdigit()]
    return sum(map(int, busy)) if busy else None


def ask_socket(path: str, command: str) -> str:
    """HAProxy's answer to a command on one of its sockets; empty if there is none."""
    parts = []
    try:
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(_SOCKET_LIMIT_S)
            line.connect(path.replace("unix@", ""))
            line.sendall(command.encode())
            line.shutdown(socket.SHUT_WR)
            while True:
                data = line.recv(CHUNK_BYTES)
                if not data:
                    break
                parts.append(data)
    except OSError:
        return ""
    return b"".join(parts).decode("utf-8", "replace")
