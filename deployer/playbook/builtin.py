"""The folders of the built-in roles and ready playbooks, inside the package."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parents[1]


def roles_path() -> Path:
    """The folder of the built-in roles."""
    return _PACKAGE / "roles"


def playbooks_path() -> Path:
    """The folder of the ready playbooks that ``deployer init`` copies from."""
    return _PACKAGE / "playbooks"
