"""How a command that connects to hosts begins and ends: session, approval, exit code."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deployer.errors import DeployerError, UsageError

if TYPE_CHECKING:
    from deployer.commit.outcome import HostReport, RunReport
    from deployer.run.session import Session


def session_of(command: str, playbook: Path, **given: Any) -> Session:
    """The session of a command; `given` are the fields of `SessionOptions`.

    Raises:
        DeployerError: the session cannot begin; the requested reports contain the error.
    """
    from deployer.run.options import SessionOptions
    from deployer.run.session import Session

    options = SessionOptions(**given)
    try:
        options.check()
        return Session(command, playbook, options)
    except DeployerError as error:
        _report_error(command, error, html=options.html, junit=options.junit)
        raise


def _report_error(
    command: str, error: DeployerError, *, html: Path | None, junit: Path | None
) -> None:
    """Write the requested reports even if no host was contacted."""
    from datetime import datetime

    from deployer.report.document import error_document
    from deployer.report.files import ReportFiles

    document = error_document(command, exit_code=error.exit_code, message=str(error))
    with contextlib.suppress(UsageError):
        ReportFiles(html=html, junit=junit).write(document, at=datetime.now().astimezone())


def approval(
    session: Session, *, with_diff: bool, yes: bool, dry_run: bool = False
) -> Callable[..., bool]:
    """Show the plans, and ask, unless the answer is known: `yes`, or no in a `dry_run`."""

    def approve(reports: Sequence[HostReport]) -> bool:
        session.report.plans(reports, with_diff=with_diff)
        if dry_run:
            return False
        return yes or _is_approved(reports, "Apply these changes to {hosts}?")

    return approve


def abandonment(session: Session, *, yes: bool) -> Callable[..., bool]:
    """Show the commits that can be given up, and ask, unless the answer is `yes`."""

    def approve(reports: Sequence[HostReport]) -> bool:
        session.report.found(reports)
        return yes or _is_approved(reports, "Leave {hosts} as it is now, and give up the commit?")

    return approve


def _is_approved(reports: Sequence[HostReport], question: str) -> bool:
    hosts = [report.host for report in reports if report.state == "planned"]
    if not sys.stdin.isatty():
        raise UsageError(
            "Approval needs a terminal to ask on; nothing was changed.",
            hint="Give --yes to proceed without asking.",
        )
    names = hosts[0] if len(hosts) == 1 else f"{len(hosts)} hosts"
    if click.confirm(question.format(hosts=names), err=True):
        return True
    click.echo("Not approved: nothing was changed.", err=True)
    return False


def ended(session: Session, run: RunReport, quiet_states: Sequence[str] = ()) -> int:
    """Report how each host ended; the exit code."""
    return session.end(run, quiet_states)
