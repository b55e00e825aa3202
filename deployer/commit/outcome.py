"""The report on each host at the end of a run, and the exit code that follows from it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from deployer.errors import (
    EXIT_CHANGES,
    EXIT_DONE,
    EXIT_INTERRUPTED,
    EXIT_REVERTED,
    EXIT_STRANDED,
    EXIT_UNREACHABLE,
    EXIT_USAGE,
    worst,
)
from deployer.model import CheckResult, Document
from deployer.plan.model import Plan

if TYPE_CHECKING:
    from deployer.commit.survival import Survival
    from deployer.load.result import LoadResult
    from deployer.verify.idle import IdleResult

State = Literal[
    "unchanged",
    "planned",
    "confirmed",
    "reverted",
    "failed",
    "stranded",
    "unreachable",
    "invalid",
    "not-started",
    "healthy",
    "unhealthy",
    "listed",
    "recovered",
    "abandoned",
]

_EXIT_CODES: Mapping[State, int] = {
    "unchanged": EXIT_DONE,
    "planned": EXIT_DONE,
    "confirmed": EXIT_DONE,
    "healthy": EXIT_DONE,
    "listed": EXIT_DONE,
    "recovered": EXIT_DONE,
    "abandoned": EXIT_DONE,
    "not-started": EXIT_DONE,
    "reverted": EXIT_REVERTED,
    "failed": EXIT_REVERTED,
    "unhealthy": EXIT_REVERTED,
    "stranded": EXIT_STRANDED,
    "unreachable": EXIT_UNREACHABLE,
    "invalid": EXIT_USAGE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class HostReport:
    """The outcome of a run on one host.

    The states: ``unchanged`` nothing to do; ``planned`` a dry run found changes; ``confirmed``
    changed and verified; ``reverted`` changed, failed and rolled back; ``failed`` and
    ``unreachable`` nothing was changed; ``stranded`` someone must look at the host; ``invalid`` the
    playbook is wrong for this host; ``not-started`` another host failed before; ``healthy`` and
    ``unhealthy`` from `verify` and `certs`; ``listed`` from `history`; ``recovered`` and
    ``abandoned`` from `recover`.

    A ``confirmed`` rollback was `rolled_back_to` a generation, and is itself a new one.

    The `plan` is complete: `secrets` are removed from it when it is shown. `kept` are files that a
    rollback left alone because they were edited: `path`, `why`, and `diff` if it may be shown.
    `certificates` are their statuses (docs/reference/certificates.md); `idle` and `load` the
    measurements of the sites (docs/how-to/measure-limits.md). `notes` are other observations on the
    host; `found` names, for programs, the run that holds its lock, the unfinished commit, and how
    the last one ended. `has_watchdog` is false if nothing on the host would have rolled the commit
    back (``--no-watchdog``). `next_steps` are lines for the user after the first success.
    `survival` is the outcome of connections that were open through a proxy during its change.
    """

    host: str
    state: State
    message: str = ""
    plan: Plan | None = None
    checks: tuple[CheckResult, ...] = ()
    generation: int | None = None
    rolled_back_to: int | None = None
    kept: tuple[Mapping[str, str], ...] = ()
    history: tuple[Document, ...] = ()
    certificates: tuple[Document, ...] = ()
    idle: tuple[IdleResult, ...] = ()
    load: tuple[LoadResult, ...] = ()
    notes: tuple[str, ...] = ()
    found: Document | None = None
    has_watchdog: bool = True
    next_steps: tuple[str, ...] = ()
    survival: Survival | None = None
    seconds: float = 0.0
    secrets: frozenset[str] = field(default=frozenset(), repr=False, compare=False)

    @property
    def exit_code(self) -> int:
        """The exit code for this host."""
        return _EXIT_CODES[self.state]

    @property
    def has_failed(self) -> bool:
        """Whether the host counts as failed for its batch."""
        return self.exit_code != EXIT_DONE

    @property
    def failed_checks(self) -> tuple[CheckResult, ...]:
        """The checks that did not pass."""
        return tuple(check for check in self.checks if not check.ok)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """A whole run: the command, and its hosts in the order of the inventory.

    With `tells_changes`, plans with changes have an exit code of their own. `sealed` is the file of
    the sealed plan that was written or applied.
    """

    command: str
    hosts: tuple[HostReport, ...]
    seconds: float = 0.0
    interrupted: bool = False
    tells_changes: bool = False
    sealed: Document | None = None

    @property
    def exit_code(self) -> int:
        """The worst of the hosts' exit codes; 130, as in shells, for Ctrl-C alone."""
        code = worst(report.exit_code for report in self.hosts)
        if self.interrupted and code == EXIT_DONE:
            return EXIT_INTERRUPTED
        has_changes = any(report.state == "planned" for report in self.hosts)
        return worst((code, EXIT_CHANGES)) if self.tells_changes and has_changes else code


def all_or_none(reports: Sequence[HostReport]) -> list[HostReport]:
    """The reports of a plan that changes no host if any of them has failed."""
    failed = [report.host for report in reports if report.has_failed]
    if not failed:
        return list(reports)
    message = f"nothing is changed on any host because of {', '.join(failed)}"
    return [
        replace(report, state="not-started", message=message)
        if report.state == "planned"
        else report
        for report in reports
    ]


def with_judged_certificates(
    run: RunReport,
    *,
    now: datetime,
    warn_days: float | None,
    again: Callable[[str, str], str],
) -> RunReport:
    """`run` with the problems of each certificate, which make its host ``unhealthy``.

    Only the state of ``healthy`` hosts changes. `again` returns the command line that runs a
    command on a host.
    """
    from deployer.certificates.status import with_problems

    def judged(report: HostReport) -> HostReport:
        certificates = tuple(
            with_problems(
                status,
                now=now,
                warn_days=warn_days,
                again=lambda command: again(command, report.host),
            )
            for status in report.certificates
        )
        fails = any(problem["fails"] for status in certificates for problem in status["problems"])
        state: State = "unhealthy" if fails and report.state == "healthy" else report.state
        return replace(report, certificates=certificates, state=state)

    return replace(run, hosts=tuple(judged(report) for report in run.hosts))


def count_words(reports: Iterable[HostReport]) -> str:
    """The number of hosts in each state: ``3 confirmed, 1 reverted``."""
    counts: dict[str, int] = {}
    for report in reports:
        counts[report.state] = counts.get(report.state, 0) + 1
    return ", ".join(f"{number} {state}" for state, number in counts.items())
