"""Ansible inventories: groups of hosts with variables, from YAML, INI and adjacent folders.

Variables are merged per host, lowest first: `all`, parents, children, the host. For each of them
the inventory file is lowest, then ``group_vars/`` (``host_vars/``) next to the inventory, then
those next to the playbook.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from deployer.errors import SourceError, SourceErrors, UsageError
from deployer.model import Host, Value
from deployer.playbook.inventory.patterns import select
from deployer.playbook.inventory.raw import RawInventory, check_names
from deployer.playbook.schema import values
from deployer.playbook.yaml.file import load_yaml, missing_file, read_text
from deployer.playbook.yaml.source import MergedVars, Problems, SourceFile, Spot, YamlMap

_CONNECTIONS = ("ssh", "smart", "paramiko", "local")
_VARS_SUFFIXES = ("", ".yml", ".yaml", ".json")
_SKIPPED = ("~", ".bak", ".orig", ".swp", ".md", ".txt", ".retry", ".cfg", ".pyc")


class Inventory:
    """Hosts by name, and the names of each group's hosts."""

    def __init__(
        self,
        hosts: Mapping[str, Host],
        groups: Mapping[str, tuple[str, ...]],
        *,
        raw: RawInventory,
        folders: tuple[Path, ...],
        over_all: Mapping[str, Value],
    ) -> None:
        self.hosts = hosts
        self.groups = groups
        self._raw = raw
        self._folders = folders
        self._over_all = over_all
        self._with: dict[Path, Inventory] = {}

    def select(self, pattern: str, limit: str | None = None) -> tuple[Host, ...]:
        """The hosts of a pattern in the inventory's order, restricted to those that match `limit`.

        Raises:
            UsageError: a name is not in the inventory, or the pattern matches no host.
        """
        names = select(pattern, hosts=tuple(self.hosts), groups=self.groups)
        if not names:
            raise UsageError(f"the pattern '{pattern}' matches no host", hint=self._known())
        if limit is not None:
            wanted = set(select(limit, hosts=tuple(self.hosts), groups=self.groups))
            names = tuple(name for name in names if name in wanted)
        return tuple(self.hosts[name] for name in names)

    def with_folder(self, folder: Path) -> Inventory:
        """This inventory plus ``group_vars/`` and ``host_vars/`` of a playbook's folder."""
        resolved = folder.resolve()
        if resolved in {each.resolve() for each in self._folders}:
            return self
        if resolved not in self._with:
            has_vars = any((folder / name).is_dir() for name in ("group_vars", "host_vars"))
            folders = (*self._folders, folder)
            self._with[resolved] = self
            if has_vars:
                self._with[resolved] = _assemble(self._raw, folders, self._over_all)
        return self._with[resolved]

    def _known(self) -> str:
        groups = ", ".join(name for name in self.groups if name != "ungrouped")
        hosts = ", ".join(list(self.hosts)[:10]) + (", …" if len(self.hosts) > 10 else "")
        return f"groups: {groups}; hosts: {hosts or 'none'}"


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
    if not raw.hosts:
        shown = ", ".join(str(path) for path in paths) or "(none given)"
        raise UsageError(f"no host in the inventory {shown}", hint="add a host, or use -i HOST,")
    if playbook_folder is not None:
        folders.append(playbook_folder)
    connection = {
        key: value for key, value in (extra_vars or {}).items() if key.startswith("ansible_")
    }
    return _assemble(raw, tuple(dict.fromkeys(folders)), connection)


def _read(path: Path, raw: RawInventory, folders: list[Path]) -> None:
    text = str(path)
    if "," in text and not path.exists():
        spot = Spot(SourceFile("-i"), 1, 1)
        for name in filter(None, (each.strip() for each in text.split(","))):
            raw.add_host(name, spot, group="ungrouped")
        return
    if path.is_dir():
        folders.append(path)
        for each in sorted(path.iterdir()):
            hidden = each.name.startswith(".") or each.name.endswith(_SKIPPED)
            if not hidden and each.name not in ("group_vars", "host_vars"):
                _read(each, raw, folders)
        return
    if not path.exists():
        raise missing_file(path, what="inventory")
    folders.append(path.parent)
    content = read_text(path, what="inventory")
    try:
        if _is_yaml(path, content):
            from deployer.playbook.inventory.yaml import read_yaml

            read_yaml(path, raw)
        else:
            from deployer.playbook.inventory.ini import read_ini

            read_ini(content, str(path), raw)
    except (SourceError, SourceErrors) as error:
        raw.problems.add(error)


def _is_yaml(path: Path, content: str) -> bool:
    if content.startswith("#!"):
        raise UsageError(
            f"inventory {path} is a program; dynamic inventories are not supported",
            hint="save its output (with --list, as YAML or INI) to a file",
        )
    if path.suffix in (".yml", ".yaml", ".json"):
        return True
    if path.suffix == ".ini":
        return False
    for line in content.splitlines():
        bare = line.split("#")[0].strip()
        if bare and not bare.startswith(";"):
            return bare == "---" or bare.endswith(":") or bare.startswith("{")
    return False


