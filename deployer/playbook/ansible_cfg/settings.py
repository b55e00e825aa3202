"""Ansible's settings as they are honoured here; what cannot be honoured is refused or noted.

The environment overrides ``ansible.cfg``, as in Ansible.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deployer.errors import SourceError
from deployer.playbook.ansible_cfg.read import Setting, find, from_environment, path_of, read
from deployer.playbook.yaml.source import Problems, Spot, nearest
from deployer.playbook.yaml.vault import password_from
from deployer.text import connection
from deployer.text.connection import BOOLEANS
from deployer.text.numbers import is_number


@dataclass(frozen=True, slots=True, kw_only=True)
class AnsibleSettings:
    """The settings that are in effect; `None` and empty values are not set.

    `variables` are defaults of connection variables. `unchecked` is the place of a setting that
    turns off the check of host keys. `notes` are on settings without effect.
    """

    inventories: tuple[Path, ...] = ()
    roles_paths: tuple[Path, ...] = ()
    vault_password_files: tuple[Path, ...] = ()
    user: str | None = None
    forks: int | None = None
    timeout_s: float | None = None
    become: bool | None = None
    ask_pass: bool = False
    ask_become_pass: bool = False
    variables: Mapping[str, Any] = field(default_factory=dict, repr=False)
    unchecked: Spot | None = None
    notes: tuple[str, ...] = ()


@dataclass(slots=True)
class _Found:
    """The values by what they set; `places` has the setting of each."""

    values: dict[str, Any] = field(default_factory=dict)
    places: dict[str, Setting] = field(default_factory=dict)


Read = Callable[[Setting], Any]


def load_settings(environment: Mapping[str, str] | None = None) -> AnsibleSettings:
    """Find and read the settings.

    Raises: UsageError, SourceErrors: a file cannot be read, or a setting cannot be honoured.
    """
    environment = os.environ if environment is None else environment
    path, note = find(environment)
    settings = [] if path is None else sorted(read(path), key=_is_of_plugin)
    settings += _of_environment(environment)
    if not settings and not note:
        return AnsibleSettings()
    from deployer.playbook.ansible_cfg.known import ENVIRONMENT

    problems = Problems()
    found = _Found()
    without_effect: list[str] = []
    for setting in settings:
        name = (setting.section, setting.key)
        if not setting.section:
            name = ENVIRONMENT[setting.key]
        try:
            why = _take(name, setting, found)
        except SourceError as error:
            problems.add(error)
            continue
        if why is not None:
            without_effect.append(f"{setting.spot.ref}: {setting.key} has no effect{why}")
    problems.raise_if_any()
    return _settings(found, (*filter(None, (note,)), *without_effect))


def _of_environment(environment: Mapping[str, str]) -> Iterator[Setting]:
    if not any(name.startswith("ANSIBLE_") for name in environment):
        return
    from deployer.playbook.ansible_cfg.known import ENVIRONMENT

    for name in ENVIRONMENT:
        if environment.get(name, "") != "":
            yield from_environment(name, environment[name])


def _is_of_plugin(setting: Setting) -> bool:
    """Settings of a plugin override the general ones."""
    return setting.section not in ("defaults", "privilege_escalation")


def _settings(found: _Found, notes: tuple[str, ...]) -> AnsibleSettings:
    values = found.values
    checking = values.get("host_key_checking")
    return AnsibleSettings(
        inventories=values.get("inventory", ()),
        roles_paths=values.get("roles_path", ()),
        vault_password_files=values.get("vault_password_files", ()),
        user=values.get("user"),
        forks=values.get("forks"),
        timeout_s=values.get("timeout"),
        become=values.get("become"),
        ask_pass=bool(values.get("ask_pass")),
        ask_become_pass=bool(values.get("ask_become_pass")),
        variables={key: value for key, value in values.items() if key.startswith("ansible_")},
        unchecked=found.places["host_key_checking"].spot if checking is False else None,
        notes=notes,
    )


def _take(name: tuple[str, str], setting: Setting, found: _Found) -> str | None:
    """Keep the value of a setting; why it has no effect, or `None`.

    Raises: SourceError, for a wrong value, or one that cannot be honoured.
    """
    from deployer.playbook.ansible_cfg.known import NO_EFFECT, REFUSED, SECTIONS

    if name in _HONOURED and not setting.text:
        return ": it has no value"
    if name in _HONOURED:
        target, value_of = _HONOURED[name]
        found.values[target] = value_of(setting)
        found.places[target] = setting
        return None
    if name in REFUSED:
        hint, harmless = REFUSED[name]
        if setting.text.lower() in harmless:
            return None
        raise setting.spot.error(f"{setting.key} is not supported", hint=hint)
    why = NO_EFFECT.get(name) or SECTIONS.get(name[0])
    if why:
        return f": {why}"
    known = {key for section, key in (*_HONOURED, *REFUSED) if section == name[0]}
    near = nearest(setting.key, known)
    if near:
        raise setting.spot.error(
            f"Ansible has no setting '{setting.key}' in [{setting.section}]", hint=near
        )
    return f": Ansible has no such setting in [{setting.section}]"


# --- values ---------------------------------------------------------------------------------------


def _text(setting: Setting) -> str:
    if "{{" in setting.text:
        raise setting.spot.error(f"{setting.key}: settings do not support templates")
    if any(ord(each) < 32 for each in setting.text):
        raise setting.spot.error(f"{setting.key}: {setting.text!r} is not a text in one line")
    return setting.text


def _boolean(setting: Setting) -> bool:
    value = BOOLEANS.get(setting.text.lower())
    if value is None:
        raise setting.spot.error(f"{setting.key}: {setting.text!r} is neither true nor false")
    return value


def _integer(low: int, high: int) -> Read:
    def value_of(setting: Setting) -> int:
        text = setting.text.strip()
        if not (text.isascii() and is_number(text)) or not low <= int(text) <= high:
            raise setting.spot.error(
                f"{setting.key}: {text!r} is not a number from {low} to {high}"
            )
        return int(text)

    return value_of


def _path(setting: Setting) -> str:
    return str(path_of(setting, setting.text))


def _paths(separator: str) -> Read:
    def value_of(setting: Setting) -> tuple[Path, ...]:
        words = (each.strip() for each in setting.text.split(separator))
        return tuple(path_of(setting, word) for word in words if word)

    return value_of


def _password(setting: Setting) -> str:
    return password_from(path_of(setting, setting.text)).decode("utf-8", "replace")


def _vault_file(setting: Setting) -> tuple[Path, ...]:
    return (path_of(setting, setting.text),)


def _vault_identities(setting: Setting) -> tuple[Path, ...]:
    """``label@file`` for each; a prompt needs a person each time."""
    found = []
    for word in filter(None, (each.strip() for each in setting.text.split(","))):
        source = word.partition("@")[2] or word
        if source in ("prompt", "prompt_ask_vault_pass"):
            raise setting.spot.error(
                f"{setting.key}: '{word}' is not supported", hint="name a file: label@FILE"
            )
        found.append(path_of(setting, source))
    return tuple(found)


def _user(setting: Setting) -> str:
    from deployer.playbook.schema import values

    try:
        return values.account(_text(setting))
    except values.InvalidValue as error:
        raise setting.spot.error(f"{setting.key}: {error}") from None


def _method(setting: Setting) -> str:
    from deployer.playbook.inventory.connection import check_become_method

    return check_become_method(setting.key, setting.text, setting.spot)


def _transport(setting: Setting) -> str:
    from deployer.playbook.inventory.connection import plain_name

    if plain_name(setting.text) not in ("smart", "ssh", "paramiko", "paramiko_ssh"):
        raise setting.spot.error(
            f"{setting.key}: {setting.text!r} is not supported as the default of all hosts",
            hint="set ansible_connection: local on hosts that are this machine",
        )
    return "ssh"


def _ssh_args(setting: Setting) -> str:
    from deployer.playbook.inventory.connection import check_ssh_args

    text = _text(setting)
    check_ssh_args(setting.key, text, setting.spot)
    return text


def _words(setting: Setting) -> str:
    from deployer.playbook.inventory.connection import check_words

    text = _text(setting)
    check_words(setting.key, text, setting.spot)
    return text


def _interpreter(setting: Setting) -> str:
    from deployer.playbook.inventory.connection import check_interpreter

    text = _text(setting)
    check_interpreter(setting.key, text, setting.spot)
    return text


_SSH_ARGS = {
    "ssh_args": connection.SSH_ARGS[-1],
    "ssh_common_args": connection.COMMON_ARGS[-1],
    "ssh_extra_args": connection.EXTRA_ARGS[-1],
}

#: The settings that are honoured: what each one sets, and how its value is read.
_HONOURED: Mapping[tuple[str, str], tuple[str, Read]] = {
    ("defaults", "inventory"): ("inventory", _paths(",")),
    ("defaults", "roles_path"): ("roles_path", _paths(":")),
    ("defaults", "remote_user"): ("user", _user),
    ("defaults", "private_key_file"): (connection.KEY_FILE[-1], _path),
    ("defaults", "remote_port"): (connection.PORT[0], _integer(1, 65535)),
    ("defaults", "forks"): ("forks", _integer(1, 500)),
    ("defaults", "timeout"): ("timeout", _integer(1, 3600)),
    ("defaults", "host_key_checking"): ("host_key_checking", _boolean),
    ("defaults", "interpreter_python"): (connection.PYTHON[-1], _interpreter),
    ("defaults", "transport"): ("transport", _transport),
    ("defaults", "ask_pass"): ("ask_pass", _boolean),
    ("defaults", "connection_password_file"): (connection.PASSWORD[-1], _password),
    ("defaults", "become_password_file"): (connection.BECOME_PASSWORD[0], _password),
    ("defaults", "vault_password_file"): ("vault_password_files", _vault_file),
    ("defaults", "vault_identity_list"): ("vault_password_files", _vault_identities),
    ("privilege_escalation", "become"): ("become", _boolean),
    ("privilege_escalation", "become_method"): (connection.BECOME_METHOD[0], _method),
    ("privilege_escalation", "become_user"): (connection.BECOME_USER[0], _user),
    ("privilege_escalation", "become_exe"): (connection.BECOME_EXE[0], _words),
    ("privilege_escalation", "become_flags"): (connection.BECOME_FLAGS[0], _words),
    ("privilege_escalation", "become_ask_pass"): ("ask_become_pass", _boolean),
    ("sudo_become_plugin", "user"): (connection.BECOME_USER[-1], _user),
    ("sudo_become_plugin", "executable"): (connection.BECOME_EXE[-1], _words),
    ("sudo_become_plugin", "flags"): (connection.BECOME_FLAGS[-1], _words),
    ("sudo_become_plugin", "password"): (connection.BECOME_PASSWORD[-1], _text),
    ("ssh_connection", "host_key_checking"): ("host_key_checking", _boolean),
    ("ssh_connection", "timeout"): ("timeout", _integer(1, 3600)),
    **{("ssh_connection", key): (name, _ssh_args) for key, name in _SSH_ARGS.items()},
}

HONOURED = frozenset(_HONOURED)
