"""``group_vars/`` and ``host_vars/``: the files of a group or a host, by Ansible's rules."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from deployer.errors import SourceError, SourceErrors, UsageError
from deployer.playbook.inventory.raw import check_names
from deployer.playbook.yaml.file import load_yaml
from deployer.playbook.yaml.source import Problems, YamlMap

_SUFFIXES = ("", ".yml", ".yaml", ".json")


class VarsFolders:
    """The variable files of inventories and playbooks; each folder is listed once."""

    def __init__(self, problems: Problems) -> None:
        self._problems = problems
        self._listed: dict[Path, frozenset[str]] = {}

    def layers(self, folders: Sequence[Path], kind: str, name: str) -> list[YamlMap]:
        """The variables of a group (``group_vars``) or host (``host_vars``), lowest first."""
        layers: list[YamlMap] = []
        for folder in folders:
            for path in self._files(folder / kind, name):
                try:
                    layers.append(load_vars(path))
                except (SourceError, SourceErrors) as error:
                    self._problems.add(error)
        return layers

    def _files(self, folder: Path, name: str) -> list[Path]:
        """The first of ``NAME`` and the suffixes; of a folder, all files."""
        if folder not in self._listed:
            self._listed[folder] = _names(folder)
        there = self._listed[folder]
        for suffix in _SUFFIXES:
            if name + suffix in there:
                path = folder / (name + suffix)
                return _all_files(path) if path.is_dir() else [path]
        return []


def _names(folder: Path) -> frozenset[str]:
    try:
        return frozenset(os.listdir(folder))  # noqa: PTH208 - names alone
    except (FileNotFoundError, NotADirectoryError):
        return frozenset()
    except OSError as error:
        raise UsageError(f"cannot read folder {folder}: {error.strerror}") from None


def _all_files(folder: Path) -> list[Path]:
    found: list[Path] = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name.endswith("~"):
            continue
        if path.is_dir():
            found += _all_files(path) if not path.suffix else []
        elif path.suffix in _SUFFIXES:
            found.append(path)
    return found


def load_vars(path: Path, *, secret: bool = False) -> YamlMap:
    """Load a file of variables, which must be one mapping or empty."""
    value, file = load_yaml(path, what="variable file", secret=secret)
    if value is None:
        return YamlMap(file, (1, 1))
    if not isinstance(value, YamlMap):
        raise file.spot((1, 1)).error("a variable file is a mapping: name: value")
    check_names(value)
    return value
