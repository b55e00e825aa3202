"""One host's run: the only place that knows both the pure side and the connection.

A run looks (facts, probe, plan), and where something is to be done it applies, verifies, and then
confirms or reverts. Whatever happens in between, the answer is a `HostReport` that says in which
state the host is now. Where a connection breaks, or an answer is not understood, while a commit is
under way, `settling.py` finds out what became of it.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any, cast

from deployer.commit.contact import Contact, Progress, RunOptions, now, standing_of
from deployer.commit.host_status import (
    Standing,
    found_document,
    last_note,
    lock_from,
    under_way_from,
    under_way_words,
    unsettled_notes,
)
from deployer.commit.messages import error_words
from deployer.commit.outcome import HostReport, State
from deployer.errors import (
    ConflictError,
    DeployerError,
    HostError,
    RunnerError,
    StrandedError,
    UnreachableError,
    UsageError,
)
from deployer.model import CheckResult, Host, Observation
from deployer.plan.desired import (
    DesiredState,
    HostFacts,
    desired_state,
    probe_requests,
    question_for,
    with_chains,
)
from deployer.plan.lost_reloads import loaded_questions
from deployer.plan.model import Owed, Plan
from deployer.plan.plan import make_plan, reload_plan
from deployer.plan.ports import ASKED_PORTS, listeners_from, taken_words
from deployer.plan.rollback import former_state
from deployer.plan.wire import observation_from_json, owed_from_json, plan_to_json
from deployer.run.project import Project
from deployer.text.redaction import masked

if TYPE_CHECKING:
    from deployer.commit.canaries import NoCanaries
    from deployer.commit.recover import Recovery
    from deployer.run.measure import Measure
    from deployer.run.sealed.model import SealedHost
    from deployer.sites.acme import CertificatesOnHost
    from deployer.transport import Link
    from deployer.verify.public.hop import PublicHop

#: Errors after which the runner has changed nothing.
_UNTOUCHED = frozenset(
    {
        "stale",
        "no-space",
        "bad-request",
        "no-systemd",
        "no-watchdog",
        "not-begun",
    }
)

#: How long checks that fail right after a change are tried again.
_PATIENCE_S = 5.0

_NO_SYSTEMD = "systemd does not run on this host"

#: What a commit's deadline leaves beyond the time that the checks need.
_CONFIRM_MARGIN_S = 120.0


class HostRun:
    """One host over one connection, from the first look to the last word."""

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
        self._options = options
        self._contact = Contact(host, options=options, progress=progress, cancelled=cancelled)
        self._cancelled = cancelled
        self._desired: DesiredState | None = None
        self._will_change = False
        self._has_systemd = True
        self._asked: Sequence[Mapping[str, Any]] = ()
        self._unsettled: tuple[str, ...] = ()
        self._notes: tuple[str, ...] = ()
        self._found: Mapping[str, Any] | None = None
        self._owed: tuple[Owed, ...] = ()
        self._taken = ""
        self._facts: Mapping[str, Any] = {}

    # --- commands ---------------------------------------------------------------------------------

    def look(self, *, will_change: bool = False) -> HostReport:
        """Connect, probe and plan, changing nothing; report ``planned`` or ``unchanged``.

        With `will_change`, a host on which a change cannot begin now is not looked at any further:
        another run is at work there, or one was interrupted.
        """
        return self._reported(lambda: self._look(will_change=will_change))

    def look_for_reload(self) -> HostReport:
        """Connect and plan a reload of the proxies that the sites are served by."""

        def reload() -> HostReport:
            desired = self._desire(will_change=True)
            plan = reload_plan(
                host=self.host.name,
                created_at=now().isoformat(timespec="seconds"),
                handlers=desired.handlers,
            )
            return self._planned(plan)

        return self._reported(reload)

    def look_for_rollback(self, to: int | None) -> HostReport:
        """Connect and plan the way back to generation `to`, by default the one before the last."""

        def back() -> HostReport:
            about = self._ask_facts(will_change=True)
            reply = self._undo(to)
            former = former_state(reply)
            project = self._project
            roots = {site.domain: project.trusted_root(site) for site in former.sites}
            hidden = project.secrets(self.host, facts=about.facts)
            desired = self._remember(replace(former, roots=roots, secrets=hidden))
            return self._probed(desired, unknowns=tuple(reply["unknown"]))

        return self._reported(back)

    def _undo(self, to: int | None) -> dict[str, Any]:
        try:
            return self._connected().request("undo", to=to, doing="reading the generations")
        except RunnerError as error:
            if error.code != "no-generation":
                raise
            hint = f"To see what there is: {self._contact.again('history')}"
            raise HostError(error.problem, host=self.host.name, hint=hint) from error

    def look_whether_still(self, sealed: SealedHost) -> HostReport:
        """Connect and look whether the host is still what its sealed plan saw."""
        return self._reported(lambda: self._still(sealed))

    def sealed(self, plan: Plan) -> SealedHost:
        """All that an apply of the last look's `plan` needs, without the project."""
        from deployer.run.sealed.model import SealedHost, for_connecting

        desired = self._desired
        assert desired is not None, "a plan comes from a look"  # noqa: S101
        asked = {each["id"]: each for each in [*map(question_for, plan.changes), *self._asked]}
        return SealedHost(
            host=for_connecting(self.host, folder=Path.cwd()),
            becomes_root=self._project.becomes_root(self.host),
            plan=plan,
            asked=tuple(asked[change.resource_id] for change in plan.changes),
            sites=desired.sites,
            roots=desired.roots,
            secrets=desired.secrets,
        )

    def apply(self, plan: Plan) -> HostReport:
        """Apply `plan`, verify, and confirm or revert."""
        about: dict[str, Any] = {"has_watchdog": self._options.watchdog, "notes": self._notes}
        return self._reported(lambda: replace(self._apply(plan), **about))

    def verify(self, measure: Measure | None = None) -> HostReport:
        """Run the checks alone; report ``healthy`` or ``unhealthy``, with what `measure` adds."""
        return self._reported(lambda: self._verify_alone(measure))

    def history(self) -> HostReport:
        """What was applied on the host, newest first."""

        def listed() -> HostReport:
            self._contact.secrets = self._project.secrets(self.host, facts={})
            standing = standing_of(self._contact.facts())
            self._remember_found(standing)
            recover = self._contact.again("recover")
            return HostReport(
                host=self.host.name,
                state="listed",
                history=tuple(masked(self._contact.history(), self._contact.secrets)),
                notes=tuple(unsettled_notes(standing, now=now(), recover=recover)),
            )

        return self._reported(listed)

    # --- certificates -----------------------------------------------------------------------------

    def certificates(self) -> HostReport:
        """How the certificates of the host's sites stand."""
        from deployer.run.certificates import statuses

        return self._reported(
            lambda: statuses(self._contact, self._desire(will_change=False).sites)
        )

    def renew(self, *, force: bool) -> HostReport:
        """Renew what certbot on the host has got; how all stand then."""
        from deployer.run.certificates import renewed

        def work() -> HostReport:
            return renewed(self._contact, self._desire(will_change=False).sites, force=force)

        return self._reported(work)

    def look_for_certificates(self) -> HostReport:
        """Connect and plan what certificates need that are ordered on the controller."""
        from deployer.run.certificates import only_certificates

        def work() -> HostReport:
            whole = self._project
            desired = self._desire(will_change=False)
            if not any(site.tls.certbot == "controller" for site in desired.sites):
                return HostReport(host=self.host.name, state="unchanged")
            self._loaded = only_certificates(whole)
            try:
                return self._look(will_change=True)
            finally:
                self._loaded = whole

        return self._reported(work)

    def look_for_renewal(self, *, remove: bool) -> HostReport:
        """Connect and plan the timer of renewals, or that it goes."""
        from deployer.run.certificates import NOTHING_RENEWS, only_renewal, renews_itself

        def work() -> HostReport:
            whole = self._project
            if not renews_itself(self._desire(will_change=False).sites):
                return HostReport(host=self.host.name, state="unchanged", message=NOTHING_RENEWS)
            self._loaded = only_renewal(whole, remove=remove)
            return self._look(will_change=True)

        return self._reported(work)

    def with_next_run(self, report: HostReport) -> HostReport:
        """`report` with when the host looks after its certificates next."""
        from deployer.run.certificates import NOTHING_RENEWS, next_run_words

        if report.message == NOTHING_RENEWS:
            return report
        return self._reported(lambda: replace(report, message=next_run_words(self._connected())))

    def recover(self) -> HostReport:
        """Take back what an interrupted run has left."""
        return self._recovering(lambda recovery: recovery.recover())

    def look_for_abandon(self) -> HostReport:
        """Look for a commit that can only be given up; report ``planned`` where there is one."""
        return self._recovering(lambda recovery: recovery.look_for_abandon())

    def abandon(self) -> HostReport:
        """Give up a commit that cannot be taken back, and leave the host as it is."""
        return self._recovering(lambda recovery: recovery.abandon())

    def _recovering(self, work: Callable[[Recovery], HostReport]) -> HostReport:
        from deployer.commit.recover import Recovery

        self._contact.secrets = self._project.secrets(self.host, facts={})
        return self._reported(lambda: work(Recovery(self._contact)))

    def stop_orders(self) -> None:
        """Have the host end an order of a certificate that is under way: a CA may take minutes."""
        self._contact.stop_orders()

    def close(self) -> None:
        """Close the connection; a commit that is still pending is then reverted by the host."""
        self._contact.close()

    # --- looking ----------------------------------------------------------------------------------

    @property
    def _project(self) -> Project:
        assert self._loaded is not None, "a sealed plan is applied without one"  # noqa: S101
        return self._loaded

    def _connected(self) -> Link:
        return self._contact.link()

    def _ask_facts(self, *, will_change: bool) -> HostFacts:
        """The host's facts, once nothing there stands in the way of what is to be done.

        Raises:
            HostError: another run is at work there.
            StrandedError: an interrupted run has left something to recover.
        """
        from deployer.sites import ASKED_PACKAGES

        ask = self._contact.free_facts if will_change else self._contact.facts
        reply = ask(ASKED_PACKAGES, ASKED_PORTS)
        standing = standing_of(reply)
        recover = self._contact.again("recover")
        certificates = self._look_at_certificates()
        if will_change and standing.under_way is not None:
            words = under_way_words(standing.under_way, now=now(), recover=recover)
            found = found_document(under_way=standing.under_way, recover=recover)
            raise StrandedError(words, host=self.host.name, found=found)
        self._will_change = will_change
        self._facts = reply["facts"]
        self._has_systemd = reply["facts"]["ansible_service_mgr"] == "systemd"
        self._unsettled = tuple(unsettled_notes(standing, now=now(), recover=recover))
        told = last_note(standing.last, now=now())
        self._notes = (told,) if told else ()
        self._remember_found(standing)
        self._owed = tuple(map(owed_from_json, reply["deployer"]["owed"]))
        return HostFacts(
            facts=reply["facts"],
            packages=reply["packages"],
            certificates=certificates,
            listeners=listeners_from(reply["listeners"]),
            served_by=tuple(reply["deployer"]["proxies"]),
        )

    def _look_at_certificates(self) -> CertificatesOnHost | None:
        """What the host has of certificates, where a site of this run may need to know."""
        if self._loaded is None or not self._loaded.may_order_certificates(self.host):
            return None
        from deployer.certificates.on_host import look

        return look(self._connected())

    def _remember_found(self, standing: Standing) -> None:
        """What stands on the host, as data; a lock tells that its holder's commit is under way."""
        told = last_note(standing.last, now=now())
        self._found = found_document(
            lock=standing.lock,
            under_way=standing.under_way,
            last=standing.last if told else None,
            recover=self._contact.again("recover"),
        )

    def _desire(self, *, will_change: bool) -> DesiredState:
        about = self._ask_facts(will_change=will_change)
        project = self._project
        desired = desired_state(
            project.playbook,
            self.host,
            inventory=project.inventory,
            about=about,
            certificate=project.certificate,
            extra_vars=project.extra_vars,
            tags=project.tags,
            skip_tags=project.skip_tags,
            staging_first=self._options.staging_first,
            on_controller=self._options.certificates,
        )
        self._taken = taken_words(
            desired.sites,
            listeners=about.listeners,
            served_by=about.served_by,
            resources=desired.resources,
        )
        return self._remember(with_chains(desired, about.certificates))

    def _remember(self, desired: DesiredState) -> DesiredState:
        self._desired = desired
        self._contact.secrets = desired.secrets
        return desired

    def _look(self, *, will_change: bool) -> HostReport:
        desired = self._desire(will_change=will_change)
        if self._taken:
            raise ConflictError(self._taken, host=self.host.name)
        report = self._probed(desired)
        tags = self._project.tags
        if tags and report.plan is not None and not report.plan.changes:
            words = ", ".join(sorted(tags))
            return replace(report, message=f"no task for this host has one of the tags {words}")
        if self._project.skip_tags and report.plan is not None and not report.plan.changes:
            words = ", ".join(sorted(self._project.skip_tags))
            return replace(report, message=f"every task for this host has one of the tags {words}")
        return report

    def _probed(self, desired: DesiredState, *, unknowns: tuple[str, ...] = ()) -> HostReport:
        """Ask the host how all that is desired is now, and plan."""
        self._contact.doing("probing")
        self._asked = probe_requests(desired.resources)
        of_proxies = loaded_questions(desired.resources, desired.handlers)
        observations = self._seen([*self._asked, *of_proxies])
        plan = make_plan(
            host=self.host.name,
            created_at=now().isoformat(timespec="seconds"),
            desired=desired.resources,
            handlers=desired.handlers,
            observations={seen.resource_id: seen for seen in observations},
            unknowns=(*self._unsettled, *self._unwatched(), *unknowns),
            owed=self._owed,
        )
        return self._planned(plan)

    def _seen(self, asked: Sequence[Mapping[str, Any]]) -> list[Observation]:
        reply = self._connected().request("probe", resources=list(asked), doing="probing")
        return [observation_from_json(each) for each in reply["observations"]]

    def _load_for(self, plan: Plan) -> None:
        """Give the runner what it needs for certificates, where the plan has any."""
        if any(change.kind == "certificate" for change in plan.changes):
            from deployer.certificates.on_host import load_modules

            load_modules(self._connected())

    def _still(self, sealed: SealedHost) -> HostReport:
        """Compare each resource with what the plan saw of it.

        Raises:
            HostError: they differ, or another run is at work there.
            StrandedError: an interrupted run has left something to recover.
        """
        from deployer.plan.drift import stale_words

        self._desired, self._asked = sealed.desired, sealed.asked
        self._contact.secrets = sealed.secrets
        self._ask_facts(will_change=True)
        self._load_for(sealed.plan)
        self._contact.doing("probing")
        lines = self._differing(sealed.plan)
        if lines:
            hint = "Nothing was changed. Plan again."
            raise HostError(stale_words(lines), host=self.host.name, hint=hint)
        return self._planned(sealed.plan)

    def _differing(self, plan: Plan) -> tuple[str, ...]:
        """What is not as `plan` saw it; contents stay where they are."""
        from deployer.plan.drift import stale_lines

        asked = [
            {**each, "query": {**each["query"], "want_content": False}} for each in self._asked
        ]
        return stale_lines(plan, self._seen(asked))

    def _unwatched(self) -> tuple[str, ...]:
        if self._has_systemd or not self._options.watchdog:
            return ()
        return (f"{_NO_SYSTEMD}: an apply is refused unless --no-watchdog is given",)

    def _planned(self, plan: Plan) -> HostReport:
        """The report of a look.

        Raises:
            HostError: nothing on the host could take the change back.
        """
        if plan.is_empty:
            notes = (*self._notes, *self._unsettled)
            return HostReport(host=self.host.name, state="unchanged", plan=plan, notes=notes)
        plan = self._with_forecasts(plan)
        if self._will_change and self._unwatched():
            raise HostError(
                f"{_NO_SYSTEMD}, so nothing could take the changes back if this run were cut off",
                host=self.host.name,
                hint="Nothing was changed. Give --no-watchdog to apply all the same.",
            )
        return HostReport(host=self.host.name, state="planned", plan=plan, notes=self._notes)

    def _with_forecasts(self, plan: Plan) -> Plan:
        """`plan` with what it means to the clients of a proxy that runs now.

        The runner is given what it needs for that, and to look whether a proxy can load its
        configuration, where one will.
        """
        from deployer.commit.running_proxies import connections_of, load_modules
        from deployer.plan.forecast import effects, forecasts, loads_proxy

        units = effects(plan)
        if not units and not loads_proxy(plan):
            return plan
        link, sites = self._connected(), self._desired.sites if self._desired else ()
        load_modules(link)
        counted = connections_of(link, units) if units and self._has_systemd else {"units": {}}
        return replace(plan, forecasts=forecasts(plan, connections=counted, sites=sites))

    # --- applying ---------------------------------------------------------------------------------

    def _apply(self, plan: Plan) -> HostReport:
        """Apply `plan` with connections held open around it, which tell what it does to clients."""
        from deployer.commit.canaries import canaries_around

        desired = self._desired
        with canaries_around(
            plan,
            desired.sites if desired else (),
            self._connected(),
            count=self._options.canaries,
            has_systemd=self._has_systemd,
            cancelled=self._cancelled,
            doing=self._contact.doing,
        ) as canaries:
            report = self._applied(plan, canaries)
            is_another = report.state != "confirmed"
            return replace(report, survival=canaries.survival(asks_again=is_another))

    def _applied(self, plan: Plan, canaries: NoCanaries) -> HostReport:
        from deployer.commit.heartbeat import heartbeat
        from deployer.commit.settle import Settling
        from deployer.sites.document import sites_to_json

        link, desired = self._connected(), self._desired
        assert desired is not None, "a plan comes from a look"  # noqa: S101
        commit, duration_s = _new_commit_id(), self._rollback_duration_s(desired)
        settle = partial(Settling, self._contact, commit, rollback_duration_s=duration_s)
        self._contact.doing("applying")
        try:
            link.request(
                "apply",
                plan=plan_to_json(plan),
                commit={
                    "id": commit,
                    "who": self._options.who,
                    "from": self._options.origin,
                    "rollback_duration_s": duration_s,
                    "watchdog": self._options.watchdog,
                    "keep": self._options.keep,
                    "sites": sites_to_json(desired.sites),
                },
                on_event=self._on_event(link, desired, canaries),
                doing="applying",
            )
            canaries.changed()
            desired = self._desired = self._with_new_chains(link, plan, desired)
        except RunnerError as error:
            refused = self._refused(error, plan)
            return replace(refused or settle(why=error.problem).report(), plan=plan)
        except UnreachableError as error:
            return replace(settle(why=error.problem).report(), plan=plan)
        checks: tuple[CheckResult, ...] = ()
        try:
            with heartbeat(link, commit, rollback_duration_s=duration_s):
                checks = self._checks(desired, changed_at=time.monotonic())
                checks += self._told(canaries.checks())
                ended = self._decided(commit, checks)
        except RunnerError as error:
            ended = self._too_late(error) or settle(why=error.problem).report()
        except UnreachableError as error:
            ended = settle(why=error.problem).report()
        return replace(ended, plan=plan, checks=checks)

    def _told(self, checks: tuple[CheckResult, ...]) -> tuple[CheckResult, ...]:
        for check in checks:
            self._contact.checked(check)
        return tuple(masked(checks, self._contact.secrets))

    def _on_event(
        self, link: Link, desired: DesiredState, canaries: NoCanaries
    ) -> Callable[[Mapping[str, Any]], None]:
        """Tell what happens on the host, and answer what it asks."""

        def on_event(event: Mapping[str, Any]) -> None:
            canaries.on_event(event)
            if self._cancelled.is_set():
                self.stop_orders()  # one may have begun only now
            if event.get("event") != "ask":
                self._contact.on_step(event)
                return
            from deployer.certificates.answers import Answers

            answers = Answers(
                self.host,
                link,
                sites=desired.sites,
                certificates=self._options.certificates,
                cancelled=self._cancelled,
            )
            answers.answer(event["question"])

        return on_event

    def _with_new_chains(self, link: Link, plan: Plan, desired: DesiredState) -> DesiredState:
        """What the sites' certificates lead to, now that they have been ordered."""
        if not any(change.kind == "certificate" for change in plan.changes):
            return desired
        from deployer.certificates.on_host import look

        return with_chains(desired, look(link))

    def _rollback_duration_s(self, desired: DesiredState) -> float:
        if self._options.confirm_timeout_s is not None:
            return self._options.confirm_timeout_s
        from deployer.verify import required_s

        return required_s(desired.sites) + _CONFIRM_MARGIN_S

    def _decided(self, commit: str, checks: tuple[CheckResult, ...]) -> HostReport:
        """Confirm what every check confirms, and have anything else taken back."""
        if all(check.ok for check in checks) and not self._cancelled.is_set():
            return self._confirm(commit, checks)
        why = "interrupted" if self._cancelled.is_set() else "the verification failed"
        from deployer.commit.settle import after_revert

        reply = self._contact.revert(commit, why=why, doing="reverting")
        return after_revert(self._contact, reply, why=why)

    def _confirm(self, commit: str, checks: tuple[CheckResult, ...]) -> HostReport:
        from deployer.verify.summary import summary_lines

        reply = self._connected().request(
            "confirm", commit=commit, verified=summary_lines(checks), doing="confirming"
        )
        return HostReport(host=self.host.name, state="confirmed", generation=reply["generation"])

    def _stale_words(self, plan: Plan, error: RunnerError) -> str:
        """How what the runner names differs from what the plan saw of it."""
        from deployer.plan.drift import stale_words

        named = cast("list[str]", error.details["resource_ids"])
        return stale_words(self._differing(plan), named=named)

    def _refused(self, error: RunnerError, plan: Plan) -> HostReport | None:
        """What the runner's no to an apply means; `None` where that has to be asked.

        Either it has not begun, or it has failed in the middle and taken everything back.
        """
        from deployer.commit.settle import after_revert

        text = error_words(error, has_secret_output=_is_secret(plan, error))
        if error.code == "stale":
            text = self._stale_words(plan, error)
        if error.code == "locked":
            raise self._contact.locked(lock_from(error.details)) from error
        if error.code == "pending":
            found = under_way_from(error.details)
            words = under_way_words(found, now=now(), recover=self._contact.again("recover"))
            raise StrandedError(
                words,
                host=self.host.name,
                found=found_document(under_way=found, recover=self._contact.again("recover")),
            ) from error
        if error.code in ("no-systemd", "no-watchdog"):
            text += "\nGive --no-watchdog to apply all the same."
        if error.code in _UNTOUCHED:
            message = f"{text}\nNothing was changed."
            return HostReport(host=self.host.name, state="failed", message=message)
        reverted = error.details.get("revert")
        if isinstance(reverted, Mapping):
            return after_revert(self._contact, reverted, why=text)
        return None

    def _too_late(self, error: RunnerError) -> HostReport | None:
        """The report where the host has taken the commit back before it could be confirmed."""
        if error.code != "not-pending" or error.details.get("state") != "reverted":
            return None
        from deployer.commit.settle import after_revert

        why = "the commit was not confirmed in time"
        return after_revert(self._contact, {"state": "reverted"}, why=why)

    # --- verifying --------------------------------------------------------------------------------

    def _checks(
        self,
        desired: DesiredState,
        *,
        changed_at: float | None = None,
        public: PublicHop | None = None,
    ) -> tuple[CheckResult, ...]:
        """Check every site; after a change, a proxy is given a moment to take its new config.

        With `public`, by DNS from here too: that decides over no commit, as no revert mends DNS.
        """
        if not desired.sites:
            return ()
        from deployer.verify import verify_site

        self._contact.doing("verifying")
        link = self._connected()
        results: list[CheckResult] = []
        dial = public.dial(self._cancelled) if public else None
        known = None
        if public is not None and dial is not None:
            known = partial(public.addresses, self.host, self._facts, dial)
        for site in desired.sites:
            results += verify_site(
                site,
                dial=link.open_stream,
                roots_pem=desired.roots.get(site.domain),
                patience_s=_PATIENCE_S if changed_at is not None else 0.0,
                changed_at=changed_at,
                interrupt=self._cancelled,
                on_result=self._contact.checked,
                public=dial,
                addresses=known,
            )
        return tuple(masked(self._explained(desired, results), desired.secrets))

    def _explained(self, desired: DesiredState, results: list[CheckResult]) -> list[CheckResult]:
        """What has failed, with the causes that the host's own configuration tells."""
        if all(result.ok for result in results) or self._cancelled.is_set():
            return results
        from deployer.commit.running_proxies import explained_by_host

        self._contact.doing("looking for the cause")
        return explained_by_host(self._connected(), desired.sites, results)

    def _verify_alone(self, measure: Measure | None) -> HostReport:
        desired = self._desire(will_change=False)
        public = self._options.public
        checks = self._checks(desired, public=public)
        if public is None:
            from deployer.verify.public.hop import public_skipped

            checks += self._told(public_skipped(desired.sites))
        healthy = all(check.ok for check in checks)
        report = HostReport(
            host=self.host.name,
            state="healthy" if healthy else "unhealthy",
            message="" if checks else "no sites: nothing to verify",
            checks=checks,
            notes=self._unsettled,
        )
        return report if measure is None else measure(self._contact, desired, report)

    # --- words ------------------------------------------------------------------------------------

    def _reported(self, work: Callable[[], HostReport]) -> HostReport:
        """The report of `work`, or of the error in which it ended."""
        try:
            report = work()
        except (HostError, UsageError) as error:
            report = HostReport(
                host=self.host.name,
                state=_state_of(error),
                message=str(error).removeprefix(f"{self.host.name}: "),
                found=error.found if isinstance(error, HostError) else None,
            )
        return replace(
            report,
            found=masked(report.found or self._found, self._contact.secrets),
            message=masked(report.message, self._contact.secrets),
            notes=masked(report.notes, self._contact.secrets),
            secrets=self._contact.secrets,
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


def _new_commit_id() -> str:
    """Sortable by time, and different even for two runs of the same second."""
    return f"{now():%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
