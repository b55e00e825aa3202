"""``deployer init``: the first files of a project, from a ready playbook."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import click

from deployer.cli.command import Command, option
from deployer.errors import EXIT_DONE, UsageError

_INVENTORY = "inventory.example.yml"

#: The groups of ready playbooks, as they are listed. The second line of a playbook has its own.
GROUPS = (
    "Your own service",
    "Chat and collaboration",
    "Notebooks and dashboards",
    "Automation and IoT",
    "Remote desktops and administration",
    "Frameworks",
)


@dataclass(frozen=True, slots=True)
class ReadyPlaybook:
    """A ready playbook: its name, and the title and the group in its first two lines."""

    name: str
    title: str
    group: str


def _names(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    """For shell completion: the ready playbooks whose name starts with `incomplete`."""
    return [ready.name for ready in templates() if ready.name.startswith(incomplete)]


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
        click.echo("\n\n".join("\n".join(lines) for lines in _listed(templates())))
        return EXIT_DONE
    for path in write(template, Path()):
        click.echo(f"wrote {path}")
    click.echo("Edit both, then: deployer check site.yml && deployer plan site.yml")
    return EXIT_DONE


def templates() -> list[ReadyPlaybook]:
    """The ready playbooks, by group and name."""
    from deployer.playbook.builtin import playbooks_path

    found = [_ready(path) for path in playbooks_path().glob("*.yml") if path.name != _INVENTORY]
    return sorted(found, key=lambda ready: (GROUPS.index(ready.group), ready.name))


def _ready(path: Path) -> ReadyPlaybook:
    with path.open(encoding="utf-8") as file:
        title, group = (next(file).removeprefix("#").strip() for _ in range(2))
    return ReadyPlaybook(name=path.stem, title=title, group=group.removeprefix("Group: "))


def _listed(ready: Iterable[ReadyPlaybook]) -> Iterator[list[str]]:
    """The lines of each group."""
    for group, members in groupby(ready, key=lambda each: each.group):
        yield [group, *(f"  {each.name:<16}  {each.title}" for each in members)]


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

    names = sorted(ready.name for ready in templates())
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
