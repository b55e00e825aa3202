"""TCP connections for SSH, and their failures in words."""

from __future__ import annotations

import contextlib
import errno
import queue
import socket
import threading
import time
from dataclasses import dataclass
from typing import Any

from deployer.errors import UnreachableError
from deployer.transport.process import seconds_left


class QuickSocket(socket.socket):
    """A TCP socket that acknowledges received data at once.

    A delayed acknowledgement meets Nagle's algorithm on the other side three times while an SSH
    connection is made, 40 ms each. The kernel clears the option, so it is set after each receive.

    Source: tcp(7), TCP_QUICKACK.
    """

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        data = super().recv(size, flags)
        with contextlib.suppress(OSError):  # closed by a different thread
            self.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        return data


@dataclass(frozen=True, slots=True)
class LocalAddress:
    """This end of a connection: ``any``, ``inet`` or ``inet6``, and an address to bind, if any."""

    family: str = "any"
    bind: str | None = None

    @property
    def number(self) -> int:
        """The family for the socket interface."""
        numbers = {"inet": socket.AF_INET, "inet6": socket.AF_INET6}
        return numbers.get(self.family, socket.AF_UNSPEC)


def connect_tcp(
    hostname: str,
    port: int,
    *,
    host: str,
    timeout_s: float,
    lost_after_s: float,
    local: LocalAddress = LocalAddress(),
) -> QuickSocket:
    """A connection to the first address of `hostname` that answers.

    `host` is the name in errors. The kernel closes the connection if sent data is not acknowledged
    within `lost_after_s`: a broken network does not block the sender.

    Raises: UnreachableError, within `timeout_s` for the name and as much for the addresses.
    """
    addresses = _resolve(hostname, port, host=host, timeout_s=timeout_s, family=local.number)
    deadline = time.monotonic() + timeout_s
    failures: list[str] = []
    for n, (family, address) in enumerate(addresses):
        share_s = seconds_left(deadline) / (len(addresses) - n)
        connection = QuickSocket(family, socket.SOCK_STREAM)
        try:
            connection.settimeout(max(share_s, 0.001))
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            lost_after_ms = int(lost_after_s * 1000)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, lost_after_ms)
            if local.bind is not None:
                connection.bind((local.bind, 0))
            connection.connect(address)
        except OSError as error:
            connection.close()
            failures.append(_in_words(error, str(address[0]), port, timeout_s))
        except BaseException:
            connection.close()
            raise
        else:
            return connection
    raise UnreachableError(
        "; ".join(failures),
        host=host,
        doing="connecting",
        hint=f"Is the host up, and does sshd listen on port {port}? Try: ssh -p {port} {hostname}",
    )


def _resolve(
    hostname: str, port: int, *, host: str, timeout_s: float, family: int
) -> list[tuple[int, tuple[Any, ...]]]:
    """Families and addresses of a name, in the resolver's order (RFC 6724)."""
    answer: queue.SimpleQueue[list[Any] | OSError | UnicodeError] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answer.put(socket.getaddrinfo(hostname, port, family, socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            answer.put(error)

    with contextlib.suppress(OSError, UnicodeError):  # a literal address needs no resolver
        numeric = socket.AI_NUMERICHOST
        found = socket.getaddrinfo(hostname, port, family, socket.SOCK_STREAM, flags=numeric)
        return [(entry[0], entry[4]) for entry in found]
    # The resolver has no timeout that a caller could set.
    threading.Thread(target=ask, name="resolve", daemon=True).start()
    try:
        resolved = answer.get(timeout=timeout_s)
    except queue.Empty:
        raise UnreachableError(
            f"cannot resolve {hostname!r}: no answer from the name servers within {timeout_s:g} s",
            host=host,
            doing="connecting",
        ) from None
    if isinstance(resolved, (OSError, UnicodeError)):
        reason = getattr(resolved, "strerror", None) or "not a host name"
        raise UnreachableError(
            f"cannot resolve {hostname!r}: {reason}",
            host=host,
            doing="connecting",
            hint="Correct the name in the inventory, or give its address as ansible_host.",
        ) from resolved
    return [(entry[0], entry[4]) for entry in resolved]


def _in_words(error: OSError, address: str, port: int, timeout_s: float) -> str:
    where = f"{address} port {port}"
    if isinstance(error, TimeoutError):
        return f"no answer from {where} within {timeout_s:g} s"
    if isinstance(error, ConnectionRefusedError):
        return f"connection refused by {where}"
    if error.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH):
        return f"no route to {where}"
    return f"cannot connect to {where}: {error.strerror or error}"
