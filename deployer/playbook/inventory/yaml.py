"""Inventories in Ansible's YAML format: groups with ``hosts``, ``children`` and ``vars``."""

from __future__ import annotations

from deployer.errors import SourceError, SourceErrors
from deployer.playbook.inventory.addresses import expand
from deployer.playbook.inventory.raw import RawInventory, check_names
from deployer.playbook.yaml.file import parse_yaml
from deployer.playbook.yaml.source import Spot, YamlMap, nearest, spot_of

_KEYS = ("hosts", "children", "vars")


def read_yaml(text: str, name: str, raw: RawInventory) -> None:
    """Add the groups and hosts of a file to `raw`, and errors to ``raw.problems``."""
    value, file = parse_yaml(text, name=name)
    if value is None:
        return
    if not isinstance(value, YamlMap):
        raise file.spot((1, 1)).error(
            "an inventory is a mapping of groups", hint="all: {hosts: {web1: {}}}"
        )
    if value.get("plugin") is not None:
        raise spot_of(value, "plugin").error(
            f"the inventory plugin '{value['plugin']}' is not supported",
            hint="save its inventory to a file: ansible-inventory --list --yaml --export",
        )
    for name in value:
        _group(value, name, raw)


def _group(parent: YamlMap, key: object, raw: RawInventory) -> str | None:
    """Read a group; its name, unless it is not one."""
    spot = spot_of(parent, key, key=True)
    if not isinstance(key, str):
        raw.problems.add(spot.error(f"{key!r} is not the name of a group", hint="quote it"))
        return None
    node = parent[key]
    raw.group(key)
    if node is None:
        return key
    if not isinstance(node, YamlMap):
        raw.problems.add(
            spot_of(parent, key).error(
                f"the group '{key}' must be a mapping of hosts, children, vars"
            )
        )
        return key
    for word in node:  # in the order of the file, as the order of hosts depends on it
        part = _part(key, node, word, raw)
        if part is not None:
            _READERS[word](key, part, raw)
    return key


def _variables(group: str, part: YamlMap, raw: RawInventory) -> None:
    try:
        check_names(part)
    except SourceErrors as error:
        raw.problems.add(error)
    raw.group(group).layers.append(part)


def _hosts(group: str, part: YamlMap, raw: RawInventory) -> None:
    for each in part:
        _host(part, each, group, raw)


def _children(group: str, part: YamlMap, raw: RawInventory) -> None:
    for each in part:
        child = _group(part, each, raw)
        if child is not None:
            _add_child(group, child, spot_of(part, each, key=True), raw)


_READERS = {"vars": _variables, "hosts": _hosts, "children": _children}


def _add_child(parent: str, child: str, spot: Spot, raw: RawInventory) -> None:
    if child == "all" or child == parent:
        raw.problems.add(spot.error(f"the group '{parent}' cannot contain '{child}'"))
    else:
        raw.group(parent).children.setdefault(child, spot)


def _part(name: str, node: YamlMap, word: object, raw: RawInventory) -> YamlMap | None:
    """The hosts, children or variables of a group; as in Ansible, one name is a mapping of it."""
    value = node[word]
    if word not in _KEYS:
        hint = nearest(str(word), _KEYS) or "the keys of a group are hosts, children, vars"
        raw.problems.add(
            spot_of(node, word, key=True).error(f"unknown key '{word}' in a group", hint=hint)
        )
        return None
    if value is None or isinstance(value, YamlMap):
        return value
    if isinstance(value, str) and word != "vars":
        only = YamlMap(node.file, node.marks[word][1])
        only.put(value, None, (only.mark, only.mark))
        return only
    hint = "write 'NAME:' with a colon, without '- '" if word != "vars" else "write NAME: VALUE"
    raw.problems.add(
        spot_of(node, word).error(f"'{word}' of the group '{name}' must be a mapping", hint=hint)
    )
    return None


def _host(parent: YamlMap, key: object, group: str, raw: RawInventory) -> None:
    spot = spot_of(parent, key, key=True)
    variables = parent[key]
    if not isinstance(key, str):
        raw.problems.add(spot.error(f"{key!r} is not the name of a host", hint="quote it"))
        return
    if variables is not None and not isinstance(variables, YamlMap):
        raw.problems.add(
            spot_of(parent, key).error(f"the variables of '{key}' must be a mapping: NAME: VALUE")
        )
        return
    try:
        names, port = expand(key, spot)
        if variables is not None:
            check_names(variables)
    except (SourceError, SourceErrors) as error:
        raw.problems.add(error)
        return
    for name in names:
        raw.add_host(name, spot, group=group, port=port)
        if variables:
            raw.set_variables(name, variables)
