"""Byte streams to addresses that only the host can reach: its loopback, its Unix sockets."""

from __future__ import annotations

import base64
import contextlib
import errno
import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from deployer.transport.framing import Message

if TYPE_CHECKING:
    from paramiko import Channel

#: The maximum size of one relayed message, so that other messages are not delayed.
_RELAYED_BYTES = 24 * 1024

#: The errors of connect(2) that are not programming errors.
_CONNECT_ERRORS = (
    errno.ECONNREFUSED,
    errno.ENOENT,
    errno.EACCES,
    errno.ETIMEDOUT,
    errno.EHOSTUNREACH,
    errno.ENETUNREACH,
    errno.ECONNRESET,
    errno.EAGAIN,
)


class Stream(Protocol):
    """A connection, as `socket.socket` would be one; every call ends within `settimeout`.

    Raises: TimeoutError; ConnectionError or a different OSError if the connection breaks.
    """

    def sendall(self, data: bytes, /) -> object:
        """Send all of `data`."""

    def recv(self, size: int, /) -> bytes:
        """At most `size` bytes, waiting for the first; none at the end."""

    def settimeout(self, seconds: float | None, /) -> object:
        """Limit each later call to `seconds`; `None` takes the limit away."""

    def close(self) -> object:
        """End the connection."""


class ChannelStream:
    """A connection that sshd opens (direct-tcpip, RFC 4254, section 7.2)."""

    def __init__(self, channel: Channel, *, host: str) -> None:
        self._channel = channel
        self._host = host

    def sendall(self, data: bytes, /) -> None:
        """Send all of `data`."""
        try:
            self._channel.sendall(data)
        except TimeoutError:
            raise
        except (OSError, EOFError) as error:
            raise self._broken() from error

    def recv(self, size: int, /) -> bytes:
        """At most `size` bytes, none at the end."""
        data = self._channel.recv(size)
        if not data and not self._channel.get_transport().is_active():
            raise self._broken()
        return data

    def settimeout(self, seconds: float | None, /) -> None:
        """Limit each later call to `seconds`."""
        self._channel.settimeout(seconds)

    def close(self) -> None:
        """End the connection."""
        with contextlib.suppress(EOFError):  # the SSH connection is gone already
            self._channel.close()

    def _broken(self) -> ConnectionResetError:
        if self._channel.get_transport().is_active():
            return ConnectionResetError(errno.ECONNRESET, "closed by the other side")
        return ConnectionResetError(
            errno.ECONNRESET, f"the SSH connection to {self._host} is broken"
        )


class RelayStream:
    """A connection relayed by the agent if sshd forbids forwarding (docs/reference/protocol.md)."""

    def __init__(self, number: int, *, send: Callable[[Message], None]) -> None:
        self.number = number
        self._send = send
        self._changed = threading.Condition()
        self._received = bytearray()
        self._timeout_s: float | None = None
        self._has_ended = False
        self._broken = ""

    def sendall(self, data: bytes, /) -> None:
        """Send all of `data`."""
        for start in range(0, len(data), _RELAYED_BYTES):
            with self._changed:
                self._refuse_broken()
                if self._has_ended:
                    raise ConnectionResetError(errno.ECONNRESET, "closed by the other side")
            piece = base64.b64encode(data[start : start + _RELAYED_BYTES]).decode("ascii")
            self._send({"relay": self.number, "data_b64": piece})

    def recv(self, size: int, /) -> bytes:
        """At most `size` bytes, none at the end."""
        with self._changed:
            if not self._changed.wait_for(self._has_news, self._timeout_s):
                raise TimeoutError("timed out")
            if not self._received:
                self._refuse_broken()
            data = bytes(self._received[:size])
            del self._received[:size]
            return data

    def settimeout(self, seconds: float | None, /) -> None:
        """Limit each later call to `seconds`."""
        self._timeout_s = seconds

    def close(self) -> None:
        """End the connection."""
        with self._changed:
            if self._has_ended:
                return
            self._has_ended = True
            self._changed.notify_all()
        self._send({"relay": self.number, "closed": True})

    def feed(self, message: Message) -> None:
        """Handle a message of the agent for this relay."""
        with self._changed:
            self._received += base64.b64decode(message.get("data_b64", ""))
            self._has_ended = self._has_ended or bool(message.get("closed"))
            self._changed.notify_all()

    def break_off(self, why: str) -> None:
        """The connection to the host is lost."""
        with self._changed:
            self._broken = self._broken or why
            self._changed.notify_all()

    def _has_news(self) -> bool:
        return bool(self._received or self._has_ended or self._broken)

    def _refuse_broken(self) -> None:
        if self._broken:
            raise ConnectionResetError(errno.ECONNRESET, self._broken)


def relay_error(message: str) -> OSError:
    """The agent's message about a failed connection as Python's own error.

    The agent quotes the system's message; `OSError` chooses its subclass by the number.
    """
    for number in _CONNECT_ERRORS:
        if message.endswith(os.strerror(number)):
            return OSError(number, os.strerror(number))
    return TimeoutError(message) if message.endswith("timed out") else OSError(message)
