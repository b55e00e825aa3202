"""Where and as whom to log in: from the inventory, then the SSH config, then the defaults."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, field
from pathlib import Path

from deployer.errors import UsageError
from deployer.model import Host
from deployer.transport.known_hosts import known_name
from deployer.transport.options import DEFAULT_CONNECT_TIMEOUT_S, ConnectOptions
from deployer.transport.ssh_config import Options, expand, local_user, lookup

_DEFAULT_IDENTITIES = ("~/.ssh/id_ed25519", "~/.ssh/id_ecdsa", "~/.ssh/id_rsa")
_DEFAULT_USER_FILES = ["~/.ssh/known_hosts", "~/.ssh/known_hosts2"]
_DEFAULT_GLOBAL_FILES = ["/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SshSettings:
    """One SSH login. `host` is the inventory's name, for errors.

    `key_name` is the host's name in known_hosts; a new key is written to `remember_in`. With
    `only_identities`, only keys of `identity_files` are offered, also of those in ssh-agent.
    `agent_socket` is `None` if ssh-agent is not used.
    """

    host: str
    hostname: str
    port: int
    user: str
    key_name: str
    known_hosts_files: tuple[str, ...]
    remember_in: str
    identity_files: tuple[str, ...]
    only_identities: bool
    agent_socket: str | None
    password: str | None = field(default=None, repr=False)
    proxy_jump: tuple[str, ...] = ()
    proxy_command: str | None = None
    connect_timeout_s: float
    accept_new: bool = False

    @property
    def address(self) -> str:
        """The host and port in words."""
        return f"{self.hostname} port {self.port}"


def host_settings(host: Host, options: ConnectOptions) -> SshSettings:
    """How to log in to a host of the inventory. Raises: UsageError for a wrong SSH config."""
    explicit_port = host.port if host.port != 22 or "ansible_port" in host.vars else None
    key_file = host.vars.get("ansible_ssh_private_key_file") or host.vars.get(
        "ansible_private_key_file"
    )
    password = host.vars.get("ansible_password") or host.vars.get("ansible_ssh_pass")
    own_known_hosts = host.vars.get("deployer_known_hosts_file")
    given = _Given(
        host=host.name,
        user=host.user or options.user,
        port=explicit_port,
        key_file=None if key_file is None else str(key_file),
        password=options.password if password is None else str(password),
        own_known_hosts=None if own_known_hosts is None else str(own_known_hosts),
    )
    return _settings(host.hostname, given, options)


def jump_settings(
    hop: str, *, before: tuple[str, ...], host: Host, options: ConnectOptions
) -> SshSettings:
    """How to log in to a hop of ProxyJump, ``[user@]host[:port]`` or an ``ssh://`` URI.

    `before` are the hops that lead to it; without any, its own ProxyJump counts.
    """
    rest = hop.removeprefix("ssh://").rstrip("/")
    user, at, address = rest.rpartition("@")
    hostname, colon, port = address.rpartition(":")
    if not colon or address.endswith("]") or (address.count(":") > 1 and "]" not in address):
        hostname, port = address, ""
    if port and not port.isdigit():
        raise UsageError(f"ProxyJump {hop!r} has no valid port.")
    own_known_hosts = host.vars.get("deployer_known_hosts_file")
    given = _Given(
        host=host.name,
        user=user if at else None,
        port=int(port) if port else None,
        own_known_hosts=None if own_known_hosts is None else str(own_known_hosts),
        hops=before or None,
    )
    return _settings(hostname.strip("[]"), given, options)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Given:
    """Values of the inventory and the options, which take precedence over the SSH config."""

    host: str
    user: str | None
    port: int | None
    key_file: str | None = None
    password: str | None = field(default=None, repr=False)
    own_known_hosts: str | None
    hops: tuple[str, ...] | None = None


def _settings(target: str, given: _Given, options: ConnectOptions) -> SshSettings:
    config = lookup(target, user=given.user or local_user())
    hostname = expand(_one(config, "hostname") or target, {"h": target})
    chosen_port = given.port if given.port is not None else _number(config, "port", default=22)
    login = given.user or _one(config, "user") or local_user()
    tokens = {
        "h": hostname,
        "n": target,
        "p": str(chosen_port),
        "r": login,
        "u": local_user(),
        "d": str(Path.home()),
        "i": str(os.getuid()),
        "l": socket.gethostname(),
        "L": socket.gethostname().partition(".")[0],
        "k": _one(config, "hostkeyalias") or target,
    }
    user_files = _files(config.get("userknownhostsfile", _DEFAULT_USER_FILES), tokens)
    global_files = _files(config.get("globalknownhostsfile", _DEFAULT_GLOBAL_FILES), tokens)
    own_files = () if given.own_known_hosts is None else _files([given.own_known_hosts], {})
    command = _one(config, "proxycommand")
    jump = _one(config, "proxyjump")
    hops = given.hops
    if hops is None:
        hops = tuple(jump.split(",")) if jump and jump.lower() != "none" else ()
    alias = _one(config, "hostkeyalias")
    return SshSettings(
        host=given.host,
        hostname=hostname,
        port=chosen_port,
        user=login,
        key_name=alias.lower() if alias else known_name(hostname, chosen_port),
        known_hosts_files=(*own_files, *user_files, *global_files),
        remember_in=(*own_files, *user_files, str(Path("~/.ssh/known_hosts").expanduser()))[0],
        identity_files=_identities(config, given.key_file, tokens),
        only_identities=given.key_file is not None or _one(config, "identitiesonly") == "yes",
        agent_socket=_agent_socket(config),
        password=given.password,
        proxy_jump=hops,
        # ssh uses the first of both in the file; a jump is far more common.
        proxy_command=None
        if hops or not command or command.lower() == "none"
        else expand(command, tokens),
        connect_timeout_s=_connect_timeout_s(config, options),
        accept_new=options.accept_new,
    )


def _one(config: Options, keyword: str) -> str | None:
    words = config.get(keyword)
    return words[0] if words else None


def _number(config: Options, keyword: str, *, default: int) -> int:
    text = _one(config, keyword)
    if text is None:
        return default
    if not text.isdigit():
        raise UsageError(f"The SSH config's {keyword} is {text!r}, which is not a number.")
    return int(text)


def _files(paths: list[str], tokens: dict[str, str]) -> tuple[str, ...]:
    named = [path for path in paths if path.lower() != "none"]
    return tuple(str(Path(os.path.expanduser(expand(path, tokens)))) for path in named)


def _identities(config: Options, key_file: str | None, tokens: dict[str, str]) -> tuple[str, ...]:
    if key_file is not None:
        return (str(Path(os.path.expanduser(key_file))),)
    return _files(config.get("identityfile", list(_DEFAULT_IDENTITIES)), tokens)


def _agent_socket(config: Options) -> str | None:
    named = _one(config, "identityagent") or "SSH_AUTH_SOCK"
    if named.lower() == "none":
        return None
    if named == "SSH_AUTH_SOCK" or named.startswith("$"):
        return os.environ.get(named.strip("${}")) or None
    return str(Path(os.path.expanduser(named)))


def _connect_timeout_s(config: Options, options: ConnectOptions) -> float:
    if options.connect_timeout_s != DEFAULT_CONNECT_TIMEOUT_S:
        return options.connect_timeout_s
    return float(_number(config, "connecttimeout", default=0) or options.connect_timeout_s)
