"""SSH connections: opened by Fabric over an own socket, to a host whose key is checked."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from threading import Timer
from typing import TYPE_CHECKING, Any

from deployer.errors import HostError, UnreachableError
from deployer.model import Host
from deployer.transport.command import Elevation
from deployer.transport.heavy import preload
from deployer.transport.host_key import HostKeyPolicy
from deployer.transport.login import Login
from deployer.transport.options import ConnectOptions
from deployer.transport.settings import SshSettings, host_settings, jump_settings
from deployer.transport.sockets import LocalAddress, connect_tcp

if TYPE_CHECKING:
    import socket

    import fabric
    from paramiko import Channel, Transport

#: More jumps than this mean a ProxyJump that leads back to itself.
_MAX_JUMPS = 8

#: Below the idle timeouts of firewalls, and usual values of sshd's ClientAliveInterval.
_KEEPALIVE_S = 15


class SshConnection:
    """One SSH connection, with the jump hosts or the proxy command that it goes through."""

    def __init__(self, settings: SshSettings, connection: fabric.Connection, route: _Route) -> None:
        self.settings = settings
        self._connection = connection
        self._route = route

    @property
    def transport(self) -> Transport:
        transport: Transport = self._connection.transport
        return transport

    def elevation(self, options: ConnectOptions, host: Host) -> Elevation:
        """How the user becomes root."""
        return Elevation.of(options, host=host.name, user=self.settings.user, variables=host.vars)

    def execute(self, line: str, *, doing: str) -> Channel:
        """A channel in which the login shell runs `line`. Raises: UnreachableError."""
        from paramiko import SSHException

        # Paramiko itself waits for the answer to exec without a limit.
        limit = Timer(self.settings.connect_timeout_s, self.close)
        limit.daemon = True
        limit.start()
        try:
            channel: Channel = self._connection.create_session()
            channel.exec_command(line)
        except (SSHException, EOFError, OSError) as error:
            raise UnreachableError(
                f"{self.settings.address} does not run commands"
                + (f": {error}" if str(error) and limit.is_alive() else " in time"),
                host=self.settings.host,
                doing=doing,
            ) from error
        finally:
            limit.cancel()
        return channel

    def close(self) -> None:
        """Close the connection and its route. Returns at once, and never raises."""
        self._route.shut()
        with contextlib.suppress(Exception):
            self._connection.close()
        self._route.close()


class _Route:
    """The route of a connection: a socket, and what has to stay open as long as it."""

    def __init__(self, sock: socket.socket | Channel, *, over: SshConnection | None = None) -> None:
        self.sock = sock
        self._over = over
        self._proxy: subprocess.Popen[bytes] | None = None
        self._proxy_errors: Any = None

    @classmethod
    def by_command(cls, command: str) -> _Route:
        """The standard streams of a ProxyCommand, as a socket."""
        import socket

        ours, theirs = socket.socketpair()
        errors = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the route
        # Its own session: Ctrl-C must not close it while a commit is reverted over it.
        proxy = subprocess.Popen(
            ["/bin/sh", "-c", f"exec {command}"],
            stdin=theirs.fileno(),
            stdout=theirs.fileno(),
            stderr=errors,
            start_new_session=True,
        )
        theirs.close()
        route = cls(ours)
        route._proxy, route._proxy_errors = proxy, errors
        return route

    def complaint(self) -> str:
        """The proxy command's standard error, for the text of an error."""
        if self._proxy_errors is None:
            return ""
        self._proxy_errors.seek(0)
        text: str = self._proxy_errors.read(4096).decode(errors="replace").strip()
        return f"output of the proxy command: {text}" if text else ""

    def shut(self) -> None:
        """Notify the other end at once: `close` alone waits for the reading thread."""
        import socket

        if isinstance(self.sock, socket.socket):
            with contextlib.suppress(OSError):
                self.sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the socket and its route."""
        with contextlib.suppress(Exception):
            self.sock.close()
        if self._over is not None:
            self._over.close()
        if self._proxy is not None:
            with contextlib.suppress(OSError):
                os.killpg(self._proxy.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._proxy.wait(0.5)
            if self._proxy.returncode is None:
                self._proxy.kill()
                self._proxy.wait()
            self._proxy_errors.close()


def open_ssh(host: Host, options: ConnectOptions) -> SshConnection:
    """Log in to `host`.

    Raises: UnreachableError, HostKeyError, AuthenticationError, each step within its time limit;
    UsageError for an invalid SSH config.
    """
    return _open(host_settings(host, options), host, options, jumps=0)


def _open(
    settings: SshSettings, host: Host, options: ConnectOptions, *, jumps: int
) -> SshConnection:
    if jumps > _MAX_JUMPS:
        raise UnreachableError(
            f"more than {_MAX_JUMPS} jumps: does ProxyJump lead back to itself?",
            host=settings.host,
            doing="connecting",
            hint="Give the jump host a block of its own in ~/.ssh/config with ProxyJump none.",
        )
    route = _route(settings, host, options, jumps=jumps)
    try:
        connection = _log_in(settings, route)
    except BaseException:
        route.close()
        raise
    return SshConnection(settings, connection, route)


def _route(settings: SshSettings, host: Host, options: ConnectOptions, *, jumps: int) -> _Route:
    if settings.proxy_jump:
        *before, hop = settings.proxy_jump
        inner = jump_settings(hop, before=tuple(before), host=host, options=options)
        over = _open(inner, host, options, jumps=jumps + 1)
        try:
            return _Route(_through(over, settings), over=over)
        except BaseException:
            over.close()
            raise
    if settings.proxy_command is not None:
        return _Route.by_command(settings.proxy_command)
    return _Route(
        connect_tcp(
            settings.hostname,
            settings.port,
            host=settings.host,
            timeout_s=settings.connect_timeout_s,
            lost_after_s=options.silence_timeout_s,
            local=LocalAddress(family=settings.address_family, bind=settings.bind_address),
        )
    )


def _through(over: SshConnection, settings: SshSettings) -> Channel:
    from paramiko import SSHException

    try:
        return over.transport.open_channel(
            "direct-tcpip",
            dest_addr=(settings.hostname, settings.port),
            src_addr=("", 0),
            timeout=settings.connect_timeout_s,
        )
    except (SSHException, EOFError, OSError) as error:
        raise UnreachableError(
            f"the jump host {over.settings.hostname} does not connect to "
            f"{settings.address}: {error or 'it closed the connection'}",
            host=settings.host,
            doing="connecting",
        ) from error


def _log_in(settings: SshSettings, route: _Route) -> fabric.Connection:
    preload()  # after the socket is open: sshd starts a process in the meantime
    import fabric
    import paramiko
    from paramiko.config import SSHConfig

    policy = HostKeyPolicy(settings)
    timeout_s = settings.connect_timeout_s

    def transport(sock: Any, **arguments: Any) -> Transport:
        made = paramiko.Transport(sock, packetizer_class=_packetizer(), **arguments)
        security = made.get_security_options()
        security.key_types = policy.preferred(security.key_types)
        made.handshake_timeout = timeout_s
        return made

    connection = fabric.Connection(
        settings.hostname,
        user=settings.user,
        port=settings.port,
        # Fabric's and Invoke's own files are not read; the SSH config has been read already.
        config=fabric.Config(
            lazy=True, ssh_config=SSHConfig(), overrides={"load_ssh_configs": False}
        ),
        connect_kwargs={
            "sock": route.sock,
            "timeout": timeout_s,
            "banner_timeout": timeout_s,
            "auth_timeout": timeout_s,
            "channel_timeout": timeout_s,
            "transport_factory": transport,
            "auth_strategy": Login(settings),
            "allow_agent": False,
            "look_for_keys": False,
        },
    )
    connection.client.set_missing_host_key_policy(policy)
    started = time.monotonic()
    try:
        connection.open()
    except HostError:
        _drop(connection)
        raise
    except (paramiko.SSHException, EOFError, OSError) as error:
        _drop(connection)
        waited_s = time.monotonic() - started
        raise _not_opened(settings, error, route.complaint(), waited_s=waited_s) from error
    except BaseException:
        _drop(connection)
        raise
    connection.transport.set_keepalive(_KEEPALIVE_S)
    return connection


def _drop(connection: fabric.Connection) -> None:
    """Close a connection that is not open yet; Fabric's `close` does not."""
    with contextlib.suppress(Exception):
        connection.client.close()


