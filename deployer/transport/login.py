"""The login: keys of ssh-agent, keys in files, a password, in OpenSSH's order.

`Login` is what Paramiko calls an authentication strategy.
"""

from __future__ import annotations

import base64
import contextlib
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deployer.errors import AuthenticationError, UnreachableError
from deployer.transport.known_hosts import fingerprint
from deployer.transport.settings import SshSettings

if TYPE_CHECKING:
    from paramiko import PKey, Transport
    from paramiko.agent import AgentKey

_MAX_KEY_BYTES = 1 << 20


class Login:
    """Logs in to one host, and records each attempt and its failure for the error message."""

    def __init__(self, settings: SshSettings) -> None:
        self._settings = settings
        self._tried: list[str] = []
        self._allowed: list[str] = []
        self._agent: socket.socket | None = None

    def authenticate(self, transport: Transport) -> None:
        """Try one key after another, then the password, finally the method ``none``.

        Raises: AuthenticationError; UnreachableError if the host stops responding.
        """
        try:
            self._authenticate(transport)
        finally:
            if self._agent is not None:
                self._agent.close()

    def _authenticate(self, transport: Transport) -> None:
        from paramiko import AuthenticationException, SSHException

        user = self._settings.user
        try:
            for method in self._settings.methods:
                if method == "publickey" and self._by_key(transport, user):
                    return
                if method == "password" and self._by_password(transport, user):
                    return
            if not self._tried and self._accepted(lambda: transport.auth_none(user), "no key"):
                return
        except AuthenticationException as error:
            if "timeout" in str(error).lower():
                raise self._silent() from error
            raise self._refused(str(error)) from error
        except (SSHException, EOFError, OSError) as error:
            # Too many failures: the host hangs up (sshd_config(5), MaxAuthTries).
            raise self._refused("the host ended the connection") from error
        raise self._refused("")

    def _by_key(self, transport: Transport, user: str) -> bool:
        return any(
            self._accepted(lambda key=key: transport.auth_publickey(user, key), name)
            for name, key in self._keys()
        )

    def _by_password(self, transport: Transport, user: str) -> bool:
        password = self._settings.password
        return password is not None and self._accepted(
            lambda: transport.auth_password(user, password), "the password"
        )

    def _accepted(self, attempt: Any, name: str) -> bool:
        from paramiko import AuthenticationException, BadAuthenticationType

        try:
            still_asked = attempt()
        except BadAuthenticationType as error:
            self._allowed = error.allowed_types
            self._tried.append(f"{name}: the host does not offer this method")
            return False
        except AuthenticationException as error:
            if type(error) is not AuthenticationException or "failed." not in str(error):
                raise
            self._tried.append(f"{name}: refused")
            return False
        if still_asked:
            self._allowed = list(still_asked)
            self._tried.append(f"{name}: accepted, but the host requires more")
            return False
        return True

    # --- keys -------------------------------------------------------------------------------------

    def _keys(self) -> Iterator[tuple[str, PKey]]:
        """First those of ssh-agent, then those in files, each once."""
        settings = self._settings
        explicit = settings.only_identities
        if explicit and len(settings.identity_files) == 1:
            path = settings.identity_files[0]
            key: PKey | None = None
            with contextlib.suppress(OSError, _EncryptedKey, _UnusableKey):  # explained below
                key = _read_key(path)
            if key is not None:  # ssh-agent is optional
                yield f"key {path}", key
                return
        offered: set[bytes] = set()
        wanted = self._public_keys() if explicit else None
        for agent_key in self._agent_keys():
            blob = agent_key.asbytes()
            if wanted is None or blob in wanted:
                offered.add(blob)
                yield f"key {fingerprint(blob)} of ssh-agent", agent_key
        for path in settings.identity_files:
            loaded = self._load(path, offered)
            if loaded is not None and loaded.asbytes() not in offered:
                offered.add(loaded.asbytes())
                yield f"key {path}", loaded

    def _load(self, path: str, offered: set[bytes]) -> PKey | None:
        try:
            return _read_key(path)
        except FileNotFoundError:
            if self._settings.only_identities:
                self._tried.append(f"key {path}: no such file")
        except OSError as error:
            self._tried.append(f"key {path}: cannot be read: {error.strerror}")
        except _EncryptedKey:
            if _public_key(path) not in offered:
                self._tried.append(f"key {path}: encrypted, and not in ssh-agent (ssh-add {path})")
        except _UnusableKey as error:
            self._tried.append(f"key {path}: {error}")
        return None

    def _public_keys(self) -> set[bytes]:
        blobs = (_public_key(path) for path in self._settings.identity_files)
        return {blob for blob in blobs if blob is not None}

    def _agent_keys(self) -> tuple[AgentKey, ...]:
        path = self._settings.agent_socket
        if path is None:
            return ()
        from paramiko import SSHException
        from paramiko.agent import AgentSSH

        agent = AgentSSH()
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(self._settings.connect_timeout_s)
        try:
            self._agent = connection  # it signs during the login
            connection.connect(path)
            agent._connect(connection)  # type: ignore[attr-defined] # Agent() asks SSH_AUTH_SOCK alone
        except (OSError, SSHException) as error:
            self._tried.append(f"ssh-agent at {path}: {error}")
            return ()
        return agent.get_keys()

    # --- errors -----------------------------------------------------------------------------------

    def _silent(self) -> UnreachableError:
        settings = self._settings
        return UnreachableError(
            f"{settings.address} did not respond to the login of {settings.user} "
            f"within {settings.connect_timeout_s:g} s",
            host=settings.host,
            doing="logging in",
        )

    def _refused(self, why: str) -> AuthenticationError:
        settings = self._settings
        tried = self._tried or ["there is no key, no ssh-agent and no password to try"]
        lines = [f"{settings.address} rejects the login of {settings.user}"]
        lines += [f"  {line}" for line in (*tried, *([why] if why else []))]
        if self._allowed:
            lines.append(f"  the host offers: {', '.join(self._allowed)}")
        command = f"ssh -p {settings.port} {settings.user}@{settings.hostname}"
        return AuthenticationError(
            "\n".join(lines),
            host=settings.host,
            hint="Name the key with ansible_ssh_private_key_file and the user with ansible_user, "
            "or log in with a password (-k) as another user (-u); "
            f"this must work: {command} true",
        )


