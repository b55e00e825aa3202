"""Inventories in Ansible's YAML format: groups with ``hosts``, ``children`` and ``vars``."""

from __future__ import annotations

from pathlib import Path

from deployer.errors import SourceError, SourceErrors
from deployer.playbook.inventory.ranges import expand
from deployer.playbook.inventory.raw import RawInventory, check_names
from deployer.playbook.yaml.file import load_yaml
from deployer.playbook.yaml.source import YamlMap, nearest, spot_of

_KEYS = ("hosts", "children", "vars")


def read_yaml(path: Path, raw: RawInventory) -> None:
    """Add the groups and hosts of a file to `raw`, and errors to ``raw.problems``."""
    value, file = load_yaml(path, what="inventory")
    if value is None:
        return
    if not isinstance(value, YamlMap):
        raise file.spot((1, 1)).error(
            "an inventory is a mapping of groups", hint="all: {hosts: {web1: {}}}"
        )
    for name in value:
        _group(str(name), value, name, raw)


def _group(name: str, parent: YamlMap, key: object, raw: RawInventory) -> None:
    group = raw.group(name)
    node = parent[key]
    if node is None:
        return
    if not isinstance(node, YamlMap):
        raw.problems.add(
            spot_of(parent, key).error(
                f"the group '{name}' must be a mapping of hosts, children, vars"
            )
        )
        return
    _check_keys(name, node, raw)
    variables = node.get("vars")
    if isinstance(variables, YamlMap):
        try:
            check_names(variables)
        except SourceErrors as error:
            raw.problems.add(error)
        group.layers.append(variables)
    hosts = node.get("hosts")
    if isinstance(hosts, YamlMap):
        for each in hosts:
            _host(str(each), hosts, each, name, raw)
    children = node.get("children")
    if isinstance(children, YamlMap):
        for each in children:
            if str(each) != "all":
                group.children[str(each)] = None
            _group(str(each), children, each, raw)


def _check_keys(name: str, node: YamlMap, raw: RawInventory) -> None:
    for word in node:
        if word not in _KEYS:
            hint = nearest(str(word), _KEYS) or "the keys of a group are hosts, children, vars"
            raw.problems.add(
                spot_of(node, word, key=True).error(f"unknown key '{word}' in a group", hint=hint)
            )
        elif node[word] is not None and not isinstance(node[word], YamlMap):
            hint = (
                "write 'NAME:' with a colon, without '- '"
                if word != "vars"
                else "write NAME: VALUE"
            )
            raw.problems.add(
                spot_of(node, word).error(
                    f"'{word}' of the group '{name}' must be a mapping", hint=hint
                )
            )


def _host(pattern: str, parent: YamlMap, key: object, group: str, raw: RawInventory) -> None:
    spot = spot_of(parent, key, key=True)
    variables = parent[key]
    if variables is not None and not isinstance(variables, YamlMap):
        raw.problems.add(
            spot_of(parent, key).error(
                f"the variables of '{pattern}' must be a mapping: NAME: VALUE"
            )
        )
        return
    try:
        names = expand(pattern, spot)
        if variables is not None:
            check_names(variables)
    except (SourceError, SourceErrors) as error:
        raw.problems.add(error)
        return
    for name in names:
        raw.add_host(name, spot, group=None if group == "all" else group)
        if variables:
            raw.hosts[name].append(variables)
