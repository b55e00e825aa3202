"""``deployer init``: the first files of a project, from a ready playbook."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import click

from deployer.cli.command import Command, option
from deployer.errors import EXIT_DONE, UsageError

_INVENTORY = "inventory.example.yml"


def _names(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    """For shell completion: the ready playbooks whose name starts with `incomplete`."""
    return [name for name, _ in templates() if name.startswith(incomplete)]


@click.command(
    cls=Command,
    examples=(
        ("Start with the access report of GoAccess", "deployer init goaccess"),
        ("List the ready playbooks", "deployer init --list"),
    ),
)
@click.argument("template", default="goaccess", shell_complete=_names)
@option("--list", "list_templates", group="Options", is_flag=True, help="List the ready playbooks.")
def init(template: str, *, list_templates: bool) -> int:
    """Write site.yml and inventory.yml from a ready playbook.

    TEMPLATE is the name of a ready playbook; default: goaccess. Existing files are never
    overwritten.
    """
    if list_templates:
        for name, title in templates():
            click.echo(f"{name:<16}  {title}")
        return EXIT_DONE
    for path in write(template, Path()):
        click.echo(f"wrote {path}")
    click.echo("Edit both, then: deployer check site.yml && deployer plan site.yml")
    return EXIT_DONE


def templates() -> Iterator[tuple[str, str]]:
    """The ready playbooks: the name of each, and the title in its first comment."""
    from deployer.playbook.builtin import playbooks_path

    for path in sorted(playbooks_path().glob("*.yml")):
        if path.name != _INVENTORY:
            yield path.stem, _title(path)


def _title(path: Path) -> str:
    first = path.read_text(encoding="utf-8").partition("\n")[0]
    return first.removeprefix("#").strip()


def write(template: str, folder: Path) -> list[Path]:
    """Write ``site.yml``, ``inventory.yml`` and the template's other files into `folder`.

    All of them are written, or none.

    Returns: the paths of the written files.

    Raises:
        UsageError: the template is unknown, one of the files exists, or one cannot be written.
    """
    contents = _contents(template, folder)
    there = [str(path) for path in contents if os.path.lexists(path)]
    if there:
        raise UsageError(
            f"{' and '.join(there)} {'exist' if len(there) > 1 else 'exists'} already; "
            "nothing was written.",
            hint=f"Work in an empty folder, or move {'them' if len(there) > 1 else 'it'} away.",
        )
    made: list[Path] = []
    try:
        for path, content in contents.items():
            _make_folders(path.parent, made)
            with path.open("xb") as file:  # what appeared in the meantime is not overwritten
                made.append(path)
                file.write(content)
    except OSError as error:
        _remove(made)
        raise UsageError(
            f"cannot write {error.filename or path}: {error.strerror}; nothing was written."
        ) from error
    except BaseException:
        _remove(made)
        raise
    return list(contents)


def _contents(template: str, folder: Path) -> dict[Path, bytes]:
    """The files to write, with their contents; caches next to the template's are left out."""
    from deployer.playbook.builtin import playbooks_path

    names = dict(templates())
    if template not in names:
        from difflib import get_close_matches

        near = get_close_matches(template, names, n=1)
        meant = f"Did you mean {near[0]}? " if near else ""
        raise UsageError(
            f"There is no ready playbook {template!r}.",
            hint=f"{meant}Ready playbooks: {', '.join(names)}.",
        )
    sources = {
        folder / "site.yml": playbooks_path() / f"{template}.yml",
        folder / "inventory.yml": playbooks_path() / _INVENTORY,
    }
    more = playbooks_path() / template
    for path in sorted(more.rglob("*")):
        # An installation compiles the template's Python files, too.
        name = path.relative_to(more)
        if path.is_file() and "__pycache__" not in name.parts and name.suffix != ".pyc":
            sources[folder / name] = path
    return {path: source.read_bytes() for path, source in sources.items()}


def _make_folders(folder: Path, made: list[Path]) -> None:
    """Create `folder` and those above it that are missing, and add each to `made`."""
    if not folder.is_dir():
        _make_folders(folder.parent, made)
        folder.mkdir()
        made.append(folder)


def _remove(made: list[Path]) -> None:
    """Remove what was written, the last first; a folder that is in use by now stays."""
    for path in reversed(made):
        with contextlib.suppress(OSError):
            path.rmdir() if path.is_dir() else path.unlink()
