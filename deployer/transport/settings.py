"""Where and as whom to log in: from the inventory, then the SSH config, then the defaults."""

from __future__ import annotations

import os
import re
import socket
from dataclasses import dataclass, field
from pathlib import Path

from deployer.errors import UsageError
from deployer.model import Host
from deployer.text import connection
from deployer.text.numbers import is_number
from deployer.transport.known_hosts import known_name
from deployer.transport.options import DEFAULT_CONNECT_TIMEOUT_S, ConnectOptions
from deployer.transport.ssh_args import Setting, SshArgs, is_unchecked, parse_words
from deployer.transport.ssh_config import Options, expand, local_user, lookup

_UNITS_S = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_DEFAULT_IDENTITIES = ("~/.ssh/id_ed25519", "~/.ssh/id_ecdsa", "~/.ssh/id_rsa")
_DEFAULT_USER_FILES = ["~/.ssh/known_hosts", "~/.ssh/known_hosts2"]
_DEFAULT_GLOBAL_FILES = ["/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SshSettings:
    """One SSH login. `host` is the inventory's name, for errors.

    `key_name` is the host's name in known_hosts; a new key is written to `remember_in`. With
    `only_identities`, only keys of `identity_files` are offered, also of those in ssh-agent.
    `agent_socket` is `None` if ssh-agent is not used. `methods` are the login methods to try, in
    this order: ``publickey``, ``password``. `address_family` is ``any``, ``inet`` or ``inet6``;
    `bind_address` is the local address, if one is set.
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
    methods: tuple[str, ...] = ("publickey", "password")
    address_family: str = "any"
    bind_address: str | None = None

    @property
    def address(self) -> str:
        """The host and port in words."""
        return f"{self.hostname} port {self.port}"


def host_settings(host: Host, options: ConnectOptions) -> SshSettings:
    """How to log in to a host of the inventory. Raises: UsageError for a wrong SSH config."""
    password = options.value(host.vars, connection.PASSWORD)
    args = _host_args(host, options)
    is_off = options.value(host.vars, connection.HOST_KEY_CHECKING) is False or is_unchecked(args)
    if is_off and not options.accept_new:
        raise UsageError(
            f"{host.name}: the check of its host key is turned off, which is refused",
            hint="Accept new keys with --accept-new, which still refuses changed ones.",
        )
    given = _Given(
        host=host.name,
        user=host.user or options.user,
        args=args,
        has_key=options.value(host.vars, connection.KEY_FILE) is not None,
        timeout_s=_number_or_none(options.value(host.vars, connection.TIMEOUT)),
        password=options.password if password is None else str(password),
        own_known_hosts=_own_known_hosts(host),
    )
    return _settings(host.hostname, given, options)


def _own_known_hosts(host: Host) -> str | None:
    own = connection.last_set(host.vars, connection.KNOWN_HOSTS)
    return None if own is None else str(own)


def _number_or_none(value: object) -> float | None:
    return None if value is None else float(str(value))


def _host_args(host: Host, options: ConnectOptions) -> SshArgs:
    """The options of ``ssh`` in Ansible's order, as the first value counts."""
    port = host.port if host.port != 22 else connection.last_set(host.vars, connection.PORT)
    if port is None:
        port = options.value(host.vars, connection.PORT)
    direct: list[Setting] = [] if port is None else [("port", (str(port),))]
    key_file = options.value(host.vars, connection.KEY_FILE)
    if key_file is not None:
        direct.append(("identityfile", (str(key_file),)))
    user = host.user or options.user
    if user is not None:
        direct.append(("user", (user,)))
    first, common, extra = (
        _parsed(options.value(host.vars, names))
        for names in (connection.SSH_ARGS, connection.COMMON_ARGS, connection.EXTRA_ARGS)
    )
    return first.then(SshArgs(tuple(direct))).then(common).then(extra)


def _parsed(text: object) -> SshArgs:
    return SshArgs() if text is None else parse_words(str(text))


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
    if port and not is_number(port):
        raise UsageError(f"ProxyJump {hop!r} has no valid port.")
    direct: list[Setting] = [("port", (port,))] if port else []
    if at:
        direct.append(("user", (user,)))
    given = _Given(
        host=host.name,
        user=user if at else None,
        # As ssh does: of its own options, only -F applies to jump hosts.
        args=SshArgs(tuple(direct), _host_args(host, options).config_file),
        own_known_hosts=_own_known_hosts(host),
        hops=before or None,
    )
    return _settings(hostname.strip("[]"), given, options)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Given:
    """Values of the inventory and the options, which take precedence over the SSH config.

    With `has_key`, only the keys of `args` are offered.
    """

    host: str
    user: str | None
    args: SshArgs
    has_key: bool = False
    timeout_s: float | None = None
    password: str | None = field(default=None, repr=False)
    own_known_hosts: str | None
    hops: tuple[str, ...] | None = None


def _settings(target: str, given: _Given, options: ConnectOptions) -> SshSettings:
    args = given.args
    files = None if args.config_file is None else [args.config_file]
    if args.config_file is not None and args.config_file.lower() == "none":
        files = []
    config = lookup(target, user=given.user or local_user(), given=args.settings, files=files)
    hostname = expand(_one(config, "hostname") or target, {"h": target})
    port = _number(config, "port", default=22)
    login = _one(config, "user") or local_user()
    tokens = _tokens(target, config, hostname=hostname, port=port, login=login)
    user_files = _files(config.get("userknownhostsfile", _DEFAULT_USER_FILES), tokens)
    global_files = _files(config.get("globalknownhostsfile", _DEFAULT_GLOBAL_FILES), tokens)
    own_files = () if given.own_known_hosts is None else _files([given.own_known_hosts], {})
    hops, command = _way(config, given)
    alias = _one(config, "hostkeyalias")
    return SshSettings(
        host=given.host,
        hostname=hostname,
        port=port,
        user=login,
        key_name=alias.lower() if alias else known_name(hostname, port),
        known_hosts_files=(*own_files, *user_files, *global_files),
        remember_in=(*own_files, *user_files, os.path.expanduser("~/.ssh/known_hosts"))[0],
        identity_files=_identities(config, given, tokens),
        only_identities=given.has_key or _one(config, "identitiesonly") == "yes",
        agent_socket=_agent_socket(config),
        password=given.password,
        proxy_jump=hops,
        proxy_command=None if command is None else expand(command, tokens),
        connect_timeout_s=_connect_timeout_s(config, given, options),
        accept_new=options.accept_new or accepts_new(args),
        methods=_methods(config),
        address_family=(_one(config, "addressfamily") or "any").lower(),
        bind_address=_one(config, "bindaddress"),
    )


def accepts_new(args: SshArgs) -> bool:
    """Whether options of ``ssh`` accept keys of unknown hosts."""
    return (args.first("stricthostkeychecking") or "").lower() == "accept-new"


def _tokens(
    target: str, config: Options, *, hostname: str, port: int, login: str
) -> dict[str, str]:
    """The values of ``%h`` and the like. Source: ssh_config(5), TOKENS."""
    here = socket.gethostname()
    return {
        "h": hostname,
        "n": target,
        "p": str(port),
        "r": login,
        "u": local_user(),
        "d": os.path.expanduser("~"),
        "i": str(os.getuid()),
        "l": here,
        "L": here.partition(".")[0],
        "k": _one(config, "hostkeyalias") or target,
    }


def _way(config: Options, given: _Given) -> tuple[tuple[str, ...], str | None]:
    """The jump hosts, or the proxy command; `lookup` leaves the first one of both."""
    if given.hops is not None:
        return given.hops, None
    jump, command = _one(config, "proxyjump"), _one(config, "proxycommand")
    if jump and jump.lower() != "none":
        return tuple(jump.split(",")), None
    return (), None if not command or command.lower() == "none" else command


def _methods(config: Options) -> tuple[str, ...]:
    """The login methods that the config allows, in its order."""
    enabled = {
        "publickey": _one(config, "pubkeyauthentication"),
        "password": _one(config, "passwordauthentication"),
    }
    preferred = _one(config, "preferredauthentications") or "publickey,password"
    return tuple(
        dict.fromkeys(
            method
            for each in preferred.split(",")
            if (method := each.strip()) in enabled and (enabled[method] or "yes").lower() != "no"
        )
    )


def _one(config: Options, keyword: str) -> str | None:
    words = config.get(keyword)
    return words[0] if words else None


def _number(config: Options, keyword: str, *, default: int) -> int:
    text = _one(config, keyword)
    if text is None:
        return default
    if not is_number(text):
        raise UsageError(f"The SSH config's {keyword} is {text!r}, which is not a number.")
    return int(text)


def _files(paths: list[str], tokens: dict[str, str]) -> tuple[str, ...]:
    named = [path for path in paths if path.lower() != "none"]
    return tuple(str(Path(os.path.expanduser(expand(path, tokens)))) for path in named)


def _identities(config: Options, given: _Given, tokens: dict[str, str]) -> tuple[str, ...]:
    if given.has_key:
        own = (words for keyword, words in given.args.settings if keyword == "identityfile")
        return _files([word for words in own for word in words], tokens)
    return _files(config.get("identityfile", list(_DEFAULT_IDENTITIES)), tokens)


def _agent_socket(config: Options) -> str | None:
    named = _one(config, "identityagent") or "SSH_AUTH_SOCK"
    if named.lower() == "none":
        return None
    if named == "SSH_AUTH_SOCK" or named.startswith("$"):
        return os.environ.get(named.strip("${}")) or None
    return str(Path(os.path.expanduser(named)))


def _connect_timeout_s(config: Options, given: _Given, options: ConnectOptions) -> float:
    if given.timeout_s is not None:
        return given.timeout_s
    if options.connect_timeout_s != DEFAULT_CONNECT_TIMEOUT_S:
        return options.connect_timeout_s
    return _seconds(config, "connecttimeout") or options.connect_timeout_s


def _seconds(config: Options, keyword: str) -> float:
    """A duration such as ``90`` or ``1m30s``; 0 if there is none. Source: sshd_config(5)."""
    text = (_one(config, keyword) or "none").lower()
    if text == "none":
        return 0.0
    if not re.fullmatch(r"(\d{1,9}[smhdw]?)+", text):
        raise UsageError(f"The SSH config's {keyword} is {text!r}, which is not a duration.")
    return sum(
        float(number) * _UNITS_S[unit] for number, unit in re.findall(r"(\d+)([smhdw]?)", text)
    )
