"""Who may decide how to connect: the command line, ansible.cfg, or the variables of a host."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from deployer.text import connection

if TYPE_CHECKING:
    from deployer.model import Host
    from deployer.playbook.ansible_cfg.settings import AnsibleSettings
    from deployer.playbook.yaml.source import Spot
    from deployer.run.options import SessionOptions
    from deployer.transport.options import ConnectOptions
    from deployer.transport.passwords import Passwords

DEFAULT_FORKS = 10

_ARGS = (connection.SSH_ARGS, connection.COMMON_ARGS, connection.EXTRA_ARGS)


def forks(options: SessionOptions, settings: AnsibleSettings) -> int:
    """How many hosts to work on at the same time."""
    return options.forks or settings.forks or DEFAULT_FORKS


def becomes_root(host: Host, *, by_play: bool) -> bool:
    """Whether to become root: as in Ansible, the host's variable overrides the playbook."""
    own = connection.last_set(host.vars, connection.BECOME)
    return by_play if own is None else bool(own)


def connect_options(
    host: Host,
    become: bool,
    *,
    options: SessionOptions,
    settings: AnsibleSettings,
    passwords: Passwords,
) -> ConnectOptions:
    """The options of one host's connection; its variables override all others."""
    from deployer.transport.options import DEFAULT_CONNECT_TIMEOUT_S, ConnectOptions

    own = connection.last_set(host.vars, connection.BECOME_PASSWORD)
    if own is None:
        own = passwords.become
    if own is None:
        own = connection.last_set(settings.variables, connection.BECOME_PASSWORD)
    return ConnectOptions(
        user=options.user or settings.user,
        password=passwords.login,
        connect_timeout_s=options.connect_timeout_s
        or settings.timeout_s
        or DEFAULT_CONNECT_TIMEOUT_S,
        accept_new=options.accept_new,
        become=become,
        become_password=None if own is None else str(own),
        install_python=options.install_python,
        defaults=settings.variables,
    )


def refuse_unchecked(hosts: Iterable[Host], settings: AnsibleSettings) -> None:
    """Refuse settings that turn off the check of host keys, without ``--accept-new``.

    Raises: SourceErrors.
    """
    from deployer.playbook.yaml.source import Problems

    problems = Problems()
    if settings.unchecked is not None:
        problems.add(
            settings.unchecked.error("host_key_checking is off, which is refused", hint=_HINT)
        )
    if any(_is_off(names, settings.variables) for names in _ARGS):
        from deployer.errors import SourceError

        problems.add(
            SourceError(
                "StrictHostKeyChecking=no in ansible.cfg, which is refused", source=None, hint=_HINT
            )
        )
    for host in hosts:
        for name, spot in _unchecked(host):
            problems.add(spot.error(f"{name} turns off the check of host keys", hint=_HINT))
    problems.raise_if_any()


_HINT = (
    "an unknown host may be a different machine: accept new keys with --accept-new, which still "
    "refuses changed ones"
)


def _unchecked(host: Host) -> Iterator[tuple[str, Spot]]:
    spots: Mapping[str, Spot] = getattr(host.vars, "spots", {})
    checking = connection.last_set(host.vars, connection.HOST_KEY_CHECKING)
    if checking is False:
        for name in reversed(connection.HOST_KEY_CHECKING):
            if host.vars.get(name) is False and name in spots:
                yield name, spots[name]
                break
    for names in _ARGS:
        if _is_off(names, host.vars) and names[-1] in spots:
            yield names[-1], spots[names[-1]]


def _is_off(names: tuple[str, ...], variables: Mapping[str, Any]) -> bool:
    text = connection.last_set(variables, names)
    if text is None or "stricthostkeychecking" not in str(text).lower():
        return False
    from deployer.transport.ssh_args import is_unchecked, parse_words

    return is_unchecked(parse_words(str(text)))
