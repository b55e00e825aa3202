"""A hook of MkDocs: `folder/*` in the navigation means all pages of a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def on_config(config: Any) -> Any:
    """Replace each pattern in the navigation by the pages that match, except the folder's index."""
    config.nav = _expanded(config.nav, Path(config.docs_dir))
    return config


def _expanded(entries: list[Any], docs: Path) -> list[Any]:
    found: list[Any] = []
    for entry in entries:
        if isinstance(entry, str) and "*" in entry:
            pages = sorted(path for path in docs.glob(entry) if path.name != "README.md")
            found += [str(path.relative_to(docs)) for path in pages]
        elif isinstance(entry, dict):
            ((title, value),) = entry.items()
            found.append({title: _expanded(value, docs) if isinstance(value, list) else value})
        else:
            found.append(entry)
    return found
