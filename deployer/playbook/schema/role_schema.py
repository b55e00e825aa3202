"""The argument specifications of the built-in roles, for the JSON Schema and the reference page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from deployer.playbook.builtin import roles_path
from deployer.playbook.schema.argument_specs import Option, Options, options_in
from deployer.playbook.yaml.file import load_yaml

_TYPES = {
    "str": ["string", "number"],
    "path": "string",
    "int": ["integer", "string"],
    "float": ["number", "string"],
    "bool": ["boolean", "string"],
    "list": ["array", "string"],
    "dict": "object",
}


def builtin_options() -> Iterator[tuple[str, Options]]:
    """The name of each built-in role with its variables."""
    for path in sorted(roles_path().glob("*/meta/argument_specs.yml")):
        document, file = load_yaml(path, what="argument specification")
        options = options_in(document, file.spot((1, 1)))
        if options is not None:
            yield path.parents[1].name, options


def role_rules() -> list[dict[str, Any]]:
    """For each built-in role, the schema of its variables in an entry of ``roles``."""
    return [
        {
            "if": {"properties": {"role": {"const": name}}, "required": ["role"]},
            "then": {"properties": {"vars": {"properties": _properties(options)}}},
        }
        for name, options in builtin_options()
    ]


def _properties(options: Options) -> dict[str, Any]:
    return {name: _schema(option) for name, option in options.items()}


def _schema(option: Option) -> dict[str, Any]:
    schema: dict[str, Any] = {"description": option.description}
    if option.choices is not None:
        template = {"type": "string", "pattern": r"\{\{"}
        return {**schema, "anyOf": [{"enum": list(option.choices)}, template]}
    kind = _TYPES.get(option.type)
    if kind is not None:
        kinds = [kind] if isinstance(kind, str) else list(kind)
        schema["type"] = kinds + (["string"] if "string" not in kinds else []) + ["null"]
    if option.has_default and option.default not in (None, "", [], {}):
        schema["default"] = option.default
    return schema
