"""The JSON Schema of a playbook, generated from the classes that validate it."""

from __future__ import annotations

import types
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from deployer.playbook.schema.keys import PlayModel, TaskKeywords
from deployer.playbook.schema.models import Before, Check, Strict, model_in
from deployer.playbook.schema.modules import MODULES
from deployer.playbook.schema.role_schema import role_rules

_TEMPLATE = {"type": "string", "pattern": r"\{\{|\{%", "description": "A Jinja2 template."}
_FREE = {"type": "string", "description": "The command line."}


def json_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12); values may also be strings with a ``{{ }}`` template."""
    writer = _Writer()
    play = writer.model(PlayModel, templates=False)
    properties = play["properties"]
    for key in ("tasks", "handlers"):
        properties[key] = {"type": "array", "items": {"$ref": "#/$defs/Task"}} | {
            "description": f"The play's {key}."
        }
    properties["roles"]["items"]["allOf"] = role_rules()
    writer.defs["Task"] = _task(writer)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A playbook of deployer",
        "description": "A list of plays.",
        "type": "array",
        "minItems": 1,
        "items": play,
        "$defs": writer.defs,
    }


def _task(writer: _Writer) -> dict[str, Any]:
    task = writer.model(TaskKeywords)
    task["description"] = "A task or handler: one module, and keywords."
    tasks = {"type": "array", "items": {"$ref": "#/$defs/Task"}}
    task["properties"]["block"] = tasks | {"description": "Tasks that share keywords."}
    task["properties"]["environment"] = {"type": "object", "description": "Requires command."}
    for name in ("import_tasks", "include_tasks"):
        task["properties"][name] = {"type": "string", "description": "A file with more tasks."}
    for name, model in MODULES.items():
        reference = writer.reference(model, synonyms=dict(model.synonyms))
        value = {"anyOf": [reference, _FREE]} if name == "command" else reference
        task["properties"][name] = value
        task["properties"][f"ansible.builtin.{name}"] = value
    return task


class _Writer:
    def __init__(self) -> None:
        self.defs: dict[str, Any] = {}

    def reference(self, model: type[Strict], synonyms: dict[str, str]) -> dict[str, Any]:
        name = model.__name__
        if name not in self.defs:
            self.defs[name] = {}
            self.defs[name] = self.model(model, synonyms)
        return {"$ref": f"#/$defs/{name}"}

    def model(
        self,
        model: type[Strict],
        synonyms: dict[str, str] | None = None,
        *,
        templates: bool = True,
    ) -> dict[str, Any]:
        properties: dict[str, Any] = {}
        for name, each in model.fields().items():
            schema = self.type(each.annotation)
            if each.description:
                schema = {**schema, "description": each.description}
            if isinstance(each.default, (bool, str, int, float)):
                schema = {**schema, "default": each.default}
            properties[name] = _or_template(schema) if templates else schema
        for word, name in (synonyms or {}).items():
            properties[word] = properties[name]
        for word in model.key_aliases:
            properties[word] = {"type": "string"}
        schema = {
            "type": "object",
            "description": (model.__doc__ or "").split("\n")[0],
            "properties": properties,
            "additionalProperties": False,
        }
        words = {*(synonyms or {}).values()} | ({"role"} if model.key_aliases else set())
        required = [n for n, each in model.fields().items() if each.required and n not in words]
        return schema | ({"required": required} if required else {})

    def type(self, annotation: Any) -> dict[str, Any]:
        origin, args = get_origin(annotation), get_args(annotation)
        if origin is Annotated:
            for extra in args[1:]:
                if isinstance(extra, (Check, Before)) and extra.schema:
                    return dict(extra.schema)
            inner = self.type(args[0])
            # A mapping with a short form, such as a role's name.
            return {"anyOf": [{"type": "string"}, inner]} if model_in(args[0]) else inner
        if origin in (Union, types.UnionType):
            kinds = [self.type(each) for each in args if each is not type(None)]
            return kinds[0] if len(kinds) == 1 else {"anyOf": kinds}
        if origin is Literal:
            return {"enum": list(args)}
        if origin is list:
            return {"type": "array", "items": self.type(args[0])}
        if isinstance(annotation, type) and issubclass(annotation, Strict):
            return self.reference(annotation, {})
        names = {bool: "boolean", str: "string", float: "number", dict: "object"}
        name = names.get(origin or annotation)
        return {"type": name} if name else {}


def _or_template(schema: dict[str, Any]) -> dict[str, Any]:
    """`schema`, extended by a template unless it accepts any string already."""
    kinds = schema.get("type", [])
    takes_text = "string" in ([kinds] if isinstance(kinds, str) else kinds)
    takes_text |= any(each == {"type": "string"} for each in schema.get("anyOf", ()))
    if (takes_text and "pattern" not in schema) or not set(schema) - {"description"}:
        return schema
    outer: dict[str, Any] = {
        key: schema[key] for key in ("description", "default") if key in schema
    }
    inner = {key: value for key, value in schema.items() if key not in outer}
    return {**outer, "anyOf": [inner, _TEMPLATE]}
