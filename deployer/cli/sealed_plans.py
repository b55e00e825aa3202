"""``plan --out FILE`` and ``apply FILE``: their messages, and the options they refuse."""

from __future__ import annotations

import datetime
import getpass
import socket
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deployer.commit.outcome import HostReport, RunReport
from deployer.errors import UsageError
from deployer.run.sealed.file import (
    about,
    is_open_to_others,
    origin_words,
    read_sealed,
    write_sealed,
)
from deployer.run.sealed.model import SealedPlan

if TYPE_CHECKING:
    from deployer.run.session import Session

#: Options that change a plan, by their parameter.
_PLANNING = {
    "inventories": "--inventory",
    "limit": "--limit",
    "extra_vars": "--extra-vars",
    "tags": "--tags",
    "skip_tags": "--skip-tags",
    "become": "--become",
    "prune": "--prune",
    "prune_packages": "--prune-packages",
    "prune_certificates": "--prune-certificates",
}


# --- plan --out -----------------------------------------------------------------------------------


def sealed_run(session: Session, run: RunReport, *, playbook: Path, out: Path) -> RunReport:
    """Seal the plans of `run` into `out`, unless a host has none.

    Raises:
        UsageError: the file or the key cannot be written.
    """
    missing = [
        report.host for report in run.hosts if report.plan is None or report.state == "failed"
    ]
    if missing or run.interrupted:
        return replace(run, sealed={"file": str(out), "written": False, "missing": missing})
    sealed = SealedPlan(
        created_at=_now().isoformat(timespec="seconds"),
        who=getpass.getuser(),
        origin=socket.gethostname(),
        playbook=str(playbook.absolute()),
        inventories=tuple(str(path.absolute()) for path in session.inventories),
        sealed_hosts=session.fleet.seal(run),
        planned_batches=session.batches,
    )
    write_sealed(out, sealed, project=playbook.parent)
    return replace(run, sealed={"file": str(out), "written": True, "missing": []})


def written_words(run: RunReport) -> str:
    """Where the plan is and how to apply it, or why there is none."""
    sealed = run.sealed or {}
    if not sealed["written"]:
        missing = ", ".join(sealed["missing"])
        why = f"{missing} could not be planned" if missing else "the run was interrupted"
        return f"Nothing was written to {sealed['file']}: {why}."
    count = "1 host" if len(run.hosts) == 1 else f"{len(run.hosts)} hosts"
    return (
        f"Sealed the plan for {count} into {sealed['file']}, which holds secrets.\n"
        f"Apply it with: deployer apply {sealed['file']}"
    )


# --- apply FILE -----------------------------------------------------------------------------------


def apply_sealed(
    path: Path,
    *,
    diff: bool,
    yes: bool,
    dry_run: bool,
    out: Path | None,
    **given: Any,
) -> int:
    """Apply the sealed plan at `path`, or with `dry_run` check that it still fits; the exit code.

    Raises:
        UsageError: the file was altered, or an option would change the plan.
    """
    from deployer.cli.session import approval
    from deployer.run.options import SessionOptions
    from deployer.run.session import Session

    _refuse_to_plan(path, {**given, "out": out})
    sealed = read_sealed(path)
    if is_open_to_others(path):
        click.echo(
            f"warning: other users can read {path}, which holds secrets; run: chmod 600 {path}",
            err=True,
        )
    command, options = "plan" if dry_run else "apply", SessionOptions(**given)
    with Session(command, path, options, sealed=sealed) as session:
        session.report.note(f"{path}: {origin_words(sealed, now=_now())}")
        if dry_run:
            session.report.plans(_as_planned(sealed), with_diff=diff)
            run = session.fleet.check_sealed(sealed)
        else:
            approve = approval(session, with_diff=diff, yes=yes)
            run = session.fleet.apply_sealed(sealed, approve)
        run = replace(run, sealed=about(path, sealed))
        code = session.end(run, ("planned",))
        if dry_run and run.exit_code == 0:
            session.report.note("No host has changed since the plan was made.")
        return code


def _refuse_to_plan(path: Path, given: dict[str, object]) -> None:
    if given.pop("out") is not None:
        raise UsageError(f"{path} is already a sealed plan; --out has nothing to write")
    for key, option in _PLANNING.items():
        if given[key]:
            raise UsageError(
                f"{option} would change the plan, and {path} is applied as it was sealed; "
                "no host was touched",
                hint=f"Plan again with it: deployer plan SITE.yml {option} … --out FILE",
            )


def _as_planned(sealed: SealedPlan) -> list[HostReport]:
    return [
        HostReport(
            host=each.host.name,
            state="unchanged" if each.plan.is_empty else "planned",
            plan=each.plan,
            secrets=each.secrets,
        )
        for each in sealed.sealed_hosts
    ]


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
