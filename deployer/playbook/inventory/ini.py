"""Inventories in Ansible's INI format: ``[group]``, ``[group:vars]``, ``[group:children]``."""

from __future__ import annotations

import ast
import re
import shlex
import warnings

from deployer.errors import SourceError
from deployer.playbook.inventory.addresses import expand
from deployer.playbook.inventory.raw import RawInventory
from deployer.playbook.yaml.source import Mark, SourceFile, YamlMap, nearest

_SECTION = re.compile(r"\[([^:\]\s]+)(?::(\w+))?\]\s*(?:#.*)?")
_CHILD = re.compile(r"([^:\]\s]+)\s*(?:#.*)?")
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
    reader.end()


class _Reader:
    """Reads line by line; `wanted` are children that no section has declared yet."""

    def __init__(self, file: SourceFile, raw: RawInventory) -> None:
        self.file = file
        self.raw = raw
        self.group = "ungrouped"
        self.kind = "hosts"
        self.wanted: dict[str, list[tuple[str, Mark]]] = {}
        self.only_vars: dict[str, Mark] = {}

    def line(self, text: str, mark: Mark) -> None:
        match = _SECTION.fullmatch(text)
        if match is not None:
            self._section(match[1], match[2] or "hosts", mark)
        elif text.startswith("[") and (text.endswith("]") or ":" not in text):
            raise self.file.spot(mark).error(
                "not a section", hint="write [GROUP], [GROUP:vars] or [GROUP:children]"
            )
        elif self.kind == "hosts":
            self._host(text, mark)
        elif self.kind == "children":
            self._child(text, mark)
        else:
            self._variable(text, mark)

    def end(self) -> None:
        """Report the groups that no section declares."""
        groups, problems = self.raw.groups, self.raw.problems
        for child, places in self.wanted.items():
            hint = nearest(child, (each for each in groups if each not in self.wanted))
            for _, mark in places:
                problems.add(
                    self.file.spot(mark).error(
                        f"no group '{child}'", hint=hint or f"add a section [{child}]"
                    )
                )
        for name, mark in self.only_vars.items():
            hint = nearest(name, (each for each in groups if each not in self.only_vars))
            problems.add(
                self.file.spot(mark).error(
                    f"no group '{name}'", hint=hint or f"add a section [{name}]"
                )
            )

    def _section(self, name: str, kind: str, mark: Mark) -> None:
        if kind not in _KINDS:
            hint = nearest(kind, _KINDS)
            raise self.file.spot(mark).error(f"unknown section '{kind}'", hint=hint)
        self.group, self.kind = name, kind
        if kind == "vars" and name not in self.raw.groups and name not in self.wanted:
            self.only_vars[name] = mark
        self.raw.group(name)
        if kind != "vars":
            self.only_vars.pop(name, None)
            self._connect(name)

    def _connect(self, child: str) -> None:
        """Make a declared group the child of those that mentioned it before."""
        for parent, mark in self.wanted.pop(child, ()):
            self.raw.group(parent).children.setdefault(child, self.file.spot(mark))

    def _child(self, text: str, mark: Mark) -> None:
        match = _CHILD.fullmatch(text)
        if match is None:
            raise self.file.spot(mark).error("not the name of a group")
        child = match[1]
        if child in self.raw.groups:
            self.raw.group(self.group).children.setdefault(child, self.file.spot(mark))
        else:
            self.wanted.setdefault(child, []).append((self.group, mark))

    def _variable(self, text: str, mark: Mark) -> None:
        key, equals, value = text.partition("=")
        name = key.strip()
        if not equals:
            raise self.file.spot(mark).error("not a variable", hint="write NAME=VALUE")
        self._check(name, mark)
        column = mark[1] + len(key) + 1 + len(value) - len(value.lstrip())
        variables = YamlMap(self.file, mark)
        variables.put(name, literal(value.strip()), (mark, (mark[0], column)))
        self.raw.group(self.group).layers.append(variables)

    def _host(self, text: str, mark: Mark) -> None:
        spot = self.file.spot(mark)
        try:
            tokens = shlex.split(text, comments=True)
        except ValueError as error:
            raise spot.error(f"a quote is not closed ({error})") from None
        if not tokens:
            return
        if text.endswith(":") or text.startswith("- ") or text == "---":
            raise spot.error(
                "this looks like YAML, but the file is read as INI", hint="name it inventory.yml"
            )
        pattern, *assignments = tokens
        names, port = expand(pattern, spot)
        if pattern.endswith(":"):
            raise spot.error(
                f"'{pattern}': a colon at the end of a host", hint="write HOST or HOST:PORT"
            )
        variables = YamlMap(self.file, mark)
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
            variables.put(name, literal(value), places)
        for host in names:
            self.raw.add_host(host, spot, group=self.group, port=port)
            if variables:
                self.raw.set_variables(host, variables)

    def _check(self, name: str, mark: Mark) -> None:
        if not name.isidentifier():
            raise self.file.spot(mark).error(f"'{name}' is not a variable name")


def literal(text: str) -> object:
    """A value with Ansible's rules: a Python literal, otherwise the text itself."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            value = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text
    return _plain(value)


def _plain(value: object) -> object:
    """A literal as a value of YAML: a list for a tuple or a set, a text for bytes."""
    if isinstance(value, (list, tuple, set)):
        return [_plain(each) for each in value]
    if isinstance(value, dict):
        return {_plain(key): _plain(each) for key, each in value.items()}
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if value is ...:
        return "..."
    return str(value) if isinstance(value, complex) else value
