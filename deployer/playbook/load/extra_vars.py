"""``-e``: variables of the command line."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable
from pathlib import Path

from deployer.errors import SourceErrors, UsageError
from deployer.playbook.yaml.source import YamlMap


def parse_extra_vars(args: Iterable[str]) -> dict[str, object]:
    """The variables of all ``-e`` options; later ones override earlier ones.

    Each is ``name=value`` (or several, quoted as in a shell; values are strings), a mapping in JSON
    or YAML, or ``@file``.

    Raises: UsageError, for anything else; SourceError, for an error inside a mapping or a file.
    """
    from deployer.playbook.yaml.source import MergedVars

    found = MergedVars()
    for arg in args:
        text = arg.strip()
        if text.startswith("@"):
            from deployer.playbook.inventory.load import load_vars

            found.merge(load_vars(Path(os.path.expanduser(text[1:]))))
        elif text.startswith(("{", "[")):
            found.merge(_mapping(text))
        else:
            found.update(_pairs(arg))
    return found


def _mapping(text: str) -> YamlMap:
    from deployer.playbook.inventory.raw import check_names
    from deployer.playbook.yaml.file import parse_yaml

    value, file = parse_yaml(text, name="-e")
    if not isinstance(value, YamlMap):
        raise file.spot((1, 1)).error("-e requires a mapping", hint='-e \'{"name": "value"}\'')
    try:
        check_names(value)
    except SourceErrors as error:
        raise error.errors[0] from None
    return value


def _pairs(text: str) -> dict[str, str]:
    try:
        words = shlex.split(text)
    except ValueError:
        raise UsageError(f"-e {text}: a quote is not closed") from None
    found = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name.isidentifier():
            raise UsageError(
                f"-e {text}: '{word}' is not a variable",
                hint="write -e name=value, -e \"name='a b'\", -e '{\"name\": 1}' or -e @file.yml",
            )
        found[name] = value
    return found
