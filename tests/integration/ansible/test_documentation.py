"""Every variable and setting that ansible-core documents is honoured, refused, or has a reason."""

from __future__ import annotations

import json
import subprocess

import pytest

from deployer.errors import SourceError
from deployer.playbook.ansible_cfg import known, settings
from deployer.playbook.inventory.variables import NO_EFFECT, check_name
from deployer.playbook.schema.keys import PlayModel, RoleEntry, TaskKeywords
from deployer.playbook.yaml.source import SourceFile
from deployer.text.connection import HONOURED
from tests.support.ansible import ANSIBLE_PYTHON

#: Runs in Ansible's own environment: the documentation of its settings and plugins.
_PROGRAM = """
import ast, glob, json, os, re
import ansible, yaml

base = os.path.dirname(ansible.__file__)
entries = list(yaml.safe_load(open(base + "/config/base.yml")).values())
for path in glob.glob(base + "/plugins/*/*.py"):
    if path.split("/")[-2] in ("filter", "test", "lookup", "modules", "strategy"):
        continue
    for node in ast.walk(ast.parse(open(path).read())):
        if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Constant):
            continue
        if getattr(node.targets[0], "id", "") not in ("DOCUMENTATION", "DOCUMENTATION_OPTIONS"):
            continue
        document = yaml.safe_load(node.value.value)
        entries += (document.get("options") or {}).values()
names = {"ini": set(), "vars": set(), "env": {}}
for entry in entries:
    if not isinstance(entry, dict):
        continue
    names["ini"] |= {(each["section"], each["key"]) for each in entry.get("ini") or []}
    names["vars"] |= {each["name"] for each in entry.get("vars") or []}
print(json.dumps({"ini": sorted(names["ini"]), "vars": sorted(names["vars"])}))
"""

#: Names that are no settings of a connection.
_INTERNAL = ("_", "delegated_vars[", "inventory_hostname")


@pytest.fixture(scope="module")
def documented() -> dict[str, list[object]]:
    run = subprocess.run(
        [ANSIBLE_PYTHON, "-c", _PROGRAM], capture_output=True, text=True, check=True, timeout=120
    )
    found: dict[str, list[object]] = json.loads(run.stdout)
    return found


def test_every_setting_is_known(documented: dict[str, list[object]]) -> None:
    tables = (settings.HONOURED, known.REFUSED, known.NO_EFFECT)
    names = [(str(each[0]), str(each[1])) for each in documented["ini"] if isinstance(each, list)]
    assert len(names) > 200
    unknown = [
        name
        for name in names
        if not any(name in table for table in tables) and name[0] not in known.SECTIONS
    ]
    assert unknown == []


def test_every_connection_variable_is_known(documented: dict[str, list[object]]) -> None:
    spot = SourceFile("inventory").spot((1, 1))
    names = [str(each) for each in documented["vars"] if not str(each).startswith(_INTERNAL)]
    assert len(names) > 100
    unknown = []
    for name in names:
        if name in HONOURED or name in NO_EFFECT:
            continue
        try:
            check_name(name, "any value", spot)
        except SourceError:
            continue
        unknown.append(name)
    assert unknown == []


_KEYWORDS = """
import json
from ansible.playbook import block, handler, play, task
from ansible.playbook.role.include import RoleInclude

kinds = {"play": play.Play, "task": task.Task, "block": block.Block, "role": RoleInclude}
print(json.dumps({name: sorted(kind.fattributes) for name, kind in kinds.items()}))
"""
#: Names of attributes that are no keywords, and what is a module or the block itself.
_NO_KEYWORDS = {"async_val", "loop_with", "block"}


def test_every_keyword_is_honoured_or_refused_with_a_reason() -> None:
    run = subprocess.run(
        [ANSIBLE_PYTHON, "-c", _KEYWORDS], capture_output=True, text=True, check=True, timeout=120
    )
    models = {"play": PlayModel, "task": TaskKeywords, "block": TaskKeywords, "role": RoleEntry}
    for kind, names in json.loads(run.stdout).items():
        model = models[kind]
        known = {*model.fields(), *model.refused, *model.key_aliases, *_NO_KEYWORDS}
        assert not {name for name in names if not name.startswith("_")} - known, kind
