"""Ansible inventories: groups of hosts with variables, from YAML, INI and adjacent folders."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path

from deployer.errors import SourceError, SourceErrors, UsageError
from deployer.model import Host, Value
from deployer.playbook.inventory.addresses import expand
from deployer.playbook.inventory.assemble import Assembly, Folders, conflicts
from deployer.playbook.inventory.folders import load_vars
from deployer.playbook.inventory.patterns import LOCALHOST, select, with_files
from deployer.playbook.inventory.raw import Hierarchy, RawInventory
from deployer.playbook.yaml.file import missing_file, read_text
from deployer.playbook.yaml.source import MergedVars, SourceFile

__all__ = ["Inventory", "load_inventory", "load_vars"]

_SKIPPED = (
    *("~", ".bak", ".cfg", ".md", ".orig", ".pyc", ".pyo", ".retry", ".rpm", ".rst", ".swp"),
    ".txt",
)
#: The first line of a YAML file without a suffix.
_YAML_LINE = re.compile(r"---|\{|[\"']?[^\s\"'=\[\]]+[\"']?:(\s|$)")
_SKIPPED_NAMES = ("group_vars", "host_vars", "vars_plugins")


class _Members(Mapping[str, tuple[str, ...]]):
    """The hosts of each group, found on demand."""

    def __init__(self, raw: RawInventory, hierarchy: Hierarchy) -> None:
        self._names = raw.groups
        self._hierarchy = hierarchy

    def __getitem__(self, name: str) -> tuple[str, ...]:
        if name not in self._names:
            raise KeyError(name)
        return self._hierarchy.members(name)

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


class Inventory:
    """Hosts by name, and the names of each group's hosts.

    `notes` are on what is read as in Ansible, but may surprise.
    """

    def __init__(
        self,
        raw: RawInventory,
        hierarchy: Hierarchy,
        *,
        folders: Folders,
        over_all: Mapping[str, Value],
        context: tuple[Mapping[str, Value], ...] = (),
        keywords: Mapping[str, Value] | None = None,
    ) -> None:
        self._raw = raw
        self._hierarchy = hierarchy
        self._folders = folders
        self._over_all = over_all
        self._context = context
        self._keywords = keywords or {}
        self._assembly = Assembly(
            raw,
            hierarchy,
            folders=folders,
            over_all=over_all,
            context=context,
            keywords=self._keywords,
        )
        self.hosts: Mapping[str, Host] = self._assembly.hosts()
        self._assembly.problems.raise_if_any()
        self.groups: Mapping[str, tuple[str, ...]] = _Members(raw, hierarchy)
        self.notes = (*conflicts(raw), *self._assembly.notes)
        self._here: dict[str, Host] = {}
        self._with: dict[Path, Inventory] = {}

    def select(self, pattern: str, limit: str | None = None) -> tuple[Host, ...]:
        """The hosts of a pattern in its order, restricted to those that match `limit`.

        There may be none, as a group may be empty.

        Raises:
            UsageError: a name is neither a host nor a group of the inventory.
        """
        names = select(pattern, hosts=self.hosts, groups=self.groups)
        if limit is not None:
            wanted = set(select(with_files(limit), hosts=self.hosts, groups=self.groups))
            names = tuple(name for name in names if name in wanted)
        return tuple(self.host(name) for name in names)

    def host(self, name: str) -> Host:
        """A host of the inventory, or this machine."""
        found = self.hosts.get(name) or self._here.get(name)
        if found is None and name in LOCALHOST:
            found = self._here[name] = self._assembly.implicit(name)
        if found is None:
            raise KeyError(name)
        return found

    def children(self, group: str) -> tuple[str, ...]:
        """The names of a group's direct children."""
        return tuple(self._raw.groups[group].children)

    def own_hosts(self, group: str) -> tuple[str, ...]:
        """The names of the hosts that a group itself mentions."""
        return tuple(self._raw.groups[group].hosts)

    @cached_property
    def groups_with_hosts(self) -> dict[str, list[str]]:
        """The variable ``groups`` of templates."""
        return {name: list(hosts) for name, hosts in self.groups.items()}

    def source(self, host: str) -> str:
        """The inventory file that mentions a host first."""
        raw = self._raw.hosts.get(host)
        return "" if raw is None else raw.source

    def with_folder(self, folder: Path) -> Inventory:
        """This inventory plus ``group_vars/`` and ``host_vars/`` of a playbook's folder."""
        resolved = folder.resolve()
        known = [*self._folders.inventories, *filter(None, (self._folders.playbook,))]
        if resolved in {each.resolve() for each in known}:
            return self
        if resolved not in self._with:
            has_vars = any((folder / name).is_dir() for name in ("group_vars", "host_vars"))
            self._with[resolved] = self if not has_vars else self._over(folder)
        return self._with[resolved]

    def with_variables(
        self,
        variables: Mapping[str, Value],
        *,
        context: Mapping[str, Value],
        keywords: Mapping[str, Value],
    ) -> Inventory:
        """This inventory with variables that override those of every host, but not those of -e.

        `context` are further variables for their templates. `keywords` are variables that those of
        every host override.
        """
        over_all = MergedVars()
        over_all.take(variables)
        over_all.take(self._over_all)
        return Inventory(
            self._raw,
            self._hierarchy,
            folders=self._folders,
            over_all=over_all,
            context=(context, *self._context),
            keywords=keywords,
        )

    def _over(self, playbook: Path) -> Inventory:
        known = filter(None, (self._folders.playbook,))
        return Inventory(
            self._raw,
            self._hierarchy,
            folders=Folders(inventories=(*self._folders.inventories, *known), playbook=playbook),
            over_all=self._over_all,
            context=self._context,
            keywords=self._keywords,
        )


