"""The command line: what is asked, who watches, and with which exit code it ends."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deployer import __version__
from deployer.cli import options
from deployer.cli.running import abandonment, approval, ended, session_of
from deployer.errors import (
    EXIT_DONE,
    EXIT_INTERRUPTED,
    EXIT_USAGE,
    DeployerError,
    UsageError,
)

if TYPE_CHECKING:
    from deployer.commit.outcome import RunReport
    from deployer.run.session import Session


class _Commands(click.Group):
    """Commands in the order in which a person meets them; `lab` is imported when asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*self.commands, "lab"]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name == "lab" and not ctx.resilient_parsing:
            from deployer.cli.lab import lab

            return lab
        return super().get_command(ctx, cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        rows = [(name, command.get_short_help_str(80)) for name, command in self.commands.items()]
        rows.append(("lab", "Disposable real hosts to rehearse on."))
        with formatter.section("Commands"):
            formatter.write_dl(rows)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="deployer")
def cli() -> None:
    """Deploy WebSocket services behind a reverse proxy, and keep only what a handshake confirms."""


@cli.command()
@click.argument("template", default="goaccess")
@click.option("--list", "list_templates", is_flag=True, help="List the ready playbooks.")
def init(template: str, *, list_templates: bool) -> int:
    """Write site.yml and inventory.yml from a ready playbook.

    TEMPLATE is the name of one, goaccess by default; --list names them all.
    """
    from deployer.cli import init as cli_init

    if list_templates:
        for name, title in cli_init.templates():
            click.echo(f"{name:<16}  {title}")
        return EXIT_DONE
    for path in cli_init.write(template, Path()):
        click.echo(f"wrote {path}")
    click.echo("Edit both, then: deployer check site.yml && deployer plan site.yml")
    return EXIT_DONE


@cli.command()
@click.argument("playbook", metavar="[SITE.yml]", required=False, type=click.Path(path_type=Path))
@click.option("--schema", is_flag=True, help="Print the JSON Schema of a playbook, for editors.")
@click.option("--explain", metavar="CODE", help="Say what a code of the check means, and why.")
@click.option(
    "--render",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Write the files that hosts would get into DIR/HOST/, without secrets.",
)
@click.option(
    "--debian",
    "release",
    type=click.Choice(["11", "12", "13"]),
    default="12",
    show_default=True,
    help="The release that hosts are taken to be.",
)
@options.on_hosts
@options.as_json
def check(
    playbook: Path | None,
    *,
    schema: bool,
    explain: str | None,
    render: Path | None,
    release: str,
    as_json: bool,
    **given: Any,
) -> int:
    """Find everything that can be known to be wrong without a host."""
    if schema:
        import json

        from deployer.playbook import json_schema

        click.echo(json.dumps(json_schema(), indent=2, ensure_ascii=False))
        return EXIT_DONE
    if explain is not None:
        from deployer.sites.lint.explain import explanation

        click.echo(explanation(explain))
        return EXIT_DONE
    if playbook is None:
        raise click.UsageError("Missing argument 'SITE.yml'.")
    from deployer.cli.check import run_check

    return run_check(playbook, folder=render, release=release, as_json=as_json, **given)


def _plan_command(
    playbook: Path,
    *,
    with_diff: bool,
    out: Path | None,
    detailed_exitcode: bool = False,
    **given: Any,
) -> int:
    import dataclasses

    if out is not None:
        from deployer.run.sealed.file import refuse_to_replace

        refuse_to_replace(out)
    with session_of("plan", playbook, **given) as session:
        run = dataclasses.replace(session.fleet.plan(), tells_changes=detailed_exitcode)
        session.report.plans(run.hosts, with_diff=with_diff)
        if out is None:
            return ended(session, run, quiet_states=("planned",))
        from deployer.cli.sealed_plans import sealed_run, written_words

        run = sealed_run(session, run, playbook=playbook, out=out)
        code = session.end(run, ("planned",))
        session.report.note(written_words(run))
        return code


@cli.command()
@options.playbook
@options.on_hosts
@options.diff
@click.option("--detailed-exitcode", is_flag=True, help="Exit with 2 where there are changes.")
@options.out
@options.no_staging_first
@options.over_ssh
@options.reports
def plan(playbook: Path, *, diff: bool, **given: Any) -> int:
    """Show what an apply would change, as a diff, and change nothing.

    With --out, the plan is sealed into a file too, to be approved by someone else or applied later:
    `deployer apply FILE` does exactly that, and nothing where a host is no longer what was seen.
    """
    return _plan_command(playbook, with_diff=diff, **given)


