"""``deployer rollback``: back to an earlier confirmed generation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from deployer.cli import options
from deployer.cli.command import Command, Integer, option


@click.command(
    cls=Command,
    examples=(
        ("Undo the last apply", "deployer rollback site.yml"),
        (
            "See what a rollback to generation 4 would change",
            "deployer rollback site.yml --to 4 --check",
        ),
    ),
)
@options.playbook
@option(
    "--to",
    group=options.COMMIT,
    metavar="N",
    type=Integer(0),
    help="Return to generation N of `deployer history`, or with 0 to the state before all of "
    "them; default: the one before the last.",
)
@options.check_mode
@options.yes("Roll back without asking.")
@options.confirm_timeout
@options.commit
@options.displace
@options.selection
@options.connection
@options.diff
@options.output
@options.reports
def rollback(
    playbook: Path, *, to: int | None, diff: bool, yes: bool, dry_run: bool, **given: Any
) -> int:
    """Return to an earlier confirmed generation: plan, ask, apply, verify."""
    from deployer.cli.session import approval, ended, session_of

    with session_of("rollback", playbook, **given) as session:
        approve = approval(session, with_diff=diff, yes=yes, dry_run=dry_run)
        return ended(session, session.fleet.rollback(to, approve), quiet_states=("planned",))
