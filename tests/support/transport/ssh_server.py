"""A real SSH server on loopback that does what a test wants.

The server is Paramiko's: it runs commands as local children, and forwards, or refuses to.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import paramiko
from paramiko.common import OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED, OPEN_FAILED_CONNECT_FAILED


@cache
def key() -> paramiko.PKey:
    """One key for all: it opens every server, and is every server's own."""
    return paramiko.ECDSAKey.generate()


@dataclass
class SshServer(paramiko.ServerInterface):
    """A listening server. `stalls_at` is where it falls silent."""

    folder: Path
    forwards: bool = True
    stalls_at: str = ""
    commands: list[str] = field(default_factory=list)
    logins: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.released = threading.Event()
        self._transports: list[paramiko.Transport] = []
        self._channels: list[paramiko.Channel] = []
        self._threads: list[threading.Thread] = []
        self._children: list[subprocess.Popen[bytes]] = []
        self._destinations: dict[int, socket.socket] = {}
        self._start(self._accept)

    @property
    def connections(self) -> int:
        """How many connections were made."""
        return len(self._transports)

    def _start(self, work: Callable[..., None], *arguments: object) -> None:
        def run() -> None:
            with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
                work(*arguments)

        thread = threading.Thread(target=run, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            if self.stalls_at == "banner":
                self._start(self._hold, connection)
                continue
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            transport = paramiko.Transport(connection)
            transport.add_server_key(key())
            self._transports.append(transport)
            with contextlib.suppress(paramiko.SSHException, EOFError):
                transport.start_server(event=threading.Event(), server=self)
            self._start(self._accept_channels, transport)

    def _accept_channels(self, transport: paramiko.Transport) -> None:
        while transport.is_alive():
            channel = transport.accept(0.02)
            if channel is None:
                continue
            self._channels.append(channel)  # an unreferenced one is closed before its command
            if channel.chanid in self._destinations:
                self._start(self._forward, channel, self._destinations.pop(channel.chanid))

    def _hold(self, connection: socket.socket) -> None:
        self.released.wait()
        connection.close()

    def close(self) -> None:
        if self.released.is_set():
            return
        self.released.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for child in self._children:
            child.kill()
        for transport in self._transports:
            transport.close()
            transport.join(2)
        for thread in self._threads:
            thread.join(2)

    # --- what Paramiko asks -----------------------------------------------------------------------

    def get_allowed_auths(self, username: str) -> str:
        return "publickey,password"

    def check_auth_publickey(self, username: str, offered: paramiko.PKey) -> int:
        if self.stalls_at == "login":
            self.released.wait()
        self.logins.append(f"{username}:{offered.get_name()}")
        return paramiko.AUTH_SUCCESSFUL if offered == key() else paramiko.AUTH_FAILED

    def check_auth_password(self, username: str, password: str) -> int:
        self.logins.append(f"{username}:password")
        return paramiko.AUTH_SUCCESSFUL if password == "open sesame" else paramiko.AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return paramiko.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        if self.stalls_at == "exec":
            self.released.wait()
        self.commands.append(command.decode())
        self._start(self._run, channel, command.decode())
        return True

    def check_channel_direct_tcpip_request(
        self, chanid: int, origin: tuple[str, int], destination: tuple[str, int]
    ) -> int:
        if not self.forwards:
            return OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED
        try:
            connection = socket.create_connection(destination)
        except OSError:
            return OPEN_FAILED_CONNECT_FAILED
        self._destinations[chanid] = connection
        return paramiko.OPEN_SUCCEEDED

    # --- what it does -----------------------------------------------------------------------------

    def _run(self, channel: paramiko.Channel, command: str) -> None:
        environment = {**os.environ, "PATH": f"{self.folder}:{os.environ['PATH']}"}
        child = subprocess.Popen(
            ["/bin/sh", "-c", command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            env=environment,
        )
        self._children.append(child)
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stderr is not None

        def copy(source: int, send: object) -> None:
            with contextlib.suppress(OSError, EOFError):
                while data := os.read(source, 32768):
                    send(data)  # type: ignore[operator]

        outputs = [
            threading.Thread(target=copy, args=(child.stdout.fileno(), channel.sendall)),
            threading.Thread(target=copy, args=(child.stderr.fileno(), channel.sendall_stderr)),
        ]

        def feed() -> None:
            with contextlib.suppress(OSError):
                while data := channel.recv(32768):
                    child.stdin.write(data)  # type: ignore[union-attr]
            child.stdin.close()  # type: ignore[union-attr]

        feeder = threading.Thread(target=feed)
        for thread in (*outputs, feeder):
            thread.start()
        with contextlib.suppress(OSError, EOFError):
            status = child.wait()
            for thread in outputs:
                thread.join()
            channel.send_exit_status(status if status >= 0 else 128 - status)
        with contextlib.suppress(OSError, EOFError):
            channel.close()
        feeder.join()
        child.stdout.close()
        child.stderr.close()

    def _forward(self, channel: paramiko.Channel, connection: socket.socket) -> None:
        def back() -> None:
            with contextlib.suppress(OSError, EOFError):
                while data := connection.recv(32768):
                    channel.sendall(data)
            with contextlib.suppress(OSError, EOFError):  # the client may have disconnected
                channel.close()

        returning = threading.Thread(target=back)
        returning.start()
        with contextlib.suppress(OSError):
            while data := channel.recv(32768):
                connection.sendall(data)
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
        returning.join()
        connection.close()


@contextlib.contextmanager
def echo_server(folder: Path | None = None) -> Iterator[tuple[int, str]]:
    """Sends back what it gets, by TCP or, in `folder`, by a unix socket: the port, the path."""
    if folder is None:
        listener = socket.create_server(("127.0.0.1", 0))
        where = (listener.getsockname()[1], "")
    else:
        path = str(folder / "echo")
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
        listener.listen()
        where = (0, path)
    threads: list[threading.Thread] = []

    def serve(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            while data := connection.recv(65536):
                connection.sendall(data)

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=serve, args=(connection,), daemon=True)
            threads.append(thread)
            thread.start()

    accepting = threading.Thread(target=accept, daemon=True)
    accepting.start()
    try:
        yield where
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        accepting.join(2)
        for thread in threads:
            thread.join(2)
