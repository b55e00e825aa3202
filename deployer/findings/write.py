"""Generate docs/findings/: ``python -m deployer.findings.write FOLDER``."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from deployer.findings.entries import catalogue
from deployer.findings.page import index, page


def pages() -> Mapping[str, str]:
    """Every page by its file name."""
    made = catalogue()
    return {
        "README.md": index(made),
        **{f"{code}.md": page(entry) for code, entry in made.entries.items()},
    }


def write(folder: Path) -> None:
    """Write all pages into `folder`, and delete those of codes that no longer exist."""
    folder.mkdir(parents=True, exist_ok=True)
    made = pages()
    for path in folder.glob("*.md"):
        if path.name not in made:
            path.unlink()
    for name, text in made.items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