def load_inventory(
    paths: Sequence[Path],
    *,
    playbook_folder: Path | None = None,
    extra_vars: Mapping[str, Value] | None = None,
) -> Inventory:
    """Read inventories; later ones override earlier ones.

    Args:
        paths: YAML or INI files, folders of them, or host lists such as ``web1,web2``.
        playbook_folder: the playbook's folder, for its ``group_vars/`` and ``host_vars/``.
        extra_vars: variables of ``-e``; those such as ``ansible_user`` apply to every host.

    Raises:
        UsageError: a file is missing, or there is no host.
        SourceErrors: all errors in the files.
    """
    raw = RawInventory()
    folders: list[Path] = []
    for path in paths:
        _read(path, raw, folders)
    raw.problems.raise_if_any()
    hierarchy = raw.complete()
    if not raw.hosts:
        shown = ", ".join(str(path) for path in paths) or "(none given)"
        raise UsageError(f"no host in the inventory {shown}", hint="add a host, or use -i HOST,")
    own = tuple(dict.fromkeys(folders))
    is_own = playbook_folder is not None and playbook_folder in own
    return Inventory(
        raw,
        hierarchy,
        folders=Folders(inventories=own, playbook=None if is_own else playbook_folder),
        over_all=connection_variables(extra_vars or {}),
        context=(extra_vars or {},),
    )


def connection_variables(variables: Mapping[str, Value]) -> MergedVars:
    """Those of `variables` that may set how to connect, with their places."""
    found = MergedVars()
    spots = variables.spots if isinstance(variables, MergedVars) else {}
    for key, value in variables.items():
        if str(key).startswith("ansible_"):
            found[key] = value
            found.spots[key] = spots.get(key) or SourceFile("-e").spot((1, 1))
    return found


def _read(path: Path, raw: RawInventory, folders: list[Path]) -> None:
    text = str(path)
    mode = _mode(path)
    if mode is None and "," in text:
        spot = SourceFile("-i").spot((1, 1))
        for name in filter(None, (each.strip() for each in text.split(","))):
            names, port = expand(name, spot, ranges=False)
            raw.add_host(names[0], spot, group="ungrouped", port=port)
        return
    if mode is None:
        raise missing_file(path, what="inventory")
    if stat.S_ISDIR(mode):
        folders.append(path)
        for name in _listed(path):
            if not name.startswith(".") and not name.endswith(_SKIPPED):
                _read(path / name, raw, folders)
        return
    folders.append(path.parent)
    content = read_text(path, what="inventory")
    raw.source = text
    try:
        if _is_yaml(path, content):
            from deployer.playbook.inventory.yaml import read_yaml

            read_yaml(content, text, raw)
        else:
            from deployer.playbook.inventory.ini import read_ini

            read_ini(content, text, raw)
    except (SourceError, SourceErrors) as error:
        raw.problems.add(error)


def _mode(path: Path) -> int | None:
    """The type and mode of a file, or `None` if it does not exist. Raises: UsageError."""
    try:
        return os.stat(path).st_mode  # noqa: PTH116 - its errors are the subject
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        if "," in str(path):  # a list of hosts may be longer than a name of a file
            return None
        why = error.strerror if isinstance(error, OSError) else "not a valid file name"
        raise UsageError(f"cannot read inventory {path}: {why}") from None


def _listed(folder: Path) -> list[str]:
    try:
        return sorted(each for each in os.listdir(folder) if each not in _SKIPPED_NAMES)  # noqa: PTH208
    except OSError as error:
        raise UsageError(f"cannot read inventory {folder}: {error.strerror}") from None


def _is_yaml(path: Path, content: str) -> bool:
    if content.startswith("#!"):
        raise UsageError(
            f"inventory {path} is a program; dynamic inventories are not supported",
            hint="save its output (with --list, as YAML or INI) to a file",
        )
    if path.suffix == ".toml":
        raise UsageError(
            f"inventory {path}: TOML is not supported",
            hint="convert it: ansible-inventory -i FILE --list --yaml --export",
        )
    if path.suffix:
        return path.suffix in (".yml", ".yaml", ".json")
    for line in content.splitlines():
        bare = line.split("#")[0].strip()
        if bare and not bare.startswith(";"):
            return _YAML_LINE.match(bare) is not None
    return False
