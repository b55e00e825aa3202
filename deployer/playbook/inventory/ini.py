"""Inventories in Ansible's INI format: ``[group]``, ``[group:vars]``, ``[group:children]``."""

from __future__ import annotations

import ast
import re
import shlex

from deployer.errors import SourceError
from deployer.playbook.inventory.ranges import expand
from deployer.playbook.inventory.raw import RawInventory
from deployer.playbook.yaml.source import Mark, SourceFile, YamlMap, nearest

_SECTION = re.compile(r"\[([^:\]\s]+)(?::(\w+))?\]\s*(?:[#;].*)?")
_KINDS = ("hosts", "vars", "children")


def read_ini(text: str, name: str, raw: RawInventory) -> None:
    """Add the groups and hosts of a file to `raw`, and errors to ``raw.problems``."""
    file = SourceFile(name, tuple(text.split("\n")))
    reader = _Reader(file, raw)
    for number, line in enumerate(file.lines, start=1):
        bare = line.strip()
        if not bare or bare[0] in "#;":
            continue
        mark = (number, len(line) - len(line.lstrip()) + 1)
        try:
            reader.line(bare, mark)
        except SourceError as error:
            raw.problems.add(error)
    for child, mark in reader.children:
        if child not in raw.groups:
            hint = nearest(child, raw.groups) or f"add a section [{child}]"
            raw.problems.add(file.spot(mark).error(f"no group '{child}'", hint=hint))


class _Reader:
    def __init__(self, file: SourceFile, raw: RawInventory) -> None:
        self.file = file
        self.raw = raw
        self.group = "ungrouped"
        self.kind = "hosts"
        self.children: list[tuple[str, Mark]] = []

    def line(self, text: str, mark: Mark) -> None:
        spot = self.file.spot(mark)
        if text.startswith("["):
            match = _SECTION.fullmatch(text)
            kind = (match[2] or "hosts") if match else ""
            if match is None:
                raise spot.error(
                    "not a section", hint="write [GROUP], [GROUP:vars] or [GROUP:children]"
                )
            if kind not in _KINDS:
                raise spot.error(f"unknown section '{kind}'", hint=nearest(kind, _KINDS))
            self.group, self.kind = match[1], kind
            if kind != "vars" or self.group not in self.raw.groups:
                self.raw.group(self.group)
        elif self.kind == "hosts":
            self._host(text, mark)
        elif self.kind == "children":
            name = re.split(r"\s+[#;]", text)[0].strip()
            self.raw.group(self.group).children[name] = None
            self.children.append((name, mark))
        else:
            self._variable(text, mark)

    def _variable(self, text: str, mark: Mark) -> None:
        key, equals, value = text.partition("=")
        name = key.strip()
        if not equals:
            raise self.file.spot(mark).error("not a variable", hint="write NAME=VALUE")
        self._check(name, mark)
        column = mark[1] + len(key) + 1 + len(value) - len(value.lstrip())
        variables = YamlMap(self.file, mark)
        variables.put(name, _literal(value.strip()), (mark, (mark[0], column)))
        self.raw.group(self.group).layers.append(variables)

    def _host(self, text: str, mark: Mark) -> None:
        spot = self.file.spot(mark)
        try:
            tokens = shlex.split(text, comments=True)
        except ValueError as error:
            raise spot.error(f"a quote is not closed ({error})") from None
        if not tokens:
            return
        if text.endswith(":") or text.startswith("- "):
            raise spot.error(
                "this looks like YAML, but the file is read as INI", hint="name it inventory.yml"
            )
        pattern, *assignments = tokens
        variables = YamlMap(self.file, mark)
        port = re.fullmatch(
            r"([^:\[\]]+(?:\[[^\]]*\][^:\[\]]*)*|\[[0-9a-fA-F:.]+\]):(\d+)", pattern
        )
        if port is not None:
            pattern = port[1].strip("[]") if port[1].startswith("[") else port[1]
            variables.put("ansible_port", int(port[2]), (mark, mark))
        for each in assignments:
            name, equals, value = each.partition("=")
            line = self.file.lines[mark[0] - 1]
            column = max(line.find(name), 0) + 1
            if not equals:
                raise self.file.spot((mark[0], column)).error(
                    f"'{each}' after a host must be a variable", hint="write NAME=VALUE"
                )
            self._check(name, (mark[0], column))
            places = ((mark[0], column), (mark[0], column + len(name) + 1))
            variables.put(name, _literal(value), places)
        for host in expand(pattern, spot):
            self.raw.add_host(host, spot, group=None if self.group == "all" else self.group)
            if variables:
                self.raw.hosts[host].append(variables)

    def _check(self, name: str, mark: Mark) -> None:
        if not name.isidentifier():
            raise self.file.spot(mark).error(f"'{name}' is not a variable name")


def _literal(text: str) -> object:
    """A value with Ansible's rules: a Python literal, otherwise the text itself."""
    if "#" in text:
        return text
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text
    return value if isinstance(value, (str, int, float, bool, list, dict, type(None))) else text
