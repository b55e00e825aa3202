"""Where the built-in roles and ready playbooks lie: in a checkout, or in an installed package."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parent


def _folder(name: str) -> Path:
    installed = _PACKAGE / name
    return installed if installed.is_dir() else _PACKAGE.parent / name


def roles_path() -> Path:
    """The folder of the built-in roles."""
    return _folder("roles")


def playbooks_path() -> Path:
    """The folder of the ready playbooks that ``deployer init`` copies from."""
    return _folder("playbooks")
