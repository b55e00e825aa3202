"""``deployer check``: what can be found wrong without a host."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from deployer.cli import options
from deployer.cli.command import Command, option
from deployer.cli.release import ReleaseName
from deployer.errors import (
    EXIT_DONE,
    UsageError,
)

_RENDERING = "Rendered files"


@click.command(
    cls=Command,
    examples=(
        ("Check a project", "deployer check site.yml"),
        (
            "Write the files that hosts would get",
            "deployer check site.yml --render out --release ubuntu-24.04",
        ),
    ),
)
@click.argument("playbook", metavar="[SITE.yml]", required=False, type=click.Path(path_type=Path))
@options.selection
@options.tags
@options.lists
@option(
    "--render",
    "folder",
    group=_RENDERING,
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Write the files that hosts would get into DIR/HOST/, without secrets.",
)
@option(
    "--release",
    "--debian",
    "release",
    group=_RENDERING,
    type=ReleaseName(),
    default="debian-12",
    show_default=True,
    metavar="RELEASE",
    help="Assume that hosts run this release, such as ubuntu-24.04 or raspberry-pi-os-12.",
)
@option(
    "--schema",
    group="Reference",
    is_flag=True,
    help="Print the JSON Schema of playbooks, for editors.",
)
@option(
    "--explain", group="Reference", metavar="CODE", help="Explain a code of the check, and its fix."
)
@options.as_json
def check(playbook: Path | None, *, schema: bool, explain: str | None, **given: Any) -> int:
    """Check a project for errors without contacting any host.

    Likely mistakes are reported as warnings, with the line and the reason.
    """
    if schema:
        import json

        from deployer.playbook import json_schema

        click.echo(json.dumps(json_schema(), indent=2, ensure_ascii=False))
        return EXIT_DONE
    if explain is not None:
        from deployer.sites.lint.explain import explanation

        click.echo(explanation(explain))
        return EXIT_DONE
    if playbook is None:
        raise UsageError("Missing argument 'SITE.yml'.", hint="See `deployer check --help`.")

    if asked := options.requested_lists(given):
        from deployer.cli.lists import show_lists

        return show_lists(asked, "check", playbook, **given)
    from deployer.cli.project_check import run_check

    return run_check(playbook, **given)
