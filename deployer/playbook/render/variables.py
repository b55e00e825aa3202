"""The variables of one host in one play: their precedence, and Ansible's magic variables."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import cast

from deployer.errors import SourceError
from deployer.model import Host, Play, Value
from deployer.playbook.inventory.assemble import places
from deployer.playbook.inventory.load import Inventory
from deployer.playbook.load.library import LoadedPlay, LoadedRole
from deployer.playbook.templates.scope import Layer, Scope, ScopeState, ScopeView
from deployer.playbook.yaml.vault import SecretText

_SHORTEST_SECRET = 6
_MANAGED = "Managed by deployer: manual changes are overwritten"


class HostVariables:
    """Creates the scopes of a host's tasks, which all share one state."""

    def __init__(
        self,
        play: LoadedPlay,
        host: Host,
        inventory: Inventory,
        *,
        facts: Mapping[str, Value],
        extra_vars: Mapping[str, Value] | None,
    ) -> None:
        self.play = play
        self.library = play.library
        self.inventory = inventory.with_folder(self.library.playbook_dir)
        self.host = self.inventory.hosts.get(host.name) or host
        self.facts = Layer(dict(facts), raw=True)
        self.extra = Layer(self.library.extra_vars if extra_vars is None else extra_vars)
        self.state = ScopeState()
        self.roles: list[LoadedRole] = list(cast("tuple[LoadedRole, ...]", play.roles))
        self.scopes: dict[int, Scope] = {}
        self.typed: dict[int, tuple[Layer, ...]] = {}
        self.magic = Layer(self._magic(), raw=True)

    def add_roles(self, roles: list[LoadedRole]) -> None:
        """Add further roles; their variables are visible in the whole play."""
        self.roles += roles
        self.scopes.clear()

    def add_typed(self, role: LoadedRole, layer: Layer) -> None:
        """Values of `role` that are converted to their types, and override all others."""
        self.typed[id(role)] = (*self.typed.get(id(role), ()), layer)
        self.scopes.pop(id(role), None)

    def _magic(self) -> dict[str, object]:
        inventory = self.inventory
        return {
            "inventory_hostname": self.host.name,
            "inventory_hostname_short": self.host.name.partition(".")[0],
            "groups": inventory.groups_with_hosts,
            "group_names": list(self.host.groups),
            "hostvars": _HostVars(self),
            "ansible_playbook_python": sys.executable,
            **places(inventory.source(self.host.name), self.library.playbook_dir),
            "ansible_play_hosts": [each.name for each in inventory.select(self.play.hosts)],
            "ansible_facts": {
                key.removeprefix("ansible_"): value for key, value in self.facts.values.items()
            },
            "ansible_managed": _MANAGED,
        }

    def scope(self, role: LoadedRole | None, layers: tuple[Layer, ...] = ()) -> Scope:
        """The variables at one place of the playbook, by Ansible's precedence."""
        key = id(role)
        if not layers and key in self.scopes:
            return self.scopes[key]
        # As in Ansible, a role's variables are visible in the whole play, below other roles' own.
        others = [each for each in self.roles if each is not role]
        defaults = [layer for each in others for layer in each.default_layers]
        role_vars = [layer for each in others for layer in each.var_layers if not layer.raw]
        magic = [self.magic]
        if role is not None:
            defaults += role.default_layers
            role_vars += role.var_layers
            place = {"role_name": role.name, "role_path": _real_path(role.folder)}
            magic.append(Layer(place, raw=True))
        scope = Scope(
            (
                *defaults,
                Layer(self.host.vars),
                self.facts,
                *self.play.layers,
                *role_vars,
                *layers,
                self.extra,
                *self.typed.get(key, ()),
                *magic,
            ),
            templar=self.library.templar,
            state=self.state,
        )
        if not layers:
            self.scopes[key] = scope
        return scope

    def secrets(self) -> frozenset[str]:
        """The texts of secret variables that are long enough not to occur by chance.

        What cannot be rendered is left out: it is an error where it is used.
        """
        scope = self.scope(None)
        of_files = (key for layer in self.play.layers if layer.secret for key in layer.values)
        found: set[str] = set()
        for key in (*of_files, *self._secret_names()):
            try:
                found.update(texts(scope.lazy(str(key))))
            except SourceError:
                continue
        return frozenset(each for each in found if len(each) >= _SHORTEST_SECRET)

    def _secret_names(self) -> Iterator[str]:
        """Variables with passwords, or with values that were encrypted."""
        of_roles = [
            layer for role in self.roles for layer in (*role.default_layers, *role.var_layers)
        ]
        for layer in (Layer(self.host.vars), *self.play.layers, self.extra, *of_roles):
            for key, value in layer.values.items():
                name = str(key)
                is_password = name.startswith("ansible_") and name.endswith(("_password", "_pass"))
                if is_password or has_secret(value):
                    yield name


@cache
def _real_path(folder: Path) -> str:
    """The path of a folder with links followed; each scope needs it, and it stays in a run."""
    return str(folder.resolve())


def has_secret(value: object) -> bool:
    """Whether a value contains a text that was encrypted."""
    if isinstance(value, Mapping):
        return any(map(has_secret, value.values()))
    if isinstance(value, (list, tuple)):
        return any(map(has_secret, value))
    return isinstance(value, SecretText)


def host_secrets(
    plays: Iterable[Play],
    host: Host,
    *,
    inventory: Inventory,
    facts: Mapping[str, object],
    extra_vars: Mapping[str, object] | None,
) -> frozenset[str]:
    """The secret texts of a host; those that cannot be rendered are left out."""
    found: frozenset[str] = frozenset()
    for play in plays:
        assert isinstance(play, LoadedPlay)  # noqa: S101 - load_playbook makes no other
        variables = HostVariables(play, host, inventory, facts=facts, extra_vars=extra_vars)
        found |= variables.secrets()
    return found


class _HostVars(Mapping[str, Value]):
    """The variables of every host in the inventory, ``hostvars``."""

    def __init__(self, variables: HostVariables) -> None:
        self._variables = variables

    def __getitem__(self, name: str) -> ScopeView:
        inventory = self._variables.inventory
        host = inventory.hosts[name]
        magic = {
            **self._variables.magic.values,
            **places(inventory.source(name), self._variables.library.playbook_dir),
            "inventory_hostname": host.name,
            "inventory_hostname_short": host.name.partition(".")[0],
            "group_names": list(host.groups),
        }
        del magic["ansible_facts"]  # those of other hosts are not known
        scope = Scope(
            (Layer(host.vars), Layer(magic, raw=True)),
            templar=self._variables.library.templar,
            state=self._variables.state,
        )
        return ScopeView(scope)

    def __iter__(self) -> Iterator[str]:
        return iter(self._variables.inventory.hosts)

    def __len__(self) -> int:
        return len(self._variables.inventory.hosts)


def texts(value: object) -> Iterator[str]:
    """Every string in a value, at any depth; entries of variables that fail are left out."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, bytes):
        yield value.decode("utf-8", "replace")
    elif isinstance(value, (Mapping, list, tuple)):
        for key in list(value) if isinstance(value, Mapping) else range(len(value)):
            try:
                each = value[key]
            except SourceError:
                continue
            yield from texts(each)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield str(value)
