"""The ready playbooks, and the first files of a new project."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from deployer.errors import UsageError
from deployer.playbook.builtin import playbooks_path

_INVENTORY = "inventory.example.yml"


def templates() -> Iterator[tuple[str, str]]:
    """The ready playbooks: name, and what its first comment says of it."""
    for path in sorted(playbooks_path().glob("*.yml")):
        if path.name != _INVENTORY:
            yield path.stem, _title(path)


def _title(path: Path) -> str:
    first = path.read_text(encoding="utf-8").partition("\n")[0]
    return first.removeprefix("#").strip()


def write(template: str, folder: Path) -> list[Path]:
    """Write ``site.yml``, ``inventory.yml`` and what else the template has into `folder`.

    The paths that were written are returned.

    Raises:
        UsageError: there is no such template, or one of the files is there already.
    """
    names = dict(templates())
    if template not in names:
        from difflib import get_close_matches

        near = get_close_matches(template, names, n=1)
        meant = f"Did you mean {near[0]}? " if near else ""
        raise UsageError(
            f"There is no ready playbook {template!r}.",
            hint=f"{meant}There are: {', '.join(names)}.",
        )
    texts = {
        folder / "site.yml": playbooks_path() / f"{template}.yml",
        folder / "inventory.yml": playbooks_path() / _INVENTORY,
    }
    more = playbooks_path() / template
    texts |= {folder / path.relative_to(more): path for path in more.rglob("*") if path.is_file()}
    there = [str(path) for path in texts if path.exists()]
    if there:
        raise UsageError(
            f"{' and '.join(there)} {'exist' if len(there) > 1 else 'exists'} already; "
            "nothing was written.",
            hint=f"Work in an empty folder, or move {'them' if len(there) > 1 else 'it'} away.",
        )
    for path, source in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source.read_text(encoding="utf-8"), encoding="utf-8")
    return list(texts)
