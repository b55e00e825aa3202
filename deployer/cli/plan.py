"""``deployer plan``: what an apply would change."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import click

from deployer.cli import options
from deployer.cli.command import Command, option


@click.command(
    cls=Command,
    examples=(
        ("Show what an apply would change on one host", "deployer plan site.yml --limit web1"),
        ("Seal a plan into a file, to apply it later", "deployer plan site.yml --out web.plan"),
    ),
)
@options.playbook
@options.selection
@options.tags
@options.prune
@options.lists
@options.connection
@options.install_python
@options.no_staging_first
@options.no_neighbours
@options.displace
@options.diff
@option(
    "--detailed-exitcode",
    group=options.OUTPUT,
    is_flag=True,
    help="Exit with 2 if there are changes.",
)
@options.out
@options.output
@options.reports
def plan(playbook: Path, **given: Any) -> int:
    """Show what an apply would change, as a diff, and change nothing.

    With --out, the plan is also sealed into a file, to be approved by someone else or applied
    later: `deployer apply FILE` applies exactly that plan, or nothing if a host has changed since.
    """

    if asked := options.requested_lists(given):
        from deployer.cli.lists import show_lists

        return show_lists(asked, "plan", playbook, **given)
    return run_plan(playbook, **given)


def run_plan(
    playbook: Path,
    *,
    diff: bool,
    out: Path | None,
    detailed_exitcode: bool = False,
    **given: Any,
) -> int:
    """Plan every host, show the plans, and seal them into `out`; the exit code."""
    from deployer.cli.session import ended, session_of

    if out is not None:
        from deployer.run.sealed.file import check_writable

        check_writable(out)
    with session_of("plan", playbook, **given) as session:
        run = dataclasses.replace(session.fleet.plan(), tells_changes=detailed_exitcode)
        session.report.plans(run.hosts, with_diff=diff)
        if out is None:
            return ended(session, run, quiet_states=("planned",))
        from deployer.cli.sealed_plans import sealed_run, written_words

        run = sealed_run(session, run, playbook=playbook, out=out)
        code = session.end(run, ("planned",))
        session.report.note(written_words(run))
        return code
