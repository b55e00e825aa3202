"""One host's run: the only place that knows both the pure side and the connection.

A run looks (facts, probe, plan), and where something is to be done it applies, verifies, and then
confirms or reverts. Whatever happens in between, the answer is a `HostReport` that says in which
state the host is now. A connection that breaks while a commit is pending is asked about over a new
one: the runner reverts by itself when it loses its controller.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from threading import Event
from typing import TYPE_CHECKING, Any, Protocol

from deployer.desired import DesiredState, HostFacts, desired_state
from deployer.early import EarlyLinks
from deployer.errors import (
    DeployerError,
    HostError,
    RunnerError,
    StrandedError,
    UnreachableError,
    UsageError,
)
from deployer.explain import error_words, left_over
from deployer.lost import loaded_questions
from deployer.model import CheckResult, Host, Owed, Plan
from deployer.outcome import HostReport, State
from deployer.plan import make_plan, reload_plan
from deployer.project import Project
from deployer.resources import KINDS
from deployer.rollback import former_state
from deployer.secrecy import masked
from deployer.wire import observation_from_json, owed_from_json, plan_to_json

if TYPE_CHECKING:
    from deployer.transport import ConnectOptions, Link

#: Errors after which the runner has changed nothing.
_UNTOUCHED = frozenset(
    {
        "stale",
        "locked",
        "pending",
        "no-space",
        "bad-request",
        "no-systemd",
        "no-watchdog",
        "not-begun",
    }
)

#: How long a host may take to say what became of a commit after its connection broke.
_SETTLE_S = 90.0

#: How long checks that fail right after a change are tried again.
_PATIENCE_S = 5.0

#: What a commit's deadline leaves beyond the time that the checks need.
_CONFIRM_MARGIN_S = 120.0


class Progress(Protocol):
    """Who watches a run. Called from several threads."""

    def doing(self, host: str, what: str) -> None:
        """`host` has begun something: connecting, probing, applying, verifying…"""

    def step(self, host: str, event: Mapping[str, Any]) -> None:
        """An event of the runner's `apply` or `revert`, as docs/wire.md describes it."""

    def checked(self, host: str, result: CheckResult) -> None:
        """A check of the verification has ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What the command line says about every host of a run, which `started` in monotonic time."""

    who: str
    origin: str
    connect: Callable[[Host], ConnectOptions]
    early: EarlyLinks
    started: float
    confirm_timeout_s: float | None = None
    watchdog: bool = True


