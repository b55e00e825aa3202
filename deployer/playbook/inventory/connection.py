"""A host's connection variables: rendered, checked, and refused if they cannot be honoured."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from deployer.errors import SourceError
from deployer.model import Host
from deployer.playbook.inventory.variables import check_name
from deployer.playbook.schema import values
from deployer.playbook.yaml.source import MergedVars, Spot
from deployer.text import connection as names
from deployer.text.connection import AUTOMATIC_PYTHON, BOOLEANS

if TYPE_CHECKING:
    from deployer.playbook.templates.templar import Templar

#: The names of the connections, with or without their collection.
_CONNECTIONS = {
    **dict.fromkeys(("ssh", "smart", "paramiko", "paramiko_ssh"), "ssh"),
    "local": "local",
}
_BUILTIN = ("ansible.builtin.", "ansible.legacy.", "ansible.netcommon.")


@dataclass(frozen=True, slots=True, kw_only=True)
class MergedHost:
    """One host's merged variables, and where it is mentioned.

    `context` and `magic` are further variables for templates; those of `magic` are never rendered.
    """

    name: str
    groups: tuple[str, ...]
    variables: MergedVars
    spot: Spot
    magic: Mapping[str, object]
    context: tuple[Mapping[str, object], ...] = ()


def read_host(given: MergedHost) -> tuple[Host, list[str]]:
    """The host with its connection variables rendered, and notes on those without effect.

    Raises: SourceError, at the first variable that is wrong or not supported.
    """
    reader = _Reader(given)
    notes = reader.check_all()
    variables = given.variables
    host = Host(
        name=given.name,
        hostname=reader.hostname(),
        port=reader.port(),
        user=reader.account(names.USER),
        groups=given.groups,
        vars=variables,
    )
    reader.login()
    reader.elevation()
    return host, notes


class _Reader:
    def __init__(self, given: MergedHost) -> None:
        self._given = given
        self._variables = given.variables

    def check_all(self) -> list[str]:
        """Render what is honoured, in place; refuse what is not. Returns notes."""
        notes = []
        for key in self._variables:
            if not key.startswith("ansible_"):
                continue
            spot = self._spot(key)
            if key in names.HONOURED:
                self._render(key, spot)
                continue
            why = check_name(key, self._variables[key], spot)
            if why:
                notes.append(f"{spot.ref}: {key} has no effect: {why}")
        return notes

    def _spot(self, key: str) -> Spot:
        return self._variables.spots.get(key, self._given.spot)

    def _render(self, key: str, spot: Spot) -> None:
        value = self._variables[key]
        if type(value) is str and "{" in value:
            self._variables[key] = _rendered(value, self._given, spot)

    def _last(self, aliases: tuple[str, ...]) -> tuple[str, object, Spot]:
        """The name, value and place of the alias that counts."""
        for key in reversed(aliases):
            value = self._variables.get(key)
            if value is not None:
                return key, value, self._spot(key)
        return aliases[0], None, self._given.spot

    def _line(self, aliases: tuple[str, ...]) -> str | None:
        """A text in one line, or `None`."""
        key, value, spot = self._last(aliases)
        if value is None:
            return None
        if isinstance(value, (bool, list, dict)) or any(ord(each) < 32 for each in str(value)):
            raise spot.error(f"{key}: {value!r} is not a text in one line")
        return str(value)

    def hostname(self) -> str:
        _, value, where = self._last(names.HOST)
        hostname = self._given.name if value is None else str(value)
        if not hostname or any(ord(each) < 33 or each in "'\"`$;&|<>\\{}" for each in hostname):
            raise where.error(f"{hostname!r} is not a host name or address")
        if hostname.startswith("-"):
            raise where.error(f"{hostname!r} is not a host name: it starts with '-'")
        return hostname

    def port(self) -> int:
        key, number, where = self._last(names.PORT)
        try:
            return 22 if number is None else values.port(number)
        except values.InvalidValue as error:
            raise where.error(f"{key}: {error}") from None

    def account(self, aliases: tuple[str, ...]) -> str | None:
        key, user, where = self._last(aliases)
        try:
            return None if user is None else values.account(user)
        except values.InvalidValue as error:
            raise where.error(f"{key}: {error}") from None

    def login(self) -> None:
        """Check how to connect."""
        self._connection()
        self._line(names.KEY_FILE)
        self._number(names.TIMEOUT)
        self._boolean(names.HOST_KEY_CHECKING)
        for aliases in (names.SSH_ARGS, names.COMMON_ARGS, names.EXTRA_ARGS):
            if self._line(aliases):
                key, value, where = self._last(aliases)
                check_ssh_args(key, str(value), where)
        interpreter = self._line(names.PYTHON)
        if interpreter is not None:
            key, _, where = self._last(names.PYTHON)
            check_interpreter(key, interpreter, where)

    def elevation(self) -> None:
        """Check how to become root or a different user."""
        self._boolean(names.BECOME)
        key, method, where = self._last(names.BECOME_METHOD)
        if method is not None:
            self._variables[key] = check_become_method(key, method, where)
        self.account(names.BECOME_USER)
        for aliases in (names.BECOME_EXE, names.BECOME_FLAGS):
            text = self._line(aliases)
            if text is not None:
                key, _, where = self._last(aliases)
                check_words(key, text, where)

    def _connection(self) -> None:
        key, connection, where = self._last(names.CONNECTION)
        if connection is None:
            return
        kind = _CONNECTIONS.get(plain_name(connection))
        if kind is None:
            raise where.error(
                f"{key}: {connection!r} is not supported", hint="use ssh, paramiko or local"
            )
        self._variables[key] = kind

    def _number(self, aliases: tuple[str, ...]) -> None:
        key, value, where = self._last(aliases)
        if value is None:
            return
        try:
            number = float(str(value))
        except ValueError:
            number = -1.0
        if isinstance(value, bool) or not 0 < number <= 3600:
            raise where.error(f"{key}: {value!r} is not a number of seconds up to 3600")

    def _boolean(self, aliases: tuple[str, ...]) -> None:
        key, value, where = self._last(aliases)
        if value is None:
            return
        known = BOOLEANS.get(str(value).lower())
        if known is None:
            raise where.error(f"{key}: {value!r} is neither true nor false")
        self._variables[key] = known


def plain_name(name: object) -> str:
    """The name of a plugin without its collection."""
    text = str(name)
    for prefix in _BUILTIN:
        text = text.removeprefix(prefix)
    return text


def check_become_method(key: str, method: object, where: Spot) -> str:
    """The plain name of a method to become a user. Raises: SourceError."""
    name = plain_name(method)
    if name not in names.BECOME_METHODS:
        hint = f"use {', '.join(names.BECOME_METHODS[:-1])} or {names.BECOME_METHODS[-1]}"
        raise where.error(f"{key}: {method!r} is not supported", hint=hint)
    return name


def check_words(key: str, text: str, where: Spot) -> list[str]:
    """The words of a text that is quoted as in a shell. Raises: SourceError."""
    try:
        return shlex.split(text)
    except ValueError:
        raise where.error(f"{key}: a quote is not closed") from None


def check_interpreter(key: str, text: str, where: Spot) -> None:
    """Check a Python interpreter: automatic, a path, or a name. Raises: SourceError."""
    words = check_words(key, text, where)
    if text in AUTOMATIC_PYTHON or (words and not words[0].startswith("-")):
        return
    raise where.error(
        f"{key}: {text!r} is not an interpreter", hint="write /usr/bin/python3, or auto"
    )


def check_ssh_args(key: str, text: str, where: Spot) -> None:
    """Check options of ssh. Raises: SourceError, for one that cannot be honoured."""
    from deployer.errors import UsageError
    from deployer.transport.ssh_args import parse_args

    try:
        parse_args(check_words(key, text, where))
    except UsageError as error:
        if isinstance(error, SourceError):
            raise
        raise where.error(f"{key}: {error.problem}", hint=error.hint) from None


def _rendered(value: str, given: MergedHost, spot: Spot) -> object:
    from deployer.playbook.templates.scope import Layer, Scope

    magic = {
        "inventory_hostname": given.name,
        "inventory_hostname_short": given.name.partition(".")[0],
        "group_names": list(given.groups),
        "ansible_playbook_python": sys.executable,
        **given.magic,
    }
    templar = _templar()
    layers = (given.variables, *given.context)
    scope = Scope((*map(Layer, layers), Layer(magic, raw=True)), templar=templar)
    return templar.render(value, scope, spot)


@lru_cache(maxsize=1)
def _templar() -> Templar:
    from deployer.playbook.templates.templar import Templar

    return Templar()
