"""``deployer drain``: one upstream out of rotation, or back in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from deployer.cli import options
from deployer.cli.command import Command, option


@click.command(
    cls=Command,
    examples=(
        (
            "Give an upstream no new connections",
            "deployer drain site.yml http://10.0.0.2:3000",
        ),
        (
            "Return it, on the hosts of one group",
            "deployer drain site.yml http://10.0.0.2:3000 --end --limit web",
        ),
    ),
)
@options.playbook
@click.argument("upstream", metavar="UPSTREAM")
@option(
    "--end",
    "ends",
    group=options.COMMIT,
    is_flag=True,
    help="Return the upstream: it gets new connections again.",
)
@options.check_mode
@options.yes("Change the hosts without asking.")
@options.confirm_timeout
@options.commit
@options.selection
@options.connection
@options.diff
@options.output
@options.reports
def drain(
    playbook: Path,
    *,
    upstream: str,
    ends: bool,
    diff: bool,
    yes: bool,
    dry_run: bool,
    **given: Any,
) -> int:
    """Take an upstream out of rotation; its open WebSockets stay."""
    from deployer.cli.session import approval, ended, session_of
    from deployer.sites.drains import Drain

    with session_of("drain", playbook, **given) as session:
        approve = approval(session, with_diff=diff, yes=yes, dry_run=dry_run)
        wanted = Drain(upstream=upstream, ends=ends)
        return ended(session, session.fleet.drain(wanted, approve), quiet_states=("planned",))
