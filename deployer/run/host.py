"""One host's part of a command: what is done there, and the report on it.

`HostRun` has a method for each thing that a command does on a host. Planning is in `host_plan`,
applying in `host_apply`, verifying in `host_verify`. Whatever happens, a method returns a
`HostReport` with the state that the host is in now.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from threading import Event
from typing import TYPE_CHECKING

from deployer.commit.contact import Contact, Progress, RunOptions, now, status_of
from deployer.commit.host_status import unfinished_notes
from deployer.commit.outcome import HostReport, State
from deployer.errors import (
    DeployerError,
    HostError,
    StrandedError,
    UnreachableError,
    UsageError,
    defect_words,
)
from deployer.model import Host
from deployer.plan.model import Plan
from deployer.run.host_plan import HostPlanner
from deployer.run.project import Project
from deployer.text.redaction import masked

if TYPE_CHECKING:
    from deployer.commit.recover import Recovery
    from deployer.run.measure import Measure
    from deployer.run.sealed.model import SealedHost
    from deployer.sites.drains import Drain


class HostRun:
    """One host over one connection; `project` is `None` for a sealed plan."""

    def __init__(
        self,
        host: Host,
        *,
        project: Project | None,
        options: RunOptions,
        progress: Progress,
        cancelled: Event,
    ) -> None:
        self.host = host
        self._loaded = project
        self._contact = Contact(host, options=options, progress=progress, cancelled=cancelled)
        self._planner = HostPlanner(self._contact)

    @property
    def _project(self) -> Project:
        assert self._loaded is not None, "a sealed plan needs no project"  # noqa: S101 - for mypy
        return self._loaded

    # --- plan and apply ---------------------------------------------------------------------------

    def plan(self, *, will_change: bool = False) -> HostReport:
        """Connect, probe and plan; report ``planned`` or ``unchanged``.

        With `will_change`, a host that cannot be changed now is not planned: another run is at work
        there, or one was interrupted.
        """
        return self._reported(lambda: self._planner.plan(self._project, will_change=will_change))

    def plan_reload(self) -> HostReport:
        """Connect and plan a reload of the proxies that serve the sites."""
        return self._reported(lambda: self._planner.plan_reload(self._project))

    def plan_drain(self, wanted: Drain) -> HostReport:
        """Connect and plan to take an upstream out of rotation, or to return it."""
        from deployer.run.drain import only_drain

        project = only_drain(self._project, wanted)
        return self._reported(lambda: self._planner.plan(project, will_change=True))

    def plan_rollback(self, to: int | None) -> HostReport:
        """Connect and plan the return to generation `to`; by default the one before the last."""
        return self._reported(lambda: self._planner.plan_rollback(self._project, to))

    def check_sealed(self, sealed: SealedHost) -> HostReport:
        """Connect and check whether the host is still as its sealed plan found it."""
        return self._reported(lambda: self._planner.check_sealed(sealed))

    def seal(self, plan: Plan) -> SealedHost:
        """Everything that a later apply of the last `plan` needs, without the project."""
        return self._planner.seal(self._project, plan)

    def apply(self, plan: Plan) -> HostReport:
        """Apply `plan`, verify, and confirm or roll back."""
        from deployer.run.host_apply import HostApply

        planner = self._planner
        has_watchdog = self._contact.options.watchdog

        def work() -> HostReport:
            assert planner.desired is not None, "a plan has a desired state"  # noqa: S101 - for mypy
            apply = HostApply(
                self._contact,
                plan,
                desired=planner.desired,
                has_systemd=planner.state.has_systemd,
                differences=planner.differences,
                neighbourhood=planner.neighbourhood,
            )
            return replace(apply.run(), has_watchdog=has_watchdog, notes=planner.state.notes)

        return self._reported(work, otherwise="stranded")

    # --- verify and history -----------------------------------------------------------------------

    def verify(self, measure: Measure | None = None) -> HostReport:
        """Run the checks alone; report ``healthy`` or ``unhealthy``, with what `measure` adds."""
        from deployer.run.host_verify import verify_host

        def work() -> HostReport:
            desired = self._planner.desire(self._project, will_change=False)
            state = self._planner.state
            return verify_host(self._contact, desired, state=state, measure=measure)

        return self._reported(work)

    def history(self) -> HostReport:
        """The commits on the host, newest first."""

        def listed() -> HostReport:
            self._contact.secrets = self._project.secrets(self.host, facts={})
            status = status_of(self._contact.facts())
            self._planner.remember_found(status)
            recover = self._contact.again("recover")
            return HostReport(
                host=self.host.name,
                state="listed",
                history=tuple(masked(self._contact.history(), self._contact.secrets)),
                notes=tuple(unfinished_notes(status, now=now(), recover=recover)),
            )

        return self._reported(listed)

    # --- certificates -----------------------------------------------------------------------------

    def certificates(self) -> HostReport:
        """The status of the certificates of the host's sites."""
        from deployer.run.certificates import statuses

        def work() -> HostReport:
            desired = self._planner.desire(self._project, will_change=False)
            return statuses(self._contact, desired.sites)

        return self._reported(work)

    def renew(self, *, force: bool) -> HostReport:
        """Renew the certificates of certbot on the host; the status of all afterwards."""
        from deployer.run.certificates import renewed

        def work() -> HostReport:
            desired = self._planner.desire(self._project, will_change=False)
            return renewed(self._contact, desired.sites, force=force)

        return self._reported(work)

    def plan_certificates(self) -> HostReport:
        """Connect and plan the installation of certificates that the controller orders."""
        from deployer.run.certificates import only_certificates

        def work() -> HostReport:
            desired = self._planner.desire(self._project, will_change=False)
            if not any(site.tls.certbot == "controller" for site in desired.sites):
                return HostReport(host=self.host.name, state="unchanged")
            return self._planner.plan(only_certificates(self._project), will_change=True)

        return self._reported(work)

    def plan_renewal(self, *, remove: bool) -> HostReport:
        """Connect and plan the renewal timer, or its removal."""
        from deployer.run.certificates import NOTHING_RENEWS, only_renewal, renews_itself

        def work() -> HostReport:
            desired = self._planner.desire(self._project, will_change=False)
            if not renews_itself(desired.sites):
                return HostReport(host=self.host.name, state="unchanged", message=NOTHING_RENEWS)
            project = only_renewal(self._project, remove=remove)
            return self._planner.plan(project, will_change=True)

        return self._reported(work)

    def with_next_run(self, report: HostReport) -> HostReport:
        """`report` with the time of the next renewal on the host."""
        from deployer.run.certificates import NOTHING_RENEWS, next_run_words

        if report.message == NOTHING_RENEWS:
            return report
        link = self._contact.link
        return self._reported(lambda: replace(report, message=next_run_words(link())))

    # --- recover ----------------------------------------------------------------------------------

    def recover(self) -> HostReport:
        """Roll back what an interrupted run left."""
        return self._recovering(lambda recovery: recovery.recover())

    def plan_abandon(self) -> HostReport:
        """Look for a commit that can only be abandoned; report ``planned`` if there is one."""
        return self._recovering(lambda recovery: recovery.plan_abandon())

    def abandon(self) -> HostReport:
        """Abandon a commit that cannot be rolled back, and leave the host as it is."""
        return self._recovering(lambda recovery: recovery.abandon())

    def _recovering(self, work: Callable[[Recovery], HostReport]) -> HostReport:
        from deployer.commit.recover import Recovery

        self._contact.secrets = self._project.secrets(self.host, facts={})
        return self._reported(lambda: work(Recovery(self._contact)))

    # --- the connection and the report ------------------------------------------------------------

    def stop_orders(self) -> None:
        """Make the host stop a certificate order that is in progress: a CA may take minutes."""
        self._contact.stop_orders()

    def close(self) -> None:
        """Close the connection; the host then rolls back a commit that is still pending."""
        self._contact.close()

    def _reported(
        self, work: Callable[[], HostReport], *, otherwise: State = "failed"
    ) -> HostReport:
        """The report of `work`, or of the error that ended it; `otherwise` after a defect."""
        try:
            report = work()
        except (HostError, UsageError) as error:
            report = HostReport(
                host=self.host.name,
                state=_state_of(error),
                message=str(error).removeprefix(f"{self.host.name}: "),
                found=error.found if isinstance(error, HostError) else None,
            )
        except Exception as error:
            # One host, with data that nothing expected, must not end the run of the others.
            report = HostReport(host=self.host.name, state=otherwise, message=defect_words(error))
        secrets = self._contact.secrets
        return replace(
            report,
            found=masked(report.found or self._planner.found, secrets),
            message=masked(report.message, secrets),
            notes=masked(report.notes, secrets),
            secrets=secrets,
            seconds=time.monotonic() - self._contact.options.started,
        )


def _state_of(error: DeployerError) -> State:
    if isinstance(error, UnreachableError):
        return "unreachable"
    if isinstance(error, StrandedError):
        return "stranded"
    return "invalid" if isinstance(error, UsageError) else "failed"
