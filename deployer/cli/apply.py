"""``deployer apply``: a playbook or a sealed plan, as a commit that handshakes confirm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from deployer.cli import options
from deployer.cli.command import Command
from deployer.errors import UsageError


@click.command(
    cls=Command,
    examples=(
        ("Apply to one host first", "deployer apply site.yml --limit web1"),
        ("Apply from CI, without a question", "deployer apply site.yml --yes --junit checks.xml"),
    ),
)
@click.argument("playbook", metavar="SITE.yml|FILE", type=click.Path(path_type=Path))
@options.selection
@options.tags
@options.prune
@options.check_mode
@options.yes("Apply without asking.")
@options.confirm_timeout
@options.commit
@options.displace
@options.no_staging_first
@options.lists
@options.connection
@options.install_python
@options.diff
@options.out
@options.output
@options.reports
def apply(
    playbook: Path, *, diff: bool, yes: bool, dry_run: bool, out: Path | None, **given: Any
) -> int:
    """Plan, ask, apply, verify with real handshakes, then confirm or roll back.

    FILE is a sealed plan, written by `deployer plan --out FILE`. Exactly that plan is applied,
    without playbook and inventory; if any host has changed since, nothing is applied anywhere.
    """
    from deployer.run.sealed.signature import is_sealed_file

    if asked := options.requested_lists(given):
        from deployer.cli.lists import show_lists

        return show_lists(asked, "apply", playbook, **given)
    if is_sealed_file(playbook):
        from deployer.cli.sealed_plans import apply_sealed

        return apply_sealed(playbook, diff=diff, yes=yes, dry_run=dry_run, out=out, **given)
    if dry_run:
        from deployer.cli.plan import run_plan

        return run_plan(playbook, diff=diff, out=out, **given)
    if out is not None:
        raise UsageError(
            "--out writes a plan, but apply carries one out; no host was touched",
            hint="Add --check, or run `deployer plan SITE.yml --out FILE`.",
        )
    from deployer.cli.session import approval, ended, session_of

    with session_of("apply", playbook, **given) as session:
        approve = approval(session, with_diff=diff, yes=yes)
        return ended(session, session.fleet.apply(approve), quiet_states=("planned",))
