"""``deployer reload``: a reload that handshakes confirm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from deployer.cli import options
from deployer.cli.command import Command


@click.command(
    cls=Command,
    examples=(
        ("Reload the proxies of one group", "deployer reload site.yml --limit web"),
        ("Reload without a question", "deployer reload site.yml --yes"),
    ),
)
@options.playbook
@options.check_mode
@options.yes("Reload without asking.")
@options.commit
@options.selection
@options.connection
@options.output
@options.reports
def reload(playbook: Path, *, yes: bool, dry_run: bool, **given: Any) -> int:
    """Test the proxy's configuration, reload it, and verify."""
    from deployer.cli.session import approval, ended, session_of

    with session_of("reload", playbook, **given) as session:
        approve = approval(session, with_diff=True, yes=yes, dry_run=dry_run)
        return ended(session, session.fleet.reload(approve), quiet_states=("planned",))