def _assemble(
    raw: RawInventory, folders: tuple[Path, ...], over_all: Mapping[str, object]
) -> Inventory:
    problems = Problems()
    names = dict.fromkeys(("all", "ungrouped", *raw.groups))
    members = {name: tuple(raw.closure(name)) for name in names}
    grouped = {host for name in names if name not in ("all", "ungrouped") for host in members[name]}
    members["ungrouped"] = tuple(host for host in raw.hosts if host not in grouped)
    own = {}
    for name in names:
        layers = raw.groups[name].layers if name in raw.groups else []
        own[name] = _merged([*layers, *_folder_layers(folders, "group_vars", name, problems)])
    order = sorted(names, key=lambda name: _rank(name, raw, own[name]))
    hosts: dict[str, Host] = {}
    for name, layers in raw.hosts.items():
        groups = tuple(
            sorted(group for group in names if group != "all" and name in members[group])
        )
        merged = MergedVars()
        host_layers = [*layers, *_folder_layers(folders, "host_vars", name, problems)]
        of_groups = [own[group] for group in order if group in {"all", *groups}]
        for each in (*of_groups, _merged(host_layers)):
            merged.update(each)
            merged.spots.update(each.spots)
        merged.update(over_all)
        try:
            hosts[name] = _HostReader(name, groups, merged, raw.spots[name]).host()
        except SourceError as error:
            problems.add(error)
    problems.raise_if_any()
    return Inventory(hosts, members, raw=raw, folders=folders, over_all=over_all)


def _merged(layers: Sequence[YamlMap]) -> MergedVars:
    merged = MergedVars()
    for layer in layers:
        merged.merge(layer)
    return merged


def _rank(name: str, raw: RawInventory, variables: Mapping[str, object]) -> tuple[int, int, str]:
    if name == "all":
        return (-1, 0, "")
    priority = variables.get("ansible_group_priority", 1)
    return (raw.depth(name), priority if isinstance(priority, int) else 1, name)


def _folder_layers(
    folders: tuple[Path, ...], kind: str, name: str, problems: Problems
) -> list[YamlMap]:
    layers: list[YamlMap] = []
    if "/" in name:
        return layers
    for folder in folders:
        for suffix in _VARS_SUFFIXES:
            path = folder / kind / (name + suffix)
            files = [path] if path.is_file() else []
            if path.is_dir():
                files = sorted(
                    each
                    for each in path.rglob("*")
                    if each.is_file() and each.suffix in _VARS_SUFFIXES and each.name[0] != "."
                )
            for each in files:
                try:
                    layers.append(load_vars(each))
                except (SourceError, SourceErrors) as error:
                    problems.add(error)
    return layers


def load_vars(path: Path, *, secret: bool = False) -> YamlMap:
    """Load a file of variables, which must be one mapping or empty."""
    value, file = load_yaml(path, what="variable file", secret=secret)
    if value is None:
        return YamlMap(file, (1, 1))
    if not isinstance(value, YamlMap):
        raise file.spot((1, 1)).error("a variable file is a mapping: name: value")
    check_names(value)
    return value


class _HostReader:
    """Reads the settings of one host from its merged variables."""

    def __init__(
        self, name: str, groups: tuple[str, ...], variables: MergedVars, spot: Spot
    ) -> None:
        self._name = name
        self._groups = groups
        self._variables = variables
        self._spot = spot

    def host(self) -> Host:
        hostname = self._hostname()
        port, user = self._port(), self._user()
        self._check_connection()
        self._set_become()
        for key in ("ansible_host", "ansible_ssh_private_key_file"):
            value, _ = self._first(key)
            if value is not None and value != self._variables[key]:
                self._variables[key] = value
        return Host(
            name=self._name,
            hostname=hostname,
            port=port,
            user=user,
            groups=self._groups,
            vars=self._variables,
        )

    def _first(self, *keys: str) -> tuple[object, Spot]:
        """The first of `keys` that has a value, rendered, and its place."""
        variables, spots = self._variables, self._variables.spots
        for key in keys:
            value, spot = variables.get(key), spots.get(key, self._spot)
            if value is not None:
                if isinstance(value, str) and "{{" in value:
                    value = _rendered(value, self._name, self._groups, variables, spot)
                return value, spot
        return None, self._spot

    def _hostname(self) -> str:
        value, where = self._first("ansible_host", "ansible_ssh_host")
        hostname = self._name if value is None else str(value)
        if not hostname or any(ord(each) < 33 or each in "'\"`$;&|<>\\{}" for each in hostname):
            raise where.error(f"{hostname!r} is not a host name or address")
        if hostname.startswith("-"):
            raise where.error(f"{hostname!r} is not a host name: it starts with '-'")
        return hostname

    def _port(self) -> int:
        number, where = self._first("ansible_port", "ansible_ssh_port")
        try:
            return 22 if number is None else values.port(number)
        except values.InvalidValue as error:
            raise where.error(f"ansible_port: {error}") from None

    def _user(self) -> str | None:
        user, where = self._first("ansible_user", "ansible_ssh_user")
        try:
            return None if user is None else values.account(user)
        except values.InvalidValue as error:
            raise where.error(f"ansible_user: {error}") from None

    def _check_connection(self) -> None:
        connection, where = self._first("ansible_connection")
        if connection is not None and connection not in _CONNECTIONS:
            raise where.error(
                f"ansible_connection: {connection!r} is not supported", hint="use ssh or local"
            )

    def _set_become(self) -> None:
        become, where = self._first("ansible_become")
        if become is None:
            return
        # In INI, true and false are strings.
        words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
        if str(become).lower() not in words:
            raise where.error(f"ansible_become: {become!r} is neither true nor false")
        self._variables["ansible_become"] = words[str(become).lower()]


def _rendered(
    value: str, name: str, groups: tuple[str, ...], variables: Mapping[str, object], spot: Spot
) -> object:
    from deployer.playbook.templates.scope import Layer, Scope
    from deployer.playbook.templates.templar import Templar

    magic = {
        "inventory_hostname": name,
        "inventory_hostname_short": name.partition(".")[0],
        "group_names": list(groups),
    }
    templar = Templar()
    scope = Scope((Layer(variables), Layer(magic, raw=True)), templar=templar)
    return templar.render(value, scope, spot)
