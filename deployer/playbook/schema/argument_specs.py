"""A role's argument specification: ``meta/argument_specs.yml``, in Ansible's form.

Source: "Role argument validation" in Ansible's playbook guide. A role without one is not checked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from deployer.errors import SourceErrors
from deployer.model import Value
from deployer.playbook.schema.argument_types import TYPES
from deployer.playbook.schema.formats import Format, format_in, without_format
from deployer.playbook.yaml.source import Problems, Spot, YamlList, YamlMap, nearest, spot_of

#: Rules about several suboptions, in Ansible's words.
RULES = (
    "mutually_exclusive",
    "required_together",
    "required_one_of",
    "required_if",
    "required_by",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One variable of a role, or one key of it.

    `options` are the keys of a mapping, or of the mappings in a list; `None` allows any key.
    `rules` are about the combination of these keys.
    """

    name: str
    type: str = "str"
    elements: str = ""
    choices: tuple[Value, ...] | None = None
    required: bool = False
    has_default: bool = False
    default: Value = None
    description: str = ""
    format: Format | None = None
    no_log: bool = False
    aliases: tuple[str, ...] = ()
    options: Mapping[str, Option] | None = None
    rules: Mapping[str, Value] = field(default_factory=dict)


Options = Mapping[str, Option]


def options_in(document: object, spot: Spot) -> Options | None:
    """The options of the entry point ``main`` in a document with ``argument_specs``.

    Raises:
        SourceErrors: all errors in the specification.
    """
    specs = document.get("argument_specs") if isinstance(document, YamlMap) else None
    if specs is None:
        return None
    main = specs.get("main") if isinstance(specs, YamlMap) else None
    if not isinstance(specs, YamlMap) or not (main is None or isinstance(main, YamlMap)):
        raise SourceErrors([spot.error("argument_specs must be a mapping of entry points")])
    if main is None or main.get("options") is None:
        return None
    problems = Problems()
    found = _options(main, problems)
    problems.raise_if_any()
    return found


def _options(node: YamlMap, problems: Problems) -> dict[str, Option]:
    options = node["options"]
    if not isinstance(options, YamlMap):
        problems.add(spot_of(node, "options").error("options must be a mapping"))
        return {}
    found = {}
    for name, each in options.items():
        if isinstance(each, YamlMap):
            found[str(name)] = _option(str(name), each, problems)
        else:
            problems.add(spot_of(options, name).error(f"the option '{name}' must be a mapping"))
    return found


def _option(name: str, node: YamlMap, problems: Problems) -> Option:
    types = {key: _type(node, key, problems) for key in ("type", "elements")}
    choices = node.get("choices")
    if choices is not None and not isinstance(choices, YamlList):
        problems.add(spot_of(node, "choices").error("choices must be a list"))
        choices = None
    required = node.get("required") is True
    if required and node.get("default") is not None:
        problems.add(spot_of(node, "default").error("a required option has no default"))
    kind = types["type"] or "str"
    holds_mappings = kind == "dict" or types["elements"] == "dict"
    has_options = holds_mappings and node.get("options") is not None
    aliases = node.get("aliases")
    return Option(
        name=name,
        type=kind,
        elements=types["elements"],
        choices=None if choices is None else tuple(choices),
        required=required,
        has_default="default" in node,
        default=node.get("default"),
        description=without_format(node.get("description")),
        format=format_in(node.get("description")),
        no_log=node.get("no_log") is True,
        aliases=tuple(map(str, aliases)) if isinstance(aliases, list) else (),
        options=_options(node, problems) if has_options else None,
        rules={key: node[key] for key in RULES if isinstance(node.get(key), (list, dict))},
    )


def _type(node: YamlMap, key: str, problems: Problems) -> str:
    value = node.get(key)
    if value is None:
        return ""
    if value not in TYPES:
        hint = nearest(str(value), TYPES) or f"types: {', '.join(TYPES)}"
        problems.add(spot_of(node, key).error(f"'{value}' is not a type", hint=hint))
        return ""
    return str(value)
