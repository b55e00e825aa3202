"""From a host of the inventory to a link with its agent."""

from __future__ import annotations

import os
import shlex
import socket as sockets
import sys
from typing import TYPE_CHECKING

from deployer.errors import UnreachableError
from deployer.model import Host
from deployer.text.connection import AUTOMATIC_PYTHON, PYTHON
from deployer.transport.bootstrap import Bootstrap
from deployer.transport.command import Elevation
from deployer.transport.link import Link
from deployer.transport.options import ConnectOptions
from deployer.transport.pipes import ChannelPipe, ChildPipe
from deployer.transport.refusal import NoPythonError
from deployer.transport.ssh_config import local_user
from deployer.transport.starting import start_agent
from deployer.transport.streams import ChannelStream, Stream

if TYPE_CHECKING:
    from deployer.transport.ssh import SshConnection

_PYTHON_OPTIONS = ("-I", "-S", "-c")


def connect(host: Host, options: ConnectOptions, *, bootstrap: Bootstrap | None = None) -> Link:
    """Connect to `host`, become root if required, and start the agent there.

    `bootstrap` starts a different program, in tests.

    Raises: UnreachableError, HostKeyError, AuthenticationError; UsageError for a wrong SSH config.
    """
    if bootstrap is None:
        from deployer.agent import bundle

        bootstrap = Bootstrap(bundle.digest(), bundle.archive)
    if host.is_local:
        return _connect_locally(host, options, bootstrap)
    from deployer.transport.ssh import open_ssh

    connection = open_ssh(host, options)
    try:
        try:
            return _start_over_ssh(connection, host, options, bootstrap)
        except NoPythonError:
            if not options.install_python:
                raise
        from deployer.transport.install_python import install_python

        install_python(connection, host, options)
        return _start_over_ssh(connection, host, options, bootstrap)
    except BaseException:
        connection.close()
        raise


def _connect_locally(host: Host, options: ConnectOptions, bootstrap: Bootstrap) -> Link:
    user = "root" if os.geteuid() == 0 else local_user()
    elevation = Elevation.of(options, host=host.name, user=user, variables=host.vars)
    python, *further = interpreter(host, options) or [sys.executable or "/usr/bin/python3"]
    code = bootstrap.python_code(announced=elevation.password is not None)
    try:
        pipe = ChildPipe(elevation.argv([python, *further, *_PYTHON_OPTIONS, code]))
    except OSError as error:
        raise UnreachableError(
            f"{python} cannot be started: {error.strerror}",
            host=host.name,
            doing="starting the agent",
        ) from error
    link = Link(host, pipe, silence_timeout_s=options.silence_timeout_s, dial=_dial_locally)
    try:
        start_agent(link, bootstrap, elevation=elevation, timeout_s=options.connect_timeout_s)
    except BaseException:
        link.close()
        raise
    return link


def interpreter(host: Host, options: ConnectOptions) -> list[str]:
    """The words of ``ansible_python_interpreter``; empty if the choice is ours."""
    text = options.value(host.vars, PYTHON)
    return [] if text is None or text in AUTOMATIC_PYTHON else shlex.split(str(text))


def _start_over_ssh(
    connection: SshConnection, host: Host, options: ConnectOptions, bootstrap: Bootstrap
) -> Link:
    elevation = connection.elevation(options, host)
    code = bootstrap.python_code(announced=elevation.password is not None)
    python = interpreter(host, options) or ["python3"]
    line = elevation.shell_line([*python, *_PYTHON_OPTIONS, code])
    channel = connection.execute(line, doing="starting the agent")
    pipe = ChannelPipe(channel, close=connection.close)
    link = Link(
        host,
        pipe,
        silence_timeout_s=options.silence_timeout_s,
        dial=_SshDial(connection),
    )
    timeout_s = connection.settings.connect_timeout_s
    try:
        start_agent(link, bootstrap, elevation=elevation, timeout_s=timeout_s)
    except NoPythonError as error:
        if python == ["python3"]:
            raise
        raise UnreachableError(
            f"the Python of ansible_python_interpreter, {shlex.join(python)}, is missing",
            host=host.name,
            doing="starting the agent",
            hint="Correct the path, or leave the variable out: python3 of the PATH is then used.",
        ) from error
    return link


class _SshDial:
    """Streams through sshd's forwarding, until sshd forbids it."""

    def __init__(self, connection: SshConnection) -> None:
        self._connection = connection
        self._is_forbidden = False

    def __call__(self, *, host: str, port: int, socket: str, timeout_s: float) -> Stream | None:
        """A stream; `None` if the agent must open it, or report why it cannot.

        sshd only reports that a connection failed, not whether it was refused, and Paramiko may
        give that answer to a different thread that is opening a channel at the same time.
        """
        if socket or self._is_forbidden:
            return None
        from paramiko import ChannelException, SSHException

        transport = self._connection.transport
        try:
            channel = transport.open_channel(
                "direct-tcpip", dest_addr=(host, port), src_addr=("127.0.0.1", 0), timeout=timeout_s
            )
        except ChannelException as error:
            # RFC 4254, section 5.1: SSH_OPEN_ADMINISTRATIVELY_PROHIBITED
            self._is_forbidden = self._is_forbidden or error.code == 1
            return None
        except SSHException as error:
            if "imeout" in str(error):
                raise TimeoutError("timed out") from error
            return None
        except (EOFError, OSError):
            return None  # the connection is broken, as the missing reply will show
        channel.settimeout(timeout_s)
        return ChannelStream(channel, host=self._connection.settings.host)


def _dial_locally(*, host: str, port: int, socket: str, timeout_s: float) -> Stream | None:
    """A plain socket; `None` if only root may connect."""
    if not socket:
        return sockets.create_connection((host, port), timeout=timeout_s)
    stream = sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM)
    stream.settimeout(timeout_s)
    try:
        stream.connect(socket)
    except PermissionError:
        stream.close()
        return None
    except BaseException:
        stream.close()
        raise
    return stream
