"""What a host's proxies serve for others, around a change: its names, and their answers.

A plan that would remove a name is shown with it, and refused unless that was agreed to. Before a
commit the names are requested through the SSH connection, and again after it: an answer that got
worse fails the commit.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from deployer.agent.kinds import thing
from deployer.commit.neighbour_watch import (
    ADVICE,
    BEFORE_S,
    MOST_NOTES,
    Watch,
    access_to,
    asked_now,
)
from deployer.errors import AgentError, HostError
from deployer.plan.forecast import effects
from deployer.plan.model import Plan
from deployer.plan.removal import REASON
from deployer.proxies import PROXIES
from deployer.resources import PATH_KINDS

if TYPE_CHECKING:
    from deployer.agent.replies import Managed
    from deployer.commit.contact import Contact
    from deployer.plan.desired import DesiredState
    from deployer.plan.displaced import Ownership
    from deployer.proxies.inspect import Inspection
    from deployer.proxies.inspect.names import ServedName
    from deployer.verify.neighbours.model import NeighbourAnswer

#: How long an inspection may be reused: a user may think about a plan for hours.
_FRESH_S = 30.0
_LOGIN = 401


class Neighbourhood:
    """The names that the running proxies of one host serve; the host is asked when needed."""

    def __init__(self, contact: Contact) -> None:
        self._contact = contact
        self._inspection: Inspection | None = None
        self._inspected_at = 0.0
        self._idle: set[ServedName] = set()
        self._problem = ""
        self._clash = ""
        self._blocked: tuple[str, ...] = ()
        self._brought: frozenset[str] = frozenset()

    def _inspect(self) -> Inspection | None:
        """The running proxies; `None` with `_problem` if they could not be inspected."""
        from deployer.commit.running_proxies import inspected

        is_fresh = time.monotonic() - self._inspected_at < _FRESH_S
        if self._inspection is None or not is_fresh:
            self._contact.doing("listing the names that are served")
            try:
                self._inspection = inspected(self._contact.link(), running=True)
            except AgentError as error:
                self._problem = error.problem
                return None
            self._inspected_at = time.monotonic()
        return self._inspection

    def _unlisted(self, inspection: Inspection | None, plan: Plan) -> tuple[str, ...]:
        """Why some of the names that the host serves are unknown; empty if all are known."""
        from deployer.proxies.inspect.unlisted import unlisted

        if inspection is None:
            return (self._problem,)
        written = {
            change.name
            for change in plan.changes
            if change.kind in PATH_KINDS and change.action != "no-op"
        }
        try:
            found = unlisted(inspection, written=written)
        except Exception as error:  # no configuration may crash a commit
            found = (f"the proxies' configuration is not understood: {error!r}",)
        return found or ((self._problem,) if self._problem else ())

    def _served(self, inspection: Inspection) -> tuple[ServedName, ...]:
        from deployer.proxies.inspect.names import served_names

        try:
            return served_names(inspection.proxies)
        except Exception as error:  # no configuration may crash a commit
            self._problem = f"the proxies' configuration is not understood: {error!r}"
            return ()

    def _ended_defaults(self, inspection: Inspection, plan: Plan) -> frozenset[ServedName]:
        """The default servers of the proxies that `plan` stops."""
        from deployer.plan.predicted import still_running

        left = still_running(inspection.proxies, plan)
        ended = [state for state in inspection.proxies if state not in left]
        found = self._served(replace(inspection, proxies=tuple(ended)))
        return frozenset(each for each in found if each.is_default)

    # --- the plan ---------------------------------------------------------------------------------

    def with_displaced(
        self, plan: Plan, desired: DesiredState, managed: Managed | None = None
    ) -> Plan:
        """`plan` with the names that it removes, and its effects on those that stay."""
        if not _may_displace(plan):
            return plan
        inspection = self._inspect()
        if inspection is None or not inspection.proxies:
            self._blocked = self._unlisted(inspection, plan)
            return plan
        from deployer.plan.clashes import clash_words
        from deployer.plan.displaced import Ownership, displaced
        from deployer.plan.not_loaded import not_loaded
        from deployer.plan.predicted import files_taken_back, names_left
        from deployer.plan.side_effects import side_effects

        proxies = inspection.proxies
        before = self._served(inspection)
        self._blocked = self._unlisted(inspection, plan)
        try:
            left = names_left(proxies, plan) if before else ()
            self._clash = clash_words(before, left)
            own = _own_files(desired, managed)
            files = files_taken_back(proxies, plan, undoes=desired.undoes, own=own)
            undone_files = files_taken_back(proxies, plan, undoes=desired.undoes, own=())
            found_effects = side_effects(before, left, plan, names_of(desired))
            effects_on_others = (*found_effects, *not_loaded(proxies, plan))
        except Exception:  # no configuration may crash a plan; the requests show what is lost
            return plan
        self._brought = files
        self._idle.update(each for each in before if each.file in undone_files)
        undone = frozenset(each.name for each in before if each.file in files and each.name)
        ports = {(each.port, each.socket) for each in left if each.is_default}
        closed = (e for e in before if e.is_default and (e.port, e.socket) not in ports)
        before = self._without(before, {each for each in closed if each.file in files})
        ownership = Ownership(
            own=names_of(desired),
            leaving=desired.leaving | undone,
            consented=self._consented(desired),
        )
        found = displaced(before, left, ownership)
        if any(not each.name for each in found):
            before = self._without_idle_defaults(before, left, ownership)
            found = displaced(before, left, ownership)
        if any(each.name for each in found):
            former = frozenset(self._former_names(desired))
            ownership = replace(ownership, leaving=former | desired.leaving | undone)
            found = displaced(before, left, ownership)
        return replace(plan, displaced=found, side_effects=effects_on_others)

    def _consented(self, desired: DesiredState) -> frozenset[str]:
        return desired.displaces | self._contact.options.displaces

    def _without_idle_defaults(
        self,
        before: Sequence[ServedName],
        left: Sequence[ServedName],
        ownership: Ownership,
    ) -> tuple[ServedName, ...]:
        """`before` without default servers that serve nothing: a refusal, or the stock page."""
        from deployer.plan.displaced import displaced

        lost = [each for each in before if each.is_default and displaced([each], left, ownership)]
        answers = self._asked_once(lost)
        idle = {
            each
            for each, answer in zip(lost, answers, strict=True)
            if answer is None
            or answer.failure
            or answer.is_stock
            or (_is_refusal(answer) and not each.forwards)
        }
        return self._without(before, idle)

    def _without(
        self, served: Sequence[ServedName], idle: Collection[ServedName]
    ) -> tuple[ServedName, ...]:
        """`served` without those of `idle` that the plan may remove: they are not watched."""
        self._idle.update(idle)
        return tuple(each for each in served if each not in idle)

    def _asked_once(self, served: Sequence[ServedName]) -> list[NeighbourAnswer | None]:
        from deployer.verify.neighbours.requests import first_request

        requests = [first_request(each) for each in served]
        return asked_now(self._contact, requests, access_to(self._contact, BEFORE_S))

    def _former_names(self, desired: DesiredState) -> set[str]:
        """Names that sites of this run have had in earlier generations."""
        own = {site.domain for site in desired.sites}
        return {
            name
            for record in self._contact.history()
            for site in record.get("sites", ())
            if site["domain"] in own
            for name in (site["domain"], *site["aliases"])
        }

    def refusal(self, plan: Plan) -> str:
        """Why a plan is refused that removes names without the user's consent; else empty.

        Nor may it begin if the names are unknown, unless the user agrees to that.
        """
        if self._blocked and self._contact.options.neighbours:
            return f"{_unlisted_words(self._blocked)}\n{ADVICE}"
        if self._clash or not plan.displaced:
            return self._clash
        from deployer.plan.displaced import refusal_words, refused

        names = refused(plan.displaced)
        return refusal_words(names) if names else ""

    # --- the commit -------------------------------------------------------------------------------

    def watch(self, plan: Plan, desired: DesiredState) -> Watch:
        """Ask every name that must answer as before, now that nothing has changed yet.

        Raises:
            HostError: the names cannot be listed or asked, which the user did not agree to.
        """
        from deployer.verify.neighbours.elsewhere import elsewhere
        from deployer.verify.neighbours.requests import neighbours, others, without_request

        inspection = self._inspect()
        served = self._served(inspection) if inspection is not None else ()
        unlisted = self._unlisted(inspection, plan)
        if unlisted and self._contact.options.neighbours:
            host = self._contact.host.name
            raise HostError(_unlisted_words(unlisted), host=host, hint=ADVICE)
        if inspection is None:
            return Watch(self._contact, desired, problems=unlisted)
        unwatched = self._ended_defaults(inspection, plan) | set(self._idle)
        watched = neighbours(
            (
                *(each for each in served if each not in unwatched),
                *others(
                    inspection,
                    served,
                    desired.sites,
                    will_load=desired.undoes or _makes_up_for_a_reload(plan),
                    leaving=_on_purpose(plan, undoes=desired.undoes),
                ),
            ),
            own=names_of(desired),
            consented=self._consented(desired)
            | desired.leaving
            | {each.name for each in plan.displaced if each.name},
        )
        problems = (*unlisted, *inspection.notes, *without_request(watched))
        watch = Watch(
            self._contact,
            desired,
            served=served,
            brought=self._brought,
            problems=tuple(dict.fromkeys(problems)),
            is_rejected=bool(unlisted),
            addresses=inspection.addresses,
        )
        asked = [each for each in watched if each.asked is not None]
        watch.ask(asked, elsewhere(asked, inspection.proxies, inspection.addresses))
        return watch


def names_of(desired: DesiredState) -> frozenset[str]:
    """The names of the run's own sites."""
    return frozenset(name for site in desired.sites for name in site.names)


