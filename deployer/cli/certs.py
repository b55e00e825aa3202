"""``deployer certs``: the certificates of the sites, their renewal, and its schedule."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deployer.cli import options
from deployer.cli.command import Command, Group, Number, option
from deployer.errors import EXIT_DONE

if TYPE_CHECKING:
    from deployer.commit.outcome import RunReport
    from deployer.run.session import Session

_RENEWAL = "Certificates"


@click.group(
    cls=Group,
    examples=(
        ("See which certificates need attention", "deployer certs status site.yml"),
        ("Have every host renew its certificates", "deployer certs schedule site.yml"),
    ),
)
def certs() -> None:
    """Show certificates, renew them, or schedule renewal."""


@certs.command(
    cls=Command,
    examples=(
        ("Show every certificate", "deployer certs status site.yml"),
        (
            "Fail if one expires within two weeks, for monitoring",
            "deployer certs status site.yml --warn-days 14 --json",
        ),
    ),
)
@options.playbook
@option(
    "--warn-days",
    group=_RENEWAL,
    metavar="N",
    type=Number(0),
    help="Exit with 3 if a certificate is valid for fewer than N days, or its renewal is late.",
)
@options.selection
@options.connection
@options.output
@options.reports
def status(playbook: Path, *, warn_days: float | None, **given: Any) -> int:
    """Show every certificate, what the proxy actually serves, and what is wrong."""
    from deployer.cli.session import session_of

    with session_of("certs status", playbook, **given) as session:
        return _ended(session, session.fleet.certs_status(), warn_days=warn_days)


@certs.command(
    cls=Command,
    examples=(
        ("Renew what is due", "deployer certs renew site.yml"),
        ("Renew the certificates of one host now", "deployer certs renew site.yml -l web1 --force"),
    ),
)
@options.playbook
@option("--force", group=_RENEWAL, is_flag=True, help="Renew certificates that are not due, too.")
@options.lock_timeout
@options.no_staging_first
@options.no_neighbours
@options.selection
@options.connection
@options.output
@options.reports
def renew(playbook: Path, *, force: bool, **given: Any) -> int:
    """Renew the certificates that are due, and check that the proxy serves them."""
    from deployer.cli.session import session_of

    with session_of("certs renew", playbook, preflight=False, **given) as session:
        return _ended(session, session.fleet.certs_renew(force))


@certs.command(
    cls=Command,
    examples=(
        ("Have every host renew its certificates", "deployer certs schedule site.yml"),
        ("Stop that", "deployer certs schedule site.yml --remove"),
    ),
)
@options.playbook
@option("--remove", group=_RENEWAL, is_flag=True, help="Remove the timer.")
@options.no_neighbours
@options.selection
@options.connection
@options.output
def schedule(playbook: Path, *, remove: bool, **given: Any) -> int:
    """Renew certificates automatically: a timer checks twice a day which are due."""
    from deployer.certificates.schedule_here import schedule_here
    from deployer.cli.session import ended, session_of

    with session_of("certs schedule", playbook, preflight=False, **given) as session:
        run = session.fleet.certs_schedule(remove)
        code = ended(session, run)
        if code == EXIT_DONE and session.fleet.orders_here:
            for words in schedule_here(
                playbook,
                remove=remove,
                inventories=given["inventories"],
                limit=given["limit"],
                extra_vars=given["extra_vars"],
            ):
                session.report.note(words)
        return code


def _ended(session: Session, run: RunReport, warn_days: float | None = None) -> int:
    from datetime import UTC, datetime

    from deployer.cli.session import ended
    from deployer.commit.outcome import with_judged_certificates

    now = datetime.now(UTC)
    run = with_judged_certificates(run, now=now, warn_days=warn_days, again=session.again)
    session.report.certificates(run, now=now)
    return ended(session, run, quiet_states=("healthy", "unhealthy"))
