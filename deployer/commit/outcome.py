"""What a run says of each host when it ends, and the exit code that follows from it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from deployer.commit.survival import Survival
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
from deployer.model import CheckResult
from deployer.plan.model import Plan

if TYPE_CHECKING:
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
    """How one host came out of a run.

    `state` in words: ``unchanged`` nothing to do; ``planned`` a dry run found changes;
    ``confirmed`` changed and verified; ``reverted`` changed, failed, and back; ``failed`` and
    ``unreachable`` nothing was changed; ``stranded`` a person must look; ``invalid`` the playbook
    is wrong for this host; ``not-started`` another host failed before; ``healthy`` and
    ``unhealthy`` of `verify` and `certs`; ``listed`` of `history`; ``recovered`` and ``abandoned``
    of `recover`. Its `plan` is whole: `secrets` are taken out of it where it is shown. `kept` are
    files that a revert left as someone had changed them: `path`, `why`, and `diff` where it may be
    shown. `certificates` are their statuses (docs/reference/certificates.md); `idle` and `load`
    what was measured of its sites (docs/how-to/measure-limits.md). `notes` are what
    else was found on the host; `found` says for programs which run is at work there, which commit
    is under way, and how the last one ended. `has_watchdog` is false where nothing on the host
    would have taken the commit back, as ``--no-watchdog`` has it. `survival` says what became of
    connections that were open through a proxy while it was changed.
    """

    host: str
    state: State
    message: str = ""
    plan: Plan | None = None
    checks: tuple[CheckResult, ...] = ()
    generation: int | None = None
    kept: tuple[Mapping[str, str], ...] = ()
    history: tuple[Mapping[str, Any], ...] = ()
    certificates: tuple[Mapping[str, Any], ...] = ()
    idle: tuple[IdleResult, ...] = ()
    load: tuple[LoadResult, ...] = ()
    notes: tuple[str, ...] = ()
    found: Mapping[str, Any] | None = None
    has_watchdog: bool = True
    survival: Survival | None = None
    seconds: float = 0.0
    secrets: frozenset[str] = field(default=frozenset(), repr=False, compare=False)

    @property
    def exit_code(self) -> int:
        """The exit code that this host earned."""
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

    With `tells_changes`, plans with changes have an exit code of their own. `sealed` says of the
    sealed plan that was written or applied which file it is.
    """

    command: str
    hosts: tuple[HostReport, ...]
    seconds: float = 0.0
    interrupted: bool = False
    tells_changes: bool = False
    sealed: Mapping[str, Any] | None = None

    @property
    def exit_code(self) -> int:
        """The worst of the hosts' exit codes; 130, as shells have it, for a bare Ctrl-C."""
        code = worst(report.exit_code for report in self.hosts)
        if self.interrupted and code == EXIT_DONE:
            return EXIT_INTERRUPTED
        has_changes = any(report.state == "planned" for report in self.hosts)
        return worst((code, EXIT_CHANGES)) if self.tells_changes and has_changes else code


def all_or_none(reports: Sequence[HostReport]) -> list[HostReport]:
    """The reports of a look where no host is changed if there is trouble with any of them."""
    troubled = [report.host for report in reports if report.has_failed]
    if not troubled:
        return list(reports)
    message = f"nothing is changed on any host because of {', '.join(troubled)}"
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
    """`run` with what is wrong in each certificate's status, which makes its host ``unhealthy``.

    Only ``healthy`` hosts are judged anew: another state says already how it came out. `again`
    makes, of a command's name and a host's, a command line for a person to enter.
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
    """How many hosts ended how: ``3 confirmed, 1 reverted``."""
    counts: dict[str, int] = {}
    for report in reports:
        counts[report.state] = counts.get(report.state, 0) + 1
    return ", ".join(f"{number} {state}" for state, number in counts.items())
