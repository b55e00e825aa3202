"""Applies one plan on one host: apply, verify, then confirm or roll back.

The answer is always a `HostReport` with the state that the host is in now. If the connection breaks
while a commit is pending, or a reply cannot be understood, `commit.settle` finds out what became of
the commit.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, cast

from deployer.commit.canaries import canaries_around
from deployer.commit.contact import Contact, now
from deployer.commit.heartbeat import heartbeat
from deployer.commit.host_status import (
    lock_from,
    status_document,
    unfinished_from,
    unfinished_words,
)
from deployer.commit.messages import error_words
from deployer.commit.outcome import HostReport
from deployer.commit.settle import Settlement, after_revert, but_not_restored
from deployer.errors import AgentError, StrandedError, UnreachableError
from deployer.plan.desired import DesiredState, with_chains
from deployer.plan.wire import plan_to_json
from deployer.run.host_verify import check_sites

if TYPE_CHECKING:
    from deployer.commit.canaries import NoCanaries
    from deployer.commit.neighbour_watch import Watch
    from deployer.commit.neighbours import Neighbourhood
    from deployer.model import CheckResult
    from deployer.plan.model import Plan
    from deployer.run.host_preflight import Preflight

#: Errors after which the agent has changed nothing.
_UNTOUCHED = frozenset(
    {"stale", "no-space", "bad-request", "no-systemd", "no-watchdog", "not-begun"}
)

#: The time that a commit has until its deadline beyond what the checks need.
_CONFIRM_MARGIN_S = 120.0


class HostApply:
    """One commit on the host of `contact`.

    Args:
        desired: the state that `plan` leads to; its sites are verified.
        differences: how the host differs from what a plan was made for (`HostPlanner.differences`).
        neighbourhood: what the host's proxies serve for others.
    """

    def __init__(
        self,
        contact: Contact,
        plan: Plan,
        *,
        desired: DesiredState,
        has_systemd: bool,
        differences: Callable[[Plan], tuple[str, ...]],
        neighbourhood: Neighbourhood,
    ) -> None:
        self._contact = contact
        self._host = contact.host.name
        self._plan = plan
        self._desired = desired
        self._has_systemd = has_systemd
        self._differences = differences
        self._neighbourhood = neighbourhood
        self._commit = _new_commit_id()
        self._rollback_duration_s = self._rollback_duration()
        self._preflight: Preflight | None = None

    def run(self) -> HostReport:
        """Apply the plan, with canary connections open that show its effect on clients."""
        if self._contact.options.preflight:
            from deployer.run.host_preflight import Preflight

            self._preflight = Preflight(self._contact, self._plan, self._desired)
            refusal = self._preflight.refusal()
            if refusal is not None:
                return refusal
        with canaries_around(
            self._plan,
            self._desired.sites,
            self._contact.link(),
            count=self._contact.options.canaries,
            has_systemd=self._has_systemd,
            cancelled=self._contact.cancelled,
            doing=self._contact.doing,
        ) as canaries:
            report = replace(self._watched(canaries), plan=self._plan)
            is_another = report.state != "confirmed"
            return replace(report, survival=canaries.survival(asks_again=is_another))

    def _watched(self, canaries: NoCanaries) -> HostReport:
        """Apply the plan; of a rollback, whether it restored what other sites answered."""
        watch = self._neighbourhood.watch(self._plan, self._desired)
        report = self._applied(canaries, watch)
        lost = watch.not_restored() if report.state == "reverted" else ()
        return but_not_restored(report, lost) if lost else report

    def _applied(self, canaries: NoCanaries, watch: Watch) -> HostReport:
        self._contact.doing("applying")
        try:
            self._request_apply(canaries)
            canaries.changed()
            self._desired = self._with_new_chains()
        except AgentError as error:
            report = self._refused(error) or self._settled(error)
            failed = self._preflight.failed if self._preflight is not None else ()
            return replace(report, checks=failed)
        except UnreachableError as error:
            return self._settled(error)
        checks: tuple[CheckResult, ...] = ()
        try:
            with heartbeat(
                self._contact.link(),
                self._commit,
                rollback_duration_s=self._rollback_duration_s,
            ):
                changed_at = time.monotonic()
                checks = check_sites(self._contact, self._desired, changed_at=changed_at)
                checks += self._contact.report_checks(canaries.checks())
                if all(check.ok for check in checks):
                    found = watch.checks(changed_at=changed_at)
                    checks += self._contact.report_checks(found)
                report = self._decided(checks)
        except AgentError as error:
            report = self._too_late(error) or self._settled(error)
        except UnreachableError as error:
            report = self._settled(error)
        return replace(report, checks=checks)

    def _request_apply(self, canaries: NoCanaries) -> None:
        from deployer.verify.stored import stored

        options, desired = self._contact.options, self._desired
        sites, verification = stored(desired.sites, desired.roots, desired.secrets)
        self._contact.link().request(
            "apply",
            plan=plan_to_json(self._plan),
            commit={
                "id": self._commit,
                "who": options.who,
                "from": options.origin,
                "rollback_duration_s": self._rollback_duration_s,
                "watchdog": options.watchdog,
                "keep": options.keep,
                "sites": sites,
                "verification": verification,
                "rolls_back_to": desired.rolls_back_to,
                "purpose": desired.purpose,
                "managed": desired.managed,
                "preflight": self._preflight is not None and self._preflight.goes_on,
            },
            on_event=partial(self._on_event, canaries),
            doing="applying",
        )

    def _on_event(self, canaries: NoCanaries, event: Mapping[str, object]) -> None:
        """Report an event of the host, or answer a question from it."""
        canaries.on_event(event)
        if self._preflight is not None and _asks_for_preflight(event):
            self._preflight.answer()
            return
        self._contact.on_event(
            event, sites=self._desired.sites, certificates=self._contact.options.certificates
        )

    def _with_new_chains(self) -> DesiredState:
        """The desired state with the chains of the certificates that were just ordered."""
        if not any(change.kind == "certificate" for change in self._plan.changes):
            return self._desired
        from deployer.certificates.on_host import look

        return with_chains(self._desired, look(self._contact.link()))

    def _rollback_duration(self) -> float:
        """How long the host waits for a sign of life before it rolls back on its own."""
        if self._contact.options.confirm_timeout_s is not None:
            return self._contact.options.confirm_timeout_s
        from deployer.verify import required_s

        return required_s(self._desired.sites) + _CONFIRM_MARGIN_S

    # --- the decision -----------------------------------------------------------------------------

    def _decided(self, checks: tuple[CheckResult, ...]) -> HostReport:
        """Confirm the commit if every check passed; otherwise roll it back."""
        if all(check.ok for check in checks) and not self._contact.cancelled.is_set():
            return self._confirm(checks)
        why = "interrupted" if self._contact.cancelled.is_set() else "the verification failed"
        reply = self._contact.revert(self._commit, why=why, doing="reverting")
        return after_revert(self._contact, reply, why=why)

    def _confirm(self, checks: tuple[CheckResult, ...]) -> HostReport:
        from deployer.verify.summary import summary_lines

        try:
            reply = self._contact.link().request(
                "confirm", commit=self._commit, verified=summary_lines(checks), doing="confirming"
            )
        except AgentError as error:
            if error.code != "not-up":
                raise
            why = error_words(error, has_secret_output=_is_secret(self._plan, error))
            reverted = self._contact.revert(self._commit, why=error.problem, doing="reverting")
            return after_revert(self._contact, reverted, why=why)
        return HostReport(
            host=self._host,
            state="confirmed",
            generation=reply["generation"],
            rolled_back_to=self._desired.rolls_back_to,
            next_steps=self._next_steps() if reply["generation"] == 1 else (),
        )

    def _next_steps(self) -> tuple[str, ...]:
        from deployer.run.first_success import next_steps

        contact = self._contact
        verify = contact.again("verify")
        steps = next_steps(self._desired.sites, root_file=contact.options.root_file, verify=verify)
        return tuple(steps)

    def _settled(self, error: AgentError | UnreachableError) -> HostReport:
        settlement = Settlement(
            self._contact,
            self._commit,
            why=error.problem,
            rollback_duration_s=self._rollback_duration_s,
        )
        return settlement.report()

    # --- refusals ---------------------------------------------------------------------------------

    def _refused(self, error: AgentError) -> HostReport | None:
        """The report on an apply that the agent refused, or rolled back on its own.

        `None` if the host has to be asked what became of the commit.
        """
        text = self._refusal_words(error)
        if error.code == "locked":
            raise self._contact.locked(lock_from(error.details)) from error
        if error.code == "pending":
            found = unfinished_from(error.details)
            recover = self._contact.again("recover")
            raise StrandedError(
                unfinished_words(found, now=now(), recover=recover),
                host=self._host,
                found=status_document(unfinished=found, recover=recover),
            ) from error
        if error.code in _UNTOUCHED:
            message = f"{text}\nNothing was changed."
            return HostReport(host=self._host, state="failed", message=message)
        reverted = error.details.get("revert")
        if isinstance(reverted, Mapping):
            return after_revert(self._contact, reverted, why=text)
        return None

    def _refusal_words(self, error: AgentError) -> str:
        if error.code == "stale":
            from deployer.plan.drift import stale_text

            named = cast("list[str]", error.details["resource_ids"])
            return stale_text(self._differences(self._plan), named=named)
        text = error_words(error, has_secret_output=_is_secret(self._plan, error))
        if error.code in ("no-systemd", "no-watchdog"):
            text += "\nGive --no-watchdog to apply all the same."
        return text

    def _too_late(self, error: AgentError) -> HostReport | None:
        """The report on a commit that the host rolled back before it could be confirmed."""
        if error.code != "not-pending" or error.details.get("state") != "reverted":
            return None
        why = "the commit was not confirmed in time"
        return after_revert(self._contact, {"state": "reverted"}, why=why)


def _asks_for_preflight(event: Mapping[str, object]) -> bool:
    question = event.get("question")
    return isinstance(question, Mapping) and "preflight" in question


def _is_secret(plan: Plan, error: AgentError) -> bool:
    """Whether the change or handler that failed has output that must not be shown."""
    hidden = {change.resource_id for change in plan.changes if change.secret}
    hidden |= {f"handler:{run.handler.name}" for run in plan.handlers if run.handler.no_log}
    return error.details.get("resource_id") in hidden


def _new_commit_id() -> str:
    """Sortable by time, and unique even for two runs in the same second."""
    return f"{now():%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
