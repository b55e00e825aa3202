"""Questions about files whose names come from users, and may be no valid names at all."""

from __future__ import annotations

from pathlib import Path


def exists(path: Path) -> bool:
    """Whether a file or folder exists and can be reached."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def is_file(path: Path) -> bool:
    """Whether it is a file, or a link to one."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def is_folder(path: Path) -> bool:
    """Whether it is a folder, or a link to one."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False
