"""Plans one host: asks for its facts, renders the desired state, probes, and compares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from deployer.commit.contact import Contact, now, status_of
from deployer.commit.host_status import (
    HostStatus,
    last_note,
    status_document,
    unfinished_notes,
    unfinished_words,
)
from deployer.commit.outcome import HostReport
from deployer.errors import AgentError, ConflictError, HostError, StrandedError
from deployer.model import Document, Observation
from deployer.plan.desired import (
    CertificateSources,
    DesiredState,
    HostFacts,
    desired_state,
    probe_request_for,
    probe_requests,
    with_chains,
)
from deployer.plan.lost_reloads import loaded_requests
from deployer.plan.model import Owed, Plan
from deployer.plan.plan import make_plan, reload_plan
from deployer.plan.ports import asked_ports, listeners_from, port_conflicts
from deployer.plan.unsupported import ASKED_TOOLS, refusal, system_from
from deployer.plan.wire import observation_from_json, owed_from_json

if TYPE_CHECKING:
    from deployer.agent.replies import Managed, RollbackRecord, UndoReply
    from deployer.commit.neighbours import Neighbourhood
    from deployer.plan.leftovers import Leftovers
    from deployer.plan.ports import Listener
    from deployer.run.project import Project
    from deployer.run.sealed.model import SealedHost
    from deployer.sites.acme import CertificatesOnHost

_NO_SYSTEMD = "systemd does not run on this host"


@dataclass(frozen=True, slots=True, kw_only=True)
class HostState:
    """A host as its reply to ``facts`` describes it.

    `listeners` are the processes on the ports of sites, `owed` handlers that an earlier run did not
    get to. `notes` report how the last commit ended, `warnings` what may still change while this
    run reads the host. `rollback` is the newest rollback, until a later plan has been confirmed for
    what it restored; `managed` is what deployer has created there.
    """

    facts: Mapping[str, object] = field(default_factory=dict)
    has_systemd: bool = True
    listeners: tuple[Listener, ...] = ()
    owed: tuple[Owed, ...] = ()
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    rollback: RollbackRecord | None = None
    managed: Managed | None = None


def _tags_words(project: Project) -> str:
    """Why nothing is to be done, if that is due to tags."""
    if project.tags:
        return f"no task for this host has one of the tags {', '.join(sorted(project.tags))}"
    if project.skip_tags:
        tags = ", ".join(sorted(project.skip_tags))
        return f"every task for this host has one of the tags {tags}"
    return ""


class HostPlanner:
    """Plans over the connection of `contact`, and remembers what an apply then needs.

    `desired` belongs to the last plan. `found` is the unfinished or last commit on the host, or the
    run that holds its lock, for ``--json``.
    """

    def __init__(self, contact: Contact) -> None:
        self._contact = contact
        self._host = contact.host
        self.state = HostState()
        self.desired: DesiredState | None = None
        self.found: Document | None = None
        self._will_change = False
        self._neighbourhood: Neighbourhood | None = None
        self._asked: Sequence[Document] = ()

    @property
    def neighbourhood(self) -> Neighbourhood:
        """What the host's proxies serve for others; a run without changes needs none."""
        if self._neighbourhood is None:
            from deployer.commit.neighbours import Neighbourhood

            self._neighbourhood = Neighbourhood(self._contact)
        return self._neighbourhood

    # --- plans ------------------------------------------------------------------------------------

    def plan(self, project: Project, *, will_change: bool) -> HostReport:
        """Plan what `project` wants; report ``planned`` or ``unchanged``.

        With `will_change`, a host that cannot be changed now is an error: another run is at work
        there, or an interrupted one left a commit behind.
        """
        about = self._ask_facts(project, will_change=will_change)
        desired, leftovers = self._desired_with_leftovers(project, about)
        self._refuse_unsupported(about, desired)
        taken = port_conflicts(
            desired.sites,
            listeners=about.listeners,
            served_by=about.served_by,
            resources=desired.resources,
        )
        if taken:
            raise ConflictError(taken, host=self._host.name)
        report = self._probed(desired, leftovers=leftovers)
        if report.plan is not None and not report.plan.changes:
            return replace(report, message=_tags_words(project))
        return report

    def plan_reload(self, project: Project) -> HostReport:
        """Plan a reload of the proxies that serve the sites."""
        plan = reload_plan(
            host=self._host.name,
            created_at=now().isoformat(timespec="seconds"),
            handlers=self.desire(project, will_change=True).handlers,
        )
        return self._planned(plan)

    def plan_rollback(self, project: Project, to: int | None) -> HostReport:
        """Plan the return to generation `to`; by default the one before the last."""
        about = self._ask_facts(project, will_change=True)
        reply = self._undo(to)
        from deployer.run.rollback import Rollback

        rollback, link = Rollback(reply, project, self._host, about), self._contact.link()
        desired = self._remember(rollback.desired(link))
        report = self._probed(desired, unknowns=rollback.unknowns)
        if report.plan is None:
            return report
        managed = self.state.managed
        self._remember(rollback.with_changed_sites(desired, report.plan, managed, link))
        return report

    def _undo(self, to: int | None) -> UndoReply:
        try:
            return self._contact.link().request("undo", to=to, doing="reading the generations")
        except AgentError as error:
            if error.code != "no-generation":
                raise
            hint = f"To see what there is: {self._contact.again('history')}"
            raise HostError(error.problem, host=self._host.name, hint=hint) from error

    # --- sealed plans -----------------------------------------------------------------------------

    def seal(self, project: Project, plan: Plan) -> SealedHost:
        """Everything that a later apply of the last `plan` needs, without the project."""
        from deployer.run.sealed.model import SealedHost, connection_host

        desired = self.desired
        assert desired is not None, "a plan has a desired state"  # noqa: S101 - for mypy
        return SealedHost(
            host=connection_host(self._host, folder=Path.cwd()),
            becomes_root=project.becomes_root(self._host),
            plan=plan,
            asked=self._asked_about(plan),
            sites=desired.sites,
            roots=desired.roots,
            secrets=desired.secrets,
            displaces=desired.displaces | self._contact.options.displaces,
            leaving=desired.leaving,
            removed=desired.removed,
            managed=desired.managed,
        )

    def check_sealed(self, sealed: SealedHost) -> HostReport:
        """Compare each resource with its state when the plan was sealed.

        Raises:
            HostError: they differ, or another run is at work there.
            StrandedError: an interrupted run left a commit to recover.
        """
        from deployer.plan.drift import stale_text

        self._asked = sealed.asked
        desired = self._remember(sealed.desired)
        self._refuse_unsupported(self._ask_facts(None, will_change=True), desired)
        self._contact.doing("probing")
        lines = self.differences(sealed.plan)
        if lines:
            hint = "Nothing was changed. Plan again."
            raise HostError(stale_text(lines), host=self._host.name, hint=hint)
        return self._planned(sealed.plan)

    def differences(self, plan: Plan) -> tuple[str, ...]:
        """How the host differs from what `plan` was made for; contents are not transferred."""
        from deployer.plan.drift import stale_lines

        asked = [
            {**each, "query": {**each["query"], "want_content": False}}
            for each in self._asked_about(plan)
        ]
        return stale_lines(plan, self._seen(asked))

    def _asked_about(self, plan: Plan) -> tuple[Document, ...]:
        """The query about each change of `plan`, also of changes that the plan itself adds."""
        every = [*map(probe_request_for, plan.changes), *self._asked]
        asked: dict[object, Document] = {each["id"]: each for each in every}
        return tuple(asked[change.resource_id] for change in plan.changes)

    # --- parts ------------------------------------------------------------------------------------

    def desire(self, project: Project, *, will_change: bool) -> DesiredState:
        """The desired state of the host; see `plan` for `will_change`."""
        return self._desired(project, self._ask_facts(project, will_change=will_change))

    def _desired(self, project: Project, about: HostFacts) -> DesiredState:
        desired = self._rendered(project, about)
        if project.drain is not None:
            from deployer.sites.drains import changed

            about = replace(about, drained=changed(desired.sites, project.drain))
            desired = replace(self._rendered(project, about), purpose=str(project.drain))
        if any(about.drained.values()):
            from deployer.sites.drains import notes

            drained = notes(desired.sites, command=self._contact.again("drain"))
            every = dict.fromkeys((*self.state.notes, *drained))
            self.state = replace(self.state, notes=tuple(every))
        return self._remember(with_chains(desired, about.certificates))

    def _rendered(self, project: Project, about: HostFacts) -> DesiredState:
        options = self._contact.options
        return desired_state(
            project.playbook,
            self._host,
            inventory=project.inventory,
            about=about,
            certificates=CertificateSources(
                from_files=project.certificate,
                staging_first=options.staging_first,
                on_controller=options.certificates,
            ),
            options=project.render_options,
        )

    def _remember(self, desired: DesiredState) -> DesiredState:
        self.desired = desired
        self._contact.secrets = desired.secrets
        return desired

    def _ask_facts(self, project: Project | None, *, will_change: bool) -> HostFacts:
        """The host's facts, if the command may go on.

        Raises:
            HostError: another run is at work there.
            StrandedError: an interrupted run left a commit to recover.
        """
        from deployer.proxies.roles import ASKED_PACKAGES

        ask = self._contact.free_facts if will_change else self._contact.facts
        plays = project.playbook.plays if project else ()
        ports = asked_ports(site for play in plays for site in play.sites)
        reply = ask({"packages": ASKED_PACKAGES, "ports": ports, "tools": ASKED_TOOLS})
        status = status_of(reply)
        recover = self._contact.again("recover")
        certificates = self._look_at_certificates(project)
        if will_change and status.unfinished is not None:
            words = unfinished_words(status.unfinished, now=now(), recover=recover)
            found = status_document(unfinished=status.unfinished, recover=recover)
            raise StrandedError(words, host=self._host.name, found=found)
        self._will_change = will_change
        note = self.remember_found(status)
        self.state = HostState(
            facts=reply["facts"],
            has_systemd=reply["facts"]["ansible_service_mgr"] == "systemd",
            listeners=listeners_from(reply["listeners"]),
            owed=tuple(map(owed_from_json, reply["deployer"]["owed"])),
            notes=(note,) if note else (),
            warnings=tuple(unfinished_notes(status, now=now(), recover=recover)),
            rollback=reply["deployer"]["rollback"],
            managed=reply["deployer"]["managed"],
        )
        return HostFacts(
            facts=reply["facts"],
            packages=reply["packages"],
            certificates=certificates,
            listeners=self.state.listeners,
            served_by=tuple(reply["deployer"]["proxies"]),
            system=system_from(reply["system"]),
            shared=reply["shared"],
            drained=self.state.managed.get("drained", {}) if self.state.managed else {},
        )

    def _refuse_unsupported(self, about: HostFacts, desired: DesiredState) -> None:
        """Raises: ConflictError, if the host's distribution lacks what `desired` needs."""
        words = refusal(about.system, desired)
        if words:
            raise ConflictError(words, host=self._host.name)

    def remember_found(self, status: HostStatus) -> str:
        """Keep `status` for the report; a note on the last commit, if it was rolled back."""
        note = last_note(status.last, now=now())
        self.found = status_document(
            lock=status.lock,
            unfinished=status.unfinished,
            last=status.last if note else None,
            recover=self._contact.again("recover"),
        )
        return note

    def _look_at_certificates(self, project: Project | None) -> CertificatesOnHost | None:
        """The certificates on the host, if a site of this run may need them."""
        if project is None or not project.may_order_certificates(self._host):
            return None
        from deployer.certificates.on_host import look

        return look(self._contact.link())

    def _desired_with_leftovers(
        self, project: Project, about: HostFacts
    ) -> tuple[DesiredState, Leftovers]:
        """The desired state; files with the sites of several playbooks lack the removed ones."""
        desired = self._desired(project, about)
        leftovers = self._leftovers(project, desired)
        removed = leftovers.removed_domains()
        if removed and about.shared:
            desired = self._desired(project, replace(about, removed=removed))
            leftovers = self._leftovers(project, desired)
        return desired, leftovers

    def _leftovers(self, project: Project, desired: DesiredState) -> Leftovers:
        from deployer.plan.leftovers import Leftovers

        return Leftovers(
            self.state.managed,
            desired,
            project.identity,
            self._contact.options.prune,
            is_gone=lambda path: not Path(path).exists(),
        )

    def _probed(
        self,
        desired: DesiredState,
        *,
        unknowns: tuple[str, ...] = (),
        leftovers: Leftovers | None = None,
    ) -> HostReport:
        """Ask the host for the present state of everything desired, and plan."""
        self._contact.doing("probing")
        self._asked = probe_requests(desired.resources)
        of_proxies = loaded_requests(desired.resources, desired.handlers)
        left = leftovers.probe_requests() if leftovers else []
        seen = self._seen([*self._asked, *of_proxies, *left])
        observations = {each.resource_id: each for each in seen}
        if desired.undoes:
            from deployer.plan.rollback import with_types_replaced

            desired, observations = with_types_replaced(desired, observations)
        if leftovers is not None:
            desired = self._without_leftovers(desired, leftovers, observations)
        plan = make_plan(
            host=self._host.name,
            created_at=now().isoformat(timespec="seconds"),
            desired=desired.resources,
            handlers=desired.handlers,
            observations=observations,
            unknowns=(*self.state.warnings, *self._unwatched(), *unknowns),
            owed=self.state.owed,
        )
        if leftovers is not None:
            plan = replace(plan, left_over=leftovers.documents(observations))
            if plan.is_empty:
                self._claim(leftovers, desired)
        return self._planned(plan)

    def _without_leftovers(
        self,
        desired: DesiredState,
        leftovers: Leftovers,
        observations: Mapping[str, Observation],
    ) -> DesiredState:
        """`desired` with removals, and with the record of what the playbook names."""
        from deployer.plan.removal import without_leftovers

        removal = without_leftovers(desired, leftovers, observations)
        notes = (*leftovers.notes(observations.values()), *removal.notes)
        self.state = replace(self.state, notes=(*self.state.notes, *notes))
        record = leftovers.record(observations.values())
        return self._remember(replace(removal.desired, managed=record))

    def _claim(self, leftovers: Leftovers, desired: DesiredState) -> None:
        """Record what the playbook names if no commit does; a dry run records nothing."""
        if self._will_change and desired.managed and leftovers.needs_claim(desired.managed):
            self._contact.link().request(
                "claim", managed=desired.managed, doing="recording the playbook"
            )

    def _seen(self, asked: Sequence[Mapping[str, object]]) -> list[Observation]:
        reply = self._contact.link().request("probe", resources=list(asked), doing="probing")
        return [observation_from_json(each) for each in reply["observations"]]

    def _unwatched(self) -> tuple[str, ...]:
        if self.state.has_systemd or not self._contact.options.watchdog:
            return ()
        return (f"{_NO_SYSTEMD}: an apply is refused unless --no-watchdog is given",)

    def _planned(self, plan: Plan) -> HostReport:
        """The report on `plan`, which is ``failed`` if it would remove names of others.

        Raises:
            HostError: nothing on the host could roll the change back.
        """
        host, state = self._host.name, self.state
        if plan.is_empty:
            notes = (*state.notes, *state.warnings)
            return HostReport(host=host, state="unchanged", plan=plan, notes=notes)
        plan = self._with_forecasts(plan)
        if self.desired is not None:
            plan = self.neighbourhood.with_displaced(plan, self.desired, state.managed)
        if self._will_change and self._unwatched():
            raise HostError(
                f"{_NO_SYSTEMD}, so nothing could take the changes back if this run were cut off",
                host=host,
                hint="Nothing was changed. Give --no-watchdog to apply all the same.",
            )
        refusal = self.neighbourhood.refusal(plan)
        if refusal:
            return HostReport(
                host=host, state="failed", message=refusal, plan=plan, notes=self._notes(plan)
            )
        return HostReport(host=host, state="planned", plan=plan, notes=self._notes(plan))

    def _notes(self, plan: Plan) -> tuple[str, ...]:
        """The notes on the host, on certificates of other CAs, and on a rollback to be undone."""
        from deployer.certificates.replaced import replaced_certificates

        desired, state = self.desired, self.state
        notes = (*state.notes, *replaced_certificates(plan))
        if state.rollback is None or desired is None or desired.rolls_back_to is not None:
            return notes
        from deployer.commit.rollback_note import undo_note

        note = undo_note(plan, state.rollback, now=now())
        return (*notes, note) if note else notes

    def _with_forecasts(self, plan: Plan) -> Plan:
        """`plan` with its effects on the clients of a running proxy, and who has its ports."""
        plan = self._with_holders(plan)
        from deployer.commit.running_proxies import connections_of
        from deployer.plan.forecast import effects, forecasts, loads_proxy

        units = effects(plan)
        if not units and not loads_proxy(plan):
            return plan
        link, sites = self._contact.link(), self.desired.sites if self.desired else ()
        has_count = bool(units) and self.state.has_systemd
        counted = connections_of(link, units) if has_count else {"units": {}}
        return replace(plan, forecasts=forecasts(plan, connections=counted, sites=sites))

    def _with_holders(self, plan: Plan) -> Plan:
        """`plan` with a note on each process that has the port of a service that it starts."""
        from deployer.plan.started import asked_endpoints, holder_notes

        endpoints = asked_endpoints(plan, self.desired.sites if self.desired else ())
        if not endpoints:
            return plan
        reply = self._contact.link().request("holders", endpoints=endpoints, doing="probing")
        return replace(plan, notes=tuple(holder_notes(plan, endpoints, reply["holders"])))
