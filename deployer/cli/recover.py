"""``deployer recover``: finish what an interrupted run left on a host."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from deployer.cli import options
from deployer.cli.command import Command, option
from deployer.errors import UsageError


@click.command(
    cls=Command,
    examples=(
        ("Roll back what an interrupted run left", "deployer recover site.yml --limit web1"),
        (
            "Give up a commit that cannot be rolled back",
            "deployer recover site.yml --limit web1 --abandon",
        ),
    ),
)
@options.playbook
@option(
    "--abandon",
    group=options.COMMIT,
    is_flag=True,
    help="Give up a commit that could not be rolled back, and leave the host as it is now.",
)
@options.yes("Abandon without asking.")
@options.lock_timeout
@options.selection
@options.connection
@options.as_json
def recover(playbook: Path, *, abandon: bool, yes: bool, **given: Any) -> int:
    """Roll back what an interrupted run left on a host."""
    from deployer.cli.session import abandonment, ended, session_of

    if yes and not abandon:
        raise UsageError("--yes requires --abandon; nothing else asks for confirmation")
    with session_of("recover", playbook, **given) as session:
        if not abandon:
            return ended(session, session.fleet.recover())
        run = session.fleet.abandon(abandonment(session, yes=yes))
        return ended(session, run, quiet_states=("planned",))
