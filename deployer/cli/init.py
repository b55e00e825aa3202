"""``deployer init``: the first files of a project, from a ready playbook."""

from __future__ import annotations

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

    Returns: the paths of the written files.

    Raises:
        UsageError: the template is unknown, or one of the files exists.
    """
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