def _own_files(desired: DesiredState, managed: Managed | None) -> frozenset[str]:
    """The paths that only this playbook has written so far."""
    if managed is None or desired.managed is None:
        return frozenset()
    own = {desired.managed["project"], *desired.managed["same"]}
    return frozenset(
        thing(entry["id"]) for entry in managed["entries"] if own.issuperset(entry["by"])
    )


def _is_refusal(answer: NeighbourAnswer) -> bool:
    """Whether the proxy itself refuses such a request; a login protects something."""
    is_refused = (answer.status or 0) >= 400 and answer.status != _LOGIN
    return is_refused and (answer.is_proxys or not answer.body)


def _unlisted_words(problems: Sequence[str]) -> str:
    """Why a commit cannot tell whether it breaks the sites of others."""
    listed = "\n".join(f"    - {each}" for each in problems[:MOST_NOTES])
    more = len(problems) - MOST_NOTES
    return (
        "the sites that this host already serves cannot be listed, so this commit could not tell"
        f" whether it breaks them:\n{listed}" + (f"\n    - and {more} more" if more > 0 else "")
    )


def _may_displace(plan: Plan) -> bool:
    """Whether `plan` stops a proxy, changes or removes something that exists, or adds to a proxy's
    configuration.
    """
    return _stops_a_proxy(plan) or any(
        (change.before is not None and change.action in ("update", "delete"))
        or (change.action == "create" and _is_of_proxy(change.name))
        for change in plan.changes
        if change.kind in ("file", "link", "directory")
    )


def _on_purpose(plan: Plan, *, undoes: bool) -> frozenset[str]:
    """The names of what `plan` undoes or removes because earlier generations brought it."""
    return frozenset(each.name for each in plan.changes if undoes or each.reason == REASON)


def _makes_up_for_a_reload(plan: Plan) -> bool:
    """Whether `plan` loads files that are on the host already, because no one did."""
    return any(run.reason for run in plan.handlers)


def _is_of_proxy(path: str) -> bool:
    return any(server.unit in path for server in PROXIES.values())


def _stops_a_proxy(plan: Plan) -> bool:
    units = {unit for unit, action in effects(plan).items() if action == "stop"}
    return any(each.unit in units for each in PROXIES.values())
