"""How a command with hosts begins and ends: its session, a person's yes, its reports."""

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
        DeployerError: the session cannot begin; the reports that were asked for say so.
    """
    from deployer.run.options import SessionOptions
    from deployer.run.session import Session

    options = SessionOptions(**given)
    try:
        return Session(command, playbook, options)
    except DeployerError as error:
        _report_error(command, error, html=options.html, junit=options.junit)
        raise


def _report_error(
    command: str, error: DeployerError, *, html: Path | None, junit: Path | None
) -> None:
    """The reports that were asked for say so, too, where no host was asked."""
    from datetime import datetime

    from deployer.report.document import error_document
    from deployer.report.files import ReportFiles

    document = error_document(command, exit_code=error.exit_code, message=str(error))
    with contextlib.suppress(UsageError):
        ReportFiles(html=html, junit=junit).write(document, at=datetime.now().astimezone())


def approval(session: Session, *, with_diff: bool, yes: bool) -> Callable[..., bool]:
    """Shows the plans, and asks unless the answer is `yes` already."""

    def approve(reports: Sequence[HostReport]) -> bool:
        session.report.plans(reports, with_diff=with_diff)
        if yes or _asked(reports):
            return True
        click.echo("Not approved: nothing was changed.", err=True)
        return False

    return approve


def abandonment(session: Session, *, yes: bool) -> Callable[..., bool]:
    def approve(reports: Sequence[HostReport]) -> bool:
        session.report.found(reports)
        if yes or _asked(reports, "Leave {hosts} as it is now, and give the commit up?"):
            return True
        click.echo("Not approved: nothing was changed.", err=True)
        return False

    return approve


def _asked(
    reports: Sequence[HostReport], question: str = "Apply these changes to {hosts}?"
) -> bool:
    hosts = [report.host for report in reports if report.state == "planned"]
    if not sys.stdin.isatty():
        raise UsageError(
            "Nobody is there to approve it; nothing was changed.",
            hint="Give --yes to go on without asking.",
        )
    names = hosts[0] if len(hosts) == 1 else f"{len(hosts)} hosts"
    return click.confirm(question.format(hosts=names), err=True)


def ended(session: Session, run: RunReport, quiet_states: Sequence[str] = ()) -> int:
    return session.end(run, quiet_states)