class _EncryptedKey(Exception):  # noqa: N818 - never leaves this module
    """A private key that needs a passphrase."""


class _UnusableKey(Exception):  # noqa: N818 - never leaves this module
    """A file without a usable private key; the text has the reason."""


def _read_key(path: str) -> PKey:
    """The private key of a file. Raises: OSError, _EncryptedKey, _UnusableKey."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from paramiko import PasswordRequiredException, PKey, SSHException
    from paramiko.pkey import UnknownKeyType

    for each in (path, path + "-cert.pub"):
        _check_size(each)
    try:
        return PKey.from_path(path)
    except (PasswordRequiredException, TypeError) as error:
        # cryptography says TypeError: "Password was not given but private key is encrypted".
        raise _EncryptedKey from error
    except UnknownKeyType as error:
        raise _UnusableKey("is of an unsupported type") from error
    except (SSHException, ValueError, UnsupportedAlgorithm) as error:
        raise _UnusableKey("is not a private key in OpenSSH or PEM format") from error


def _check_size(path: str) -> None:
    """Check that a file can be read without waiting, and is not too large for a key.

    Raises: _UnusableKey.
    """
    with contextlib.suppress(OSError):  # missing, or reported when it is read
        status = os.stat(path)  # noqa: PTH116 - a Path would cost more than the call
        if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
            raise _UnusableKey(f"{path} is a pipe or device, not a file")
        if status.st_size > _MAX_KEY_BYTES:
            raise _UnusableKey(f"{path} has {status.st_size:,} bytes, which is too large for a key")


def _public_key(path: str) -> bytes | None:
    """The public half of a private key file: from ``.pub`` next to it, or from its own format."""
    from paramiko import Message

    try:
        _check_size(path + ".pub")
        words = Path(path + ".pub").read_bytes().split()
        return base64.b64decode(words[1])
    except (OSError, IndexError, ValueError, _UnusableKey):
        pass
    try:
        _check_size(path)
        text = Path(path).read_bytes()
        body = b"".join(line for line in text.split(b"\n") if not line.startswith(b"-----"))
        message = Message(base64.b64decode(body))
        # PROTOCOL.key of OpenSSH: magic, cipher, kdf, its options, number of keys, public key.
        if message.get_bytes(15) != b"openssh-key-v1\0":
            return None
        message.get_string(), message.get_string(), message.get_string(), message.get_int()
        return message.get_binary()
    except (OSError, ValueError, _UnusableKey):
        return None