@cli.command()
@click.argument("playbook", metavar="SITE.yml|FILE", type=click.Path(path_type=Path))
@options.on_hosts
@options.diff
@click.option("-y", "--yes", is_flag=True, help="Apply without asking.")
@click.option("--dry-run", "--check", is_flag=True, help="The same as `deployer plan`.")
@options.out
@options.confirm_timeout
@options.lock_timeout
@options.keep
@options.no_watchdog
@options.no_staging_first
@options.canaries
@options.over_ssh
@options.reports
def apply(
    playbook: Path, *, diff: bool, yes: bool, dry_run: bool, out: Path | None, **given: Any
) -> int:
    """Plan, ask, apply, verify with real handshakes; confirm or revert.

    FILE is a sealed plan of `deployer plan --out FILE`: exactly that is applied, without playbook
    and inventory, and nothing on any host where one of them is no longer what the plan saw.
    """
    from deployer.run.sealed.signature import is_sealed_file

    if is_sealed_file(playbook):
        from deployer.cli.sealed_plans import apply_sealed

        return apply_sealed(
            playbook,
            with_diff=diff,
            yes=yes,
            dry_run=dry_run,
            out=out,
            approval=approval,
            **given,
        )
    if dry_run:
        return _plan_command(playbook, with_diff=diff, out=out, **given)
    if out is not None:
        raise UsageError(
            "--out writes a plan, and this applies one; no host was touched",
            hint="Give --dry-run too, or `deployer plan SITE.yml --out FILE`.",
        )
    with session_of("apply", playbook, **given) as session:
        approve = approval(session, with_diff=diff, yes=yes)
        return ended(session, session.fleet.apply(approve), quiet_states=("planned",))


@cli.command()
@options.playbook
@click.option(
    "--to",
    metavar="N",
    type=click.IntRange(0),
    help="A generation of `deployer history`, or 0 for the state before all of them; "
    "default: the one before the last.",
)
@options.on_hosts
@options.diff
@click.option("-y", "--yes", is_flag=True, help="Go back without asking.")
@options.confirm_timeout
@options.lock_timeout
@options.keep
@options.no_watchdog
@options.canaries
@options.over_ssh
@options.reports
def rollback(playbook: Path, *, to: int | None, diff: bool, yes: bool, **given: Any) -> int:
    """Go back to an earlier confirmed generation: plan, ask, apply, verify."""
    with session_of("rollback", playbook, **given) as session:
        approve = approval(session, with_diff=diff, yes=yes)
        return ended(session, session.fleet.rollback(to, approve), quiet_states=("planned",))


@cli.command()
@options.playbook
@options.on_hosts
@click.option("-y", "--yes", is_flag=True, help="Reload without asking.")
@options.lock_timeout
@options.keep
@options.no_watchdog
@options.canaries
@options.over_ssh
@options.reports
def reload(playbook: Path, *, yes: bool, **given: Any) -> int:
    """Test the proxy's config, reload it, and verify."""
    with session_of("reload", playbook, **given) as session:
        approve = approval(session, with_diff=True, yes=yes)
        return ended(session, session.fleet.reload(approve), quiet_states=("planned",))


@cli.command()
@options.playbook
@click.option("--no-public", is_flag=True, help="Look from the host alone, not by DNS from here.")
@options.resolve
@options.measured
@options.on_hosts
@options.explain
@options.watched
@options.over_ssh
@options.reports
def verify(
    playbook: Path,
    *,
    no_public: bool,
    resolve: Sequence[str],
    idle: bool,
    idle_limit: str | None,
    load: int | None,
    rate: float | None,
    hold: str | None,
    watch: str | None,
    **given: Any,
) -> int:
    """Check the running service with real handshakes, at any time, changing nothing.

    At three hops: straight at the service, through the proxy, and by DNS from here.
    """
    from deployer.run.measure import measure_from
    from deployer.verify.public.hop import public_hop

    if no_public and resolve and load is None:
        raise UsageError("--no-public leaves out all that --resolve is for; no host was touched")
    public = public_hop(resolve)
    measure = measure_from(
        idle=idle,
        idle_limit=idle_limit,
        load=load,
        rate=rate,
        hold=hold,
        overrides=public.overrides,
        no_public=no_public,
    )
    given["public"] = None if no_public else public
    if watch is not None:
        from deployer.cli.watch import watched

        return watched(session_of, playbook, every=watch, is_measured=measure is not None, **given)
    with session_of("verify", playbook, **given) as session:
        run = session.fleet.verify(measure)
        session.report.verified(run)
        session.report.measured(run)
        return ended(session, run)


@cli.command()
@click.argument("url", metavar="URL|SITE.yml")
@options.explain
@options.outside
@options.reports
def diagnose(
    url: str,
    *,
    limit: str | None,
    extra_vars: Sequence[str],
    as_json: bool,
    verbose: bool,
    html: Path | None,
    junit: Path | None,
    **given: Any,
) -> int:
    """Say what is wrong with any WebSocket, whoever has set it up, changing nothing.

    URL is a wss:// or ws:// address, or that of a page which opens one. With SITE.yml, it is
    `deployer verify` and each site looked at from outside.
    """
    from deployer.cli.diagnose import Request, run_diagnose
    from deployer.cli.diagnose_playbook import is_playbook, run_diagnose_playbook

    if is_playbook(url):
        return run_diagnose_playbook(
            Path(url),
            limit=limit,
            extra_vars=extra_vars,
            as_json=as_json,
            verbose=verbose,
            html=html,
            junit=junit,
            **given,
        )
    if limit is not None or extra_vars:
        raise UsageError("--limit and --extra-vars have a meaning with a playbook alone")
    from deployer.report.files import ReportFiles

    files = ReportFiles(html=html, junit=junit)
    return run_diagnose(Request(url=url, **given), as_json=as_json, verbose=verbose, files=files)


