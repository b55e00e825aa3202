"""``deployer history``: the generations of each host."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from deployer.cli import options
from deployer.cli.command import Command


@click.command(
    cls=Command,
    examples=(
        ("Show the generations of every host", "deployer history site.yml"),
        ("Show one host's, with each changed file", "deployer history site.yml --limit web1 -v"),
    ),
)
@options.playbook
@options.selection
@options.connection
@options.output
def history(playbook: Path, **given: Any) -> int:
    """Show what was applied on each host, newest first."""
    from deployer.cli.session import ended, session_of

    with session_of("history", playbook, **given) as session:
        run = session.fleet.history()
        session.report.history(run)
        return ended(session, run, quiet_states=("listed",))
