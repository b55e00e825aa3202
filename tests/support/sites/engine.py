"""Templates of roles as the playbook engine renders them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from deployer.playbook.templates.loader import Includes
from deployer.playbook.templates.scope import Layer, Scope
from deployer.playbook.templates.templar import Templar
from deployer.playbook.yaml.source import SourceFile


@cache
def _templar() -> Templar:
    return Templar()


def render(role: Path, template: str, variables: Mapping[str, Any]) -> str:
    """A template of `role` with `variables`."""
    path = role / "templates" / template
    scope = Scope((Layer(variables, raw=True),), templar=_templar())
    includes = Includes((path.parent,), (role,))
    return _templar().file(path, includes, scope, SourceFile(str(path)).spot((1, 1)))
