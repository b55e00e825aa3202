"""The variables of every host, merged by Ansible's precedence.

Lowest first: the groups in inventory files, ``group_vars/all`` next to the inventory and next to
the playbook, the other groups of both folders, then the host in inventory files and in both
``host_vars/``. Parents come before their children, then groups by their priority and name.

Source: "Understanding variable precedence" in Ansible's playbook guide.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from deployer.errors import SourceError
from deployer.model import Host, Value
from deployer.playbook.inventory.connection import MergedHost, read_host
from deployer.playbook.inventory.folders import VarsFolders
from deployer.playbook.inventory.raw import Hierarchy, RawHost, RawInventory
from deployer.playbook.yaml.source import MergedVars, Problems, SourceFile, YamlMap

_PRIORITY = "ansible_group_priority"


@dataclass(frozen=True, slots=True, kw_only=True)
class Folders:
    """The folders with ``group_vars/`` and ``host_vars/``: of inventories, and of the playbook."""

    inventories: tuple[Path, ...] = ()
    playbook: Path | None = None

    def all(self) -> tuple[tuple[Path, ...], ...]:
        """Both kinds, lowest first."""
        return (self.inventories, () if self.playbook is None else (self.playbook,))


class Assembly:
    """Merges variables; those of a set of groups are merged once for all hosts in it."""

    def __init__(
        self,
        raw: RawInventory,
        hierarchy: Hierarchy,
        *,
        folders: Folders,
        over_all: Mapping[str, Value],
        context: tuple[Mapping[str, Value], ...] = (),
        keywords: Mapping[str, Value],
    ) -> None:
        self._keywords = keywords
        self._raw = raw
        self._hierarchy = hierarchy
        self._folders = folders
        self._over_all = over_all
        self._context = context
        self.problems = Problems()
        self.notes: dict[str, None] = {}
        self._files = VarsFolders(self.problems)
        self._ranks: dict[str, tuple[int, int, str]] = {}
        self._merged: dict[tuple[str, ...], tuple[tuple[str, ...], MergedVars]] = {}
        self._of_groups: dict[tuple[str, int], list[YamlMap]] = {}

    def hosts(self) -> dict[str, Host]:
        """All hosts in the order of their first mention; errors go to `problems`."""
        found = {}
        for raw in self._raw.hosts.values():
            host = self._host(raw, self._hierarchy.direct_groups(raw.name))
            if host is not None:
                found[raw.name] = host
        return found

    def implicit(self, name: str) -> Host:
        """This machine, for a pattern that names it without a mention in the inventory.

        Raises: SourceErrors.
        """
        raw = RawHost(name, SourceFile(name).spot((1, 1)))
        local = YamlMap(raw.spot.file, (1, 1))
        for key, value in (("ansible_connection", "local"), ("ansible_host", "127.0.0.1")):
            local.put(key, value, ((1, 1), (1, 1)))
        raw.layers.append(local)
        host = self._host(raw, ())
        self.problems.raise_if_any()
        assert host is not None  # noqa: S101 - otherwise there was a problem
        return host

    def _host(self, raw: RawHost, direct: tuple[str, ...]) -> Host | None:
        groups, of_groups = self._group_variables(direct)
        merged = MergedVars()
        merged.take(self._keywords)
        merged.take(of_groups)
        if raw.port is not None:
            merged["ansible_port"] = raw.port
            merged.spots["ansible_port"] = raw.spot
        for layer in raw.layers:
            merged.merge(layer)
        for folders in self._folders.all():
            for layer in self._files.layers(folders, "host_vars", raw.name):
                merged.merge(layer)
        merged.take(self._over_all)
        given = MergedHost(
            name=raw.name,
            groups=groups,
            variables=merged,
            spot=raw.spot,
            magic=places(raw.source, self._folders.playbook),
            context=self._context,
        )
        try:
            host, notes = read_host(given)
        except SourceError as error:
            self.problems.add(error)
            return None
        self.notes.update(dict.fromkeys(notes))
        return host

    def _group_variables(self, direct: tuple[str, ...]) -> tuple[tuple[str, ...], MergedVars]:
        """All groups of the hosts with these groups, and the variables of these groups."""
        if direct not in self._merged:
            groups = self._hierarchy.with_parents(direct)
            order = ["all", *sorted(groups, key=self._rank)]
            merged = MergedVars()
            for name in order:
                for layer in self._raw.groups[name].layers:
                    merged.merge(layer)
            merged.pop(_PRIORITY, None)
            for names in (["all"], order[1:]):
                for number in range(2):
                    for name in names:
                        for layer in self._group_files(name, number):
                            merged.merge(layer)
            self._merged[direct] = groups, merged
        return self._merged[direct]

    def _group_files(self, name: str, number: int) -> list[YamlMap]:
        if (name, number) not in self._of_groups:
            folders = self._folders.all()[number]
            layers = self._files.layers(folders, "group_vars", name)
            self._of_groups[name, number] = layers
        return self._of_groups[name, number]

    def _rank(self, name: str) -> tuple[int, int, str]:
        if name not in self._ranks:
            priority: object = 1
            for layer in self._raw.groups[name].layers:  # it has no effect in group_vars
                priority = layer.get(_PRIORITY, priority)
            try:
                number = int(str(priority))
            except ValueError:
                number = 1
            self._ranks[name] = (self._hierarchy.depths[name], number, name)
        return self._ranks[name]


def places(source: str, playbook: Path | None) -> dict[str, object]:
    """Ansible's variables for the places of the inventory and the playbook."""
    found: dict[str, object] = {}
    if source:
        path = Path(source).resolve()
        found = {"inventory_file": str(path), "inventory_dir": str(path.parent)}
    if playbook is not None:
        found["playbook_dir"] = str(playbook.resolve())
    return found


def conflicts(raw: RawInventory) -> Iterable[str]:
    """Notes on names that are both a group and a host."""
    for name in raw.hosts:
        if name in raw.groups:
            yield (
                f"{raw.hosts[name].spot.ref}: '{name}' is both a group and a host: as in Ansible, "
                "its variables are those of the group, and the pattern selects the host"
            )
