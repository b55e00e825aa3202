"""``-e``: variables of the command line."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from deployer.errors import SourceErrors, UsageError
from deployer.playbook.yaml.source import MergedVars, SourceFile, YamlMap

_ESCAPES = re.compile(
    r"""\\U[a-fA-F0-9]{8}|\\u[a-fA-F0-9]{4}|\\x[a-fA-F0-9]{2}|\\N\{[^}]+\}|\\[\\'"abfnrtv]"""
)


def parse_extra_vars(args: Iterable[str]) -> dict[str, object]:
    """The variables of all ``-e`` options; later ones override earlier ones.

    Each is ``name=value`` (or several, quoted as in a shell; values are strings), a mapping in JSON
    or YAML, or ``@file``.

    Raises: UsageError, for anything else; SourceError, for an error inside a mapping or a file.
    """
    found = MergedVars()
    for arg in args:
        text = arg.strip()
        if text.startswith("@"):
            from deployer.playbook.inventory.load import load_vars

            found.merge(load_vars(Path(os.path.expanduser(text[1:]))))
        elif text.startswith(("{", "[")):
            found.merge(_mapping(text))
        else:
            _pairs(arg, found)
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


def _pairs(text: str, found: MergedVars) -> None:
    """Add the variables of ``a=1 b='x y'``, by Ansible's rules for quotes and escapes."""
    file = SourceFile("-e", (text,))
    for word, column in _words(text):
        name, equals, value = _ESCAPES.sub(_decoded, word).partition("=")
        if not equals or not name.isidentifier():
            raise UsageError(
                f"-e {text}: '{word}' is not a variable",
                hint="write -e name=value, -e \"name='a b'\", -e '{\"name\": 1}' or -e @file.yml",
            )
        value = value.strip()
        if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"" and value[-2] != "\\":
            value = value[1:-1]
        found[name] = value
        found.spots[name] = file.spot((1, column + len(name) + 2))


def _words(text: str) -> Iterator[tuple[str, int]]:
    """The words of a text, and where they begin; quotes and templates hold words together."""
    begin, depth, quote = 0, 0, ""
    for position, character in enumerate(text):
        before = text[position - 1] if position else ""
        if character in "'\"" and before != "\\":
            quote = "" if quote == character else quote or character
        elif character in "{%#" and before == "{":
            depth += 1
        elif character == "}" and before in "}%#" and depth:
            depth -= 1
        elif character in " \n" and not quote and not depth:
            if position > begin:
                yield text[begin:position], begin
            begin = position + 1
    if quote or depth:
        what = "quote is not closed" if quote else "template is not closed"
        raise UsageError(f"-e {text}: a {what}")
    if begin < len(text):
        yield text[begin:], begin


def _decoded(match: re.Match[str]) -> str:
    import codecs

    try:
        return codecs.decode(match[0], "unicode-escape")
    except ValueError:
        return match[0]
