"""The JSON Schema matches the loader, and loading imports little."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from deployer.playbook import json_schema
from deployer.playbook.schema.keys import PlayModel, RouteModel
from deployer.playbook.schema.modules import MODULES


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        if "$ref" in schema:
            yield schema["$ref"]
        for each in schema.values():
            yield from _references(each)
    elif isinstance(schema, list):
        for each in schema:
            yield from _references(each)


def test_schema_is_complete() -> None:
    schema = json_schema()
    json.dumps(schema)
    names = {each.removeprefix("#/$defs/") for each in _references(schema)}
    assert names == set(schema["$defs"])
    assert set(schema["items"]["properties"]) == set(PlayModel.fields())
    route = schema["$defs"]["RouteModel"]
    assert set(route["properties"]) == set(RouteModel.fields())
    assert route["required"] == ["path"]
    assert route["additionalProperties"] is False
    assert all("description" in each for each in route["properties"].values())
    task = schema["$defs"]["Task"]["properties"]
    assert {*MODULES, *(f"ansible.builtin.{name}" for name in MODULES)} <= set(task)


def test_rendered_values_may_be_templates() -> None:
    route = json_schema()["$defs"]["RouteModel"]["properties"]
    pattern = route["strip_prefix"]["anyOf"][1]["pattern"]
    assert route["strip_prefix"]["anyOf"][0] == {"type": "boolean"}
    assert re.search(pattern, "{{ strip }}")


def test_light_imports() -> None:
    """`pydantic`'s classes would cost every command more than an SSH handshake."""
    code = (
        "import sys; import deployer.playbook as p; before = set(sys.modules);"
        "assert not {'yaml', 'jinja2', 'pydantic_core'} & before, before;"
        "import deployer.playbook.load, deployer.playbook.render.host;"
        "assert not {'pydantic', 'asyncio', 'logging', 'importlib.metadata'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
