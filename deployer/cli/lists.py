"""``--list-hosts``, ``--list-tags`` and ``--syntax-check``: answers from the playbook alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deployer.errors import EXIT_DONE

if TYPE_CHECKING:
    from deployer.cli.options import RequestedLists
    from deployer.run.listing import PlayListing

#: The options that these lists depend on.
_PROJECT = ("inventories", "limit", "extra_vars", "tags", "skip_tags")


def show_lists(
    asked: RequestedLists, command: str, playbook: Path, *, as_json: bool, **given: Any
) -> int:
    """Print the lists, as ansible-playbook does; the exit code.

    Raises:
        UsageError: all that is wrong with the project.
    """
    project = {key: given[key] for key in _PROJECT}
    if "syntax" in asked:
        from deployer.cli.project_check import run_check
        from deployer.sites.releases import DEFAULT_RELEASE

        return run_check(
            playbook,
            folder=None,
            release=given.get("release", DEFAULT_RELEASE),
            as_json=as_json,
            is_syntax_only=True,
            **project,
        )
    from deployer.run.listing import listings
    from deployer.run.options import SessionOptions
    from deployer.run.project import load_project

    plays = listings(load_project(playbook, SessionOptions(**project)), with_tags="tags" in asked)
    if as_json:
        click.echo(_json(command, plays))
    else:
        click.echo("\n".join(_lines(asked, playbook, plays)))
    return EXIT_DONE


def _lines(asked: RequestedLists, playbook: Path, plays: list[PlayListing]) -> Iterator[str]:
    yield f"playbook: {playbook}"
    for number, play in enumerate(plays, 1):
        yield ""
        yield f"  play #{number} ({play.pattern}): {play.name}"
        if "hosts" in asked:
            yield f"    hosts ({len(play.hosts)}):"
            yield from (f"      {name}" for name in play.hosts)
        if "tags" in asked:
            yield f"    tags ({len(play.tags)}):"
            yield from (f"      {tag}" for tag in play.tags)


def _json(command: str, plays: list[PlayListing]) -> str:
    from dataclasses import asdict

    from deployer.report.document import as_json

    return as_json(
        {
            "format_version": 1,
            "command": command,
            "exit_code": EXIT_DONE,
            "hosts": {},
            "findings": [],
            "plays": [asdict(play) for play in plays],
        }
    )