def _not_opened(
    settings: SshSettings, error: Exception, complaint: str, *, waited_s: float
) -> UnreachableError:
    from paramiko.ssh_exception import IncompatiblePeer

    if isinstance(error, IncompatiblePeer):
        problem = f"no common algorithm with {settings.address}: {error}"
    elif "banner" in str(error).lower():
        # Paramiko reports the same for a silent peer and for one that closes the connection.
        problem = f"{settings.address} accepts the connection, but " + (
            "closes it before the SSH greeting"
            if waited_s < 0.9 * settings.connect_timeout_s
            else f"sends no SSH greeting within {settings.connect_timeout_s:g} s"
        )
    elif isinstance(error, (EOFError, ConnectionError)):
        problem = f"{settings.address} closed the connection during the key exchange"
    elif "No existing session" in str(error) or "imeout" in str(error) or "timed out" in str(error):
        # Paramiko's start_client returns after its timeout; the key is missing then.
        problem = (
            f"{settings.address} did not complete the key exchange "
            f"within {settings.connect_timeout_s:g} s"
        )
    else:
        problem = f"no SSH connection to {settings.address}: {error}"
    return UnreachableError(problem, host=settings.host, doing="connecting", hint=complaint)


def _packetizer() -> type:
    from paramiko.packet import Packetizer

    class QuietPacketizer(Packetizer):
        """Limits the wait for the first message by that for the key exchange.

        Paramiko's own timer is a thread that keeps an interrupted process from ending.
        """

        def start_handshake(self, timeout: float) -> None:
            pass

    return QuietPacketizer
