"""Rendering without a playbook."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from deployer.playbook.templates.scope import Layer, Scope
from deployer.playbook.templates.templar import Templar
from deployer.playbook.yaml.source import SourceFile


class Renderer:
    """Renders values that stand on line 1 of ``f.yml``."""

    def __init__(self) -> None:
        self.templar = Templar()

    def __call__(self, text: Any, variables: Mapping[str, Any] | None = None) -> Any:
        scope = Scope((Layer(variables or {}, raw=True),), templar=self.templar)
        shown = text if isinstance(text, str) else ""
        return self.templar.render(text, scope, SourceFile("f.yml", (shown,)).spot((1, 1)))


@pytest.fixture
def rendered() -> Renderer:
    return Renderer()