@cli.command()
@options.playbook
@options.which_hosts
@click.option(
    "--abandon",
    is_flag=True,
    help="Give up a commit that could not be taken back: leave the host as it is now.",
)
@click.option("-y", "--yes", is_flag=True, help="Abandon without asking.")
@options.lock_timeout
@options.over_ssh
def recover(playbook: Path, *, abandon: bool, yes: bool, **given: Any) -> int:
    """Take back what an interrupted run has left on a host."""
    if yes and not abandon:
        raise click.UsageError("--yes has a meaning with --abandon alone: nothing else asks.")
    with session_of("recover", playbook, tags=None, **given) as session:
        if not abandon:
            return ended(session, session.fleet.recover())
        run = session.fleet.abandon(abandonment(session, yes=yes))
        return ended(session, run, quiet_states=("planned",))


@cli.command()
@options.playbook
@options.on_hosts
@options.over_ssh
def history(playbook: Path, **given: Any) -> int:
    """Show what was applied on each host, newest first."""
    with session_of("history", playbook, **given) as session:
        run = session.fleet.history()
        session.report.history(run)
        return ended(session, run, quiet_states=("listed",))


@cli.group()
def certs() -> None:
    """Certificates: how they stand, renew them now, renew them by themselves."""


@certs.command()
@options.playbook
@options.on_hosts
@click.option(
    "--warn-days",
    metavar="N",
    type=click.FloatRange(0),
    help="Exit with 3 where one is valid for fewer days, or its renewal is late.",
)
@options.over_ssh
@options.reports
def status(playbook: Path, *, warn_days: float | None, **given: Any) -> int:
    """Show every certificate, what the proxy really serves, and what is wrong."""
    with session_of("certs status", playbook, **given) as session:
        return _certificates_ended(session, session.fleet.certs_status(), warn_days=warn_days)


@certs.command()
@options.playbook
@options.on_hosts
@click.option("--force", is_flag=True, help="Renew what is not due as well.")
@options.lock_timeout
@options.no_staging_first
@options.over_ssh
@options.reports
def renew(playbook: Path, *, force: bool, **given: Any) -> int:
    """Renew now what is due, and check that the proxy serves it."""
    with session_of("certs renew", playbook, **given) as session:
        return _certificates_ended(session, session.fleet.certs_renew(force))


@certs.command()
@options.playbook
@options.on_hosts
@click.option("--remove", is_flag=True, help="Take the timer away.")
@options.over_ssh
def schedule(playbook: Path, *, remove: bool, **given: Any) -> int:
    """Let certificates renew by themselves, twice a day where they are due."""
    from deployer.certificates.schedule_here import schedule_here

    with session_of("certs schedule", playbook, **given) as session:
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


def _certificates_ended(session: Session, run: RunReport, warn_days: float | None = None) -> int:
    from datetime import UTC, datetime

    from deployer.commit.outcome import with_judged_certificates

    now = datetime.now(UTC)
    run = with_judged_certificates(run, now=now, warn_days=warn_days, again=session.again)
    session.report.certificates(run, now=now)
    return ended(session, run, quiet_states=("healthy", "unhealthy"))


# --- how a command begins and ends ----------------------------------------------------------------


def _print_json(document: dict[str, Any]) -> None:
    from deployer.report.document import as_json

    click.echo(as_json(document))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and leave the process with its exit code."""
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit code. No error that a person can cause ends in a traceback."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        return int(cli.main(list(arguments), prog_name="deployer", standalone_mode=False) or 0)
    except DeployerError as error:
        click.echo(f"Error: {error}", err=True)
        return _ended_early(arguments, str(error), error.exit_code)
    except click.ClickException as error:
        error.show()
        return _ended_early(arguments, error.format_message(), EXIT_USAGE)
    except (KeyboardInterrupt, click.Abort):
        click.echo("Interrupted.", err=True)
        return _ended_early(arguments, "interrupted", EXIT_INTERRUPTED)
    except BrokenPipeError:
        sys.stderr.close()
        return EXIT_DONE


def _ended_early(arguments: Sequence[str], message: str, exit_code: int) -> int:
    """The exit code; the document as well, where one was asked for and none is printed yet."""
    if "--json" in arguments:
        from deployer.report.document import error_document

        command = " ".join(arguments[: 2 if arguments[0] == "certs" else 1])
        _print_json(error_document(command, exit_code=exit_code, message=message))
    return exit_code