class HostRun:
    """One host over one connection, from the first look to the last word."""

    def __init__(
        self,
        host: Host,
        *,
        project: Project,
        options: RunOptions,
        progress: Progress,
        cancelled: Event,
    ) -> None:
        self.host = host
        self._project = project
        self._options = options
        self._progress = progress
        self._cancelled = cancelled
        self._link: Link | None = None
        self._desired: DesiredState | None = None
        self._unsettled: tuple[str, ...] = ()
        self._owed: tuple[Owed, ...] = ()
        self._is_watched = options.watchdog

    # --- commands ---------------------------------------------------------------------------------

    def look(self, *, settle_pending: bool = False) -> HostReport:
        """Connect, probe and plan, changing nothing; report ``planned`` or ``unchanged``.

        With `settle_pending`, a commit that a dead run left unconfirmed is reverted first.
        """
        return self._reported(lambda: self._look(settle_pending=settle_pending))

    def look_for_reload(self) -> HostReport:
        """Connect and plan a reload of the proxies that the sites are served by."""

        def reload() -> HostReport:
            desired = self._desire(settle_pending=True)
            plan = reload_plan(host=self.host.name, created_at=_now(), handlers=desired.handlers)
            return self._planned(plan)

        return self._reported(reload)

    def look_for_rollback(self, to: int | None) -> HostReport:
        """Connect and plan the way back to generation `to`, by default the one before the last."""

        def back() -> HostReport:
            about = self._ask_facts(settle_pending=True)
            reply = self._connected().request("undo", to=to, doing="reading the generations")
            former = former_state(reply)
            project = self._project
            roots = {site.domain: project.trusted_root(site) for site in former.sites}
            hidden = project.secrets(self.host, facts=about.facts)
            self._desired = replace(former, roots=roots, secrets=hidden)
            return self._probed(self._desired, unknowns=tuple(reply["unknown"]))

        return self._reported(back)

    def apply(self, plan: Plan) -> HostReport:
        """Apply `plan`, verify, and confirm or revert."""
        return self._reported(lambda: replace(self._apply(plan), has_watchdog=self._is_watched))

    def verify(self) -> HostReport:
        """Run the checks alone; report ``healthy`` or ``unhealthy``."""
        return self._reported(self._verify_alone)

    def history(self) -> HostReport:
        """What was applied on the host, newest first."""

        def listed() -> HostReport:
            reply = self._connected().request("history", doing="reading the history")
            hidden = self._project.secrets(self.host, facts={})
            generations = tuple(masked(reply["generations"], hidden))
            return HostReport(host=self.host.name, state="listed", history=generations)

        return self._reported(listed)

    def close(self) -> None:
        """Close the connection; a commit that is still pending is then reverted by the host."""
        if self._link is not None:
            self._link.close()
            self._link = None

    # --- looking ----------------------------------------------------------------------------------

    def _connected(self) -> Link:
        if self._link is None:
            from deployer.transport import connect

            self._progress.doing(self.host.name, "connecting")
            options = self._options.connect(self.host)
            early = self._options.early.take(self.host, options)
            self._link = early or connect(self.host, options)
            self._require_root(self._link)
        return self._link

    def _require_root(self, link: Link) -> None:
        """What is root's alone can be neither seen nor changed by others."""
        if link.hello["uid"] != 0:
            raise UsageError(
                f"{self.host.name}: logged in as {self.host.user or 'a user'}, who is not root",
                hint="Say `become: true` in the play, or `ansible_become: true` in the inventory.",
            )

    def _ask_facts(self, *, settle_pending: bool) -> HostFacts:
        from deployer.sites import ASKED_PACKAGES

        link = self._connected()
        reply = link.request("facts", packages=list(ASKED_PACKAGES), doing="reading facts")
        pending = reply["deployer"]["pending"]
        self._owed = tuple(map(owed_from_json, reply["deployer"]["owed"]))
        if pending is not None and settle_pending:
            self._settle_pending(link, pending)
        elif pending is not None:
            whose = f"{pending['who']} since {pending['time']}"
            self._unsettled = (
                f"an unconfirmed commit of {whose} is on the host; this compares with what it left",
            )
        has_systemd = reply["facts"]["ansible_service_mgr"] == "systemd"
        self._is_watched = self._options.watchdog and has_systemd
        return HostFacts(facts=reply["facts"], packages=reply["packages"])

    def _settle_pending(self, link: Link, pending: Mapping[str, Any]) -> None:
        """Take back what a run that is no more has left unconfirmed."""
        self._progress.doing(
            self.host.name, f"reverting the unconfirmed commit of {pending['who']}"
        )
        try:
            reply = link.request(
                "revert",
                commit=pending["commit"],
                why="found unconfirmed by the next run",
                on_event=self._on_step,
                doing="reverting an unconfirmed commit",
            )
        except RunnerError as error:
            if error.code != "locked":
                raise
            raise HostError(
                error.problem,
                host=self.host.name,
                hint="Nothing was changed. Try again when it has ended.",
            ) from error
        if reply["state"] != "reverted":
            raise StrandedError(
                f"an earlier, unconfirmed commit of {pending['who']} could not be reverted: "
                + left_over(reply),
                host=self.host.name,
            )

    def _desire(self, *, settle_pending: bool) -> DesiredState:
        about = self._ask_facts(settle_pending=settle_pending)
        project = self._project
        self._desired = desired_state(
            project.playbook,
            self.host,
            inventory=project.inventory,
            about=about,
            certificate=project.certificate,
            extra_vars=project.extra_vars,
            tags=project.tags,
        )
        return self._desired

    def _look(self, *, settle_pending: bool) -> HostReport:
        report = self._probed(self._desire(settle_pending=settle_pending))
        tags = self._project.tags
        if tags and report.plan is not None and not report.plan.changes:
            words = ", ".join(sorted(tags))
            return replace(report, message=f"no task for this host has one of the tags {words}")
        return report

    def _probed(self, desired: DesiredState, *, unknowns: tuple[str, ...] = ()) -> HostReport:
        """Ask the host how all that is desired is now, and plan."""
        self._progress.doing(self.host.name, "probing")
        asked = [
            {
                "id": resource.id,
                "kind": resource.kind,
                "name": resource.name,
                "query": KINDS[resource.kind].query(resource),
            }
            for resource in desired.resources
        ]
        asked += loaded_questions(desired.resources, desired.handlers)
        reply = self._connected().request("probe", resources=asked, doing="probing")
        observations = map(observation_from_json, reply["observations"])
        plan = make_plan(
            host=self.host.name,
            created_at=_now(),
            desired=desired.resources,
            handlers=desired.handlers,
            observations={seen.resource_id: seen for seen in observations},
            unknowns=(*self._unsettled, *unknowns),
            owed=self._owed,
        )
        return self._planned(plan)

    def _planned(self, plan: Plan) -> HostReport:
        state: State = "unchanged" if plan.is_empty else "planned"
        return HostReport(host=self.host.name, state=state, plan=plan)

    # --- applying ---------------------------------------------------------------------------------

    def _apply(self, plan: Plan) -> HostReport:
        from deployer.sites.document import sites_to_json

        link, desired = self._connected(), self._desired
        assert desired is not None, "a plan comes from a look"  # noqa: S101
        commit = _new_commit_id()
        self._progress.doing(self.host.name, "applying")
        try:
            link.request(
                "apply",
                plan=plan_to_json(plan),
                commit={
                    "id": commit,
                    "who": self._options.who,
                    "from": self._options.origin,
                    "rollback_duration_s": self._rollback_duration_s(desired),
                    "watchdog": self._is_watched,
                    "sites": sites_to_json(desired.sites),
                },
                on_event=self._on_step,
                doing="applying",
            )
            checks = self._checks(desired, changed_at=time.monotonic())
            failed = [check for check in checks if not check.ok]
            if failed or self._cancelled.is_set():
                why = "interrupted" if self._cancelled.is_set() else "the verification failed"
                return self._revert(commit, plan=plan, checks=checks, why=why)
            return self._confirm(commit, plan=plan, checks=checks)
        except RunnerError as error:
            return self._refused(error, plan)
        except UnreachableError as error:
            return self._settle(commit, plan=plan, lost=error)

    def _rollback_duration_s(self, desired: DesiredState) -> float:
        if self._options.confirm_timeout_s is not None:
            return self._options.confirm_timeout_s
        from deployer.verify import required_s

        return required_s(desired.sites) + _CONFIRM_MARGIN_S

    def _confirm(self, commit: str, *, plan: Plan, checks: tuple[CheckResult, ...]) -> HostReport:
        verified = [f"{check.site} {check.name} {check.target}" for check in checks]
        reply = self._connected().request(
            "confirm", commit=commit, verified=verified, doing="confirming"
        )
        return HostReport(
            host=self.host.name,
            state="confirmed",
            plan=plan,
            checks=checks,
            generation=reply["generation"],
        )

    def _revert(
        self, commit: str, *, plan: Plan, checks: tuple[CheckResult, ...], why: str
    ) -> HostReport:
        self._progress.doing(self.host.name, "reverting")
        reply = self._connected().request(
            "revert", commit=commit, why=why, on_event=self._on_step, doing="reverting"
        )
        return replace(self._after_revert(reply, why=why), plan=plan, checks=checks)

    def _after_revert(self, reply: Mapping[str, Any], *, why: str) -> HostReport:
        kept = tuple(reply.get("kept", ()))
        if reply["state"] == "reverted":
            message = f"{why}; the host is back in its former state"
            return HostReport(host=self.host.name, state="reverted", message=message, kept=kept)
        return HostReport(
            host=self.host.name,
            state="stranded",
            message=f"{why}, and the revert did not succeed: {left_over(reply)}",
            kept=kept,
        )

    def _refused(self, error: RunnerError, plan: Plan) -> HostReport:
        """The runner said no before it began, or failed in the middle and reverted by itself."""
        text = error_words(error, has_secret_output=_is_secret(plan, error))
        if error.code == "not-pending" and error.details.get("state") == "reverted":
            why = "the commit was not confirmed in time"
            return replace(self._after_revert({"state": "reverted"}, why=why), plan=plan)
        if error.code == "no-watchdog":
            text += "\nGive --no-watchdog to apply all the same."
        if error.code in _UNTOUCHED:
            return HostReport(
                host=self.host.name,
                state="failed",
                plan=plan,
                message=f"{text}\nNothing was changed.",
            )
        reverted = error.details.get("revert")
        if isinstance(reverted, Mapping):
            return replace(self._after_revert(reverted, why=text), plan=plan)
        return HostReport(host=self.host.name, state="stranded", message=text, plan=plan)

    def _settle(self, commit: str, *, plan: Plan, lost: UnreachableError) -> HostReport:
        """The connection broke while a commit was under way: ask what became of it."""
        self.close()
        deadline = time.monotonic() + _SETTLE_S
        while time.monotonic() < deadline:
            self._progress.doing(self.host.name, "the connection broke; asking what became of it")
            try:
                state = self._commit_state(commit)
            except UnreachableError:
                self.close()
                if self._cancelled.wait(2.0):
                    break
                continue
            if state == "confirmed":
                return HostReport(host=self.host.name, state="confirmed", plan=plan)
            if state in ("reverted", "unknown"):
                back = "The host is back in its former state."
                message = f"{lost}\n{back if state == 'reverted' else 'Nothing was changed.'}"
                ended: State = "reverted" if state == "reverted" else "unreachable"
                return HostReport(host=self.host.name, state=ended, message=message, plan=plan)
            if state == "revert-failed":
                break
            self._cancelled.wait(0.5)
        return HostReport(
            host=self.host.name,
            state="stranded",
            plan=plan,
            message=f"{lost.problem} while a commit was pending, and what became of it is not "
            "known. The host reverts by itself when it loses its controller; "
            "`deployer history` shows the outcome once it answers again.",
        )

    def _commit_state(self, commit: str) -> str:
        link = self._connected()
        pending = link.request("facts", packages=[], doing="reading facts")["deployer"]["pending"]
        if pending is not None and pending["commit"] == commit:
            return "pending"
        history = link.request("history", doing="reading the history")["generations"]
        return next((entry["state"] for entry in history if entry["commit"] == commit), "unknown")

    # --- verifying --------------------------------------------------------------------------------

    def _checks(
        self, desired: DesiredState, *, changed_at: float | None = None
    ) -> tuple[CheckResult, ...]:
        """Check every site; after a change, a proxy is given a moment to take its new config."""
        if not desired.sites:
            return ()
        from deployer.verify import verify_site

        self._progress.doing(self.host.name, "verifying")
        link = self._connected()
        results: list[CheckResult] = []
        for site in desired.sites:
            results += verify_site(
                site,
                dial=link.open_stream,
                roots_pem=desired.roots.get(site.domain),
                patience_s=_PATIENCE_S if changed_at is not None else 0.0,
                changed_at=changed_at,
                interrupt=self._cancelled,
                on_result=lambda result: self._progress.checked(
                    self.host.name, masked(result, desired.secrets)
                ),
            )
        return tuple(masked(results, desired.secrets))

    def _verify_alone(self) -> HostReport:
        checks = self._checks(self._desire(settle_pending=False))
        healthy = all(check.ok for check in checks)
        return HostReport(
            host=self.host.name,
            state="healthy" if healthy else "unhealthy",
            message="" if checks else "no sites: nothing to verify",
            checks=checks,
        )

    # --- words ------------------------------------------------------------------------------------

    def _on_step(self, event: Mapping[str, Any]) -> None:
        self._progress.step(self.host.name, masked(event, self._secrets))

    @property
    def _secrets(self) -> frozenset[str]:
        return self._desired.secrets if self._desired else frozenset()

    def _reported(self, work: Callable[[], HostReport]) -> HostReport:
        """The report of `work`, or of the error in which it ended."""
        try:
            report = work()
        except (HostError, UsageError) as error:
            report = HostReport(host=self.host.name, state=_state_of(error), message=str(error))
        return replace(
            report,
            message=masked(report.message, self._secrets),
            secrets=self._secrets,
            seconds=time.monotonic() - self._options.started,
        )


def _state_of(error: DeployerError) -> State:
    if isinstance(error, UnreachableError):
        return "unreachable"
    if isinstance(error, StrandedError):
        return "stranded"
    return "invalid" if isinstance(error, UsageError) else "failed"


def _is_secret(plan: Plan, error: RunnerError) -> bool:
    """Whether what failed is a change or a handler whose words must not be shown."""
    hidden = {change.resource_id for change in plan.changes if change.secret}
    hidden |= {f"handler:{run.handler.name}" for run in plan.handlers if run.handler.no_log}
    return error.details.get("resource_id") in hidden


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _new_commit_id() -> str:
    """Sortable by time, and different even for two runs of the same second."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
