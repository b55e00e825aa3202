"""Canaries around an apply: connections opened before the change and checked after it.

They go through the proxy by the SSH connection's forwarding, as the checks do, on each WebSocket
route of the sites whose handshake works now. Nothing is opened where no running proxy is touched.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from threading import Event
from typing import TYPE_CHECKING

from deployer.commit.running_proxies import connections_of, process_slots
from deployer.commit.survival import (
    Ended,
    OtherSockets,
    RouteSurvival,
    Seen,
    Survival,
    canary_from,
    survival_checks,
)
from deployer.errors import AgentError, DeployerError
from deployer.model import CheckResult, Document
from deployer.plan.forecast import drain_s_of, effects, touching, worst
from deployer.plan.model import ForecastAction, Plan
from deployer.proxies import BY_UNIT, PROXIES
from deployer.sites.model import Route, Site

if TYPE_CHECKING:
    from deployer.agent.replies import ConnectionsReply
    from deployer.transport import Link
    from deployer.verify.net.stream import Deadline, Dial
    from deployer.verify.probe.held_connections import HeldConnection, HeldConnections
    from deployer.verify.probe.spec import Endpoint

#: The limit of connections on one host, regardless of the number of routes.
_MOST = 200
_MOST_TWINS = 8
_LOOK_TIMEOUT_S = 10.0
_LET_GO_S = 0.3
#: Long enough to recognise a service that counts connections, which gets no more of them.
_LISTEN_S = 0.2
#: What a proxy answers on a name that none of its sites has: 421 Misdirected Request.
_NOT_SERVED = "answered 421 "
#: How long to look for the WebSocket of a whole site.
_FIND_S = 3.0
#: Shorter drains are awaited before canaries are judged, and a moment more.
_SHORT_DRAIN_S, _AFTER_DRAIN_S = 3.0, 0.7
#: Processes that a proxy must be able to start after a reload.
_SPARE_SLOTS = 2
#: An end that is noticed this much before its reason belongs to it.
_SAME_MOMENT_S = 1.0


@dataclass(slots=True)
class _CanaryRoute:
    """One route with its canaries, and their twins at each address of its service.

    `touched_at` is when its proxy was reloaded, restarted or stopped.
    """

    site: Site
    path: str
    held: Sequence[HeldConnection]
    twins: Sequence[HeldConnection]
    touched_at: float | None = None
    note: str = ""


class NoCanaries:
    """For a plan that cannot affect open connections."""

    def on_event(self, event: Document) -> None:
        """Does nothing."""

    def changed(self) -> None:
        """Does nothing."""

    def checks(self) -> tuple[CheckResult, ...]:
        """No results."""
        return ()

    def survival(self, *, asks_again: bool) -> Survival | None:
        """No results."""
        return None


class Canaries(NoCanaries):
    """The canaries of one host."""

    def __init__(
        self,
        link: Link,
        routes: Sequence[_CanaryRoute],
        *,
        affected: Mapping[str, ForecastAction],
        touching: Mapping[str, tuple[str, ForecastAction]],
        before: ConnectionsReply | None,
        drains: Mapping[str, float | None],
        cancelled: Event,
    ) -> None:
        self._drains, self._cancelled = drains, cancelled
        self._link, self._routes = link, routes
        self._affected, self._touching, self._before = affected, touching, before
        self._began = time.monotonic()
        self._changed_at = self._began
        self._is_touched = False

    def on_event(self, event: Document) -> None:
        """Note the moment at which a proxy is signalled.

        A proxy that is stopped waits for open connections and accepts none meanwhile: nginx for
        five seconds. Clients should not wait because of canaries, so those are closed first.
        """
        if event.get("event") != "step" or event.get("state") != "start":
            return
        unit, action = self._touching.get(event["resource_id"], ("", ""))
        if unit not in self._affected:
            return
        self._is_touched = True
        for route in self._routes:
            if self._unit_of(route) == unit:
                route.touched_at = route.touched_at or time.monotonic()
                if action != "reload":
                    for held in route.held:
                        held.let_go(_LET_GO_S, f"still open when {unit} was to {action}: let go")

    def changed(self) -> None:
        """The change is complete: only later answers count."""
        self._changed_at = time.monotonic()

    def checks(self) -> tuple[CheckResult, ...]:
        """The results of the canaries, as checks."""
        self._wait_for_short_drains()
        return survival_checks(self._survival(others=None, link_lost=False))

    def _wait_for_short_drains(self) -> None:
        """Wait for drains that are about to end canaries, if they are short."""
        ends = [
            touched_at + drain_s + _AFTER_DRAIN_S
            for route in self._routes
            if (touched_at := route.touched_at) is not None
            and (drain_s := self._drains.get(self._unit_of(route))) is not None
            and drain_s <= _SHORT_DRAIN_S
            and any(held.is_open and held.end is None for held in route.held)
        ]
        if ends:
            self._cancelled.wait(max(0.0, max(ends) - time.monotonic()))

    def survival(self, *, asks_again: bool) -> Survival | None:
        """What became of them all, and of the host's other connections.

        `asks_again` where the host was changed once more since, by a revert. `None` where no proxy
        was touched after all.
        """
        if not self._is_touched:
            return None
        if asks_again:
            self.changed()
        others, link_lost = self._others()
        return self._survival(others=others, link_lost=link_lost)

    def _survival(self, *, others: OtherSockets | None, link_lost: bool) -> Survival:
        from deployer.verify.net.stream import Deadline
        from deployer.verify.probe.held_connections import ANSWER_TIMEOUT_S

        deadline = None if link_lost else Deadline(ANSWER_TIMEOUT_S)
        return Survival(
            affected=self._affected,
            routes=tuple(self._route(route, deadline) for route in self._routes),
            others=others,
        )

    def _route(self, route: _CanaryRoute, deadline: Deadline | None) -> RouteSurvival:
        opened = [held for held in route.held if held.is_open]
        unit = self._unit_of(route)
        twins = [held for held in route.twins if held.is_open]
        touched_at = route.touched_at or self._began
        seen = self._seen([*opened, *twins], touched_at=touched_at, deadline=deadline)
        return RouteSurvival(
            site=route.site.domain,
            path=route.path,
            unit=unit,
            action=self._affected[unit],
            is_required=route.site.require_survival,
            drain_s=self._drains.get(unit) if self._affected[unit] == "reload" else None,
            canaries=tuple(
                canary_from(each, twins=seen[len(opened) :], link_lost=deadline is None)
                for each in seen[: len(opened)]
            ),
            note="" if opened else route.note or _why_none(route.held),
        )

    def _unit_of(self, route: _CanaryRoute) -> str:
        """The proxy that has served a route so far; its site may be moving to a different one."""
        own = PROXIES[route.site.proxy].unit
        return own if own in self._affected else worst(self._affected)

    def _seen(
        self, held: Sequence[HeldConnection], *, touched_at: float, deadline: Deadline | None
    ) -> list[Seen]:
        from deployer.verify.probe.held_connections import have_answered

        answers = [False] * len(held)
        if deadline is not None:
            answers = have_answered(held, since=self._changed_at, deadline=deadline)
        found = []
        for each, answered in zip(held, answers, strict=True):
            end = each.end
            if end is None:
                found.append(Seen(answers=answered))
                continue
            after_s = _after_s(end.at, touched_at)
            ended = Ended(how=end.how, after_s=after_s, words=end.words, close_code=end.close_code)
            found.append(Seen(answers=False, ended=ended))
        return found

    def _others(self) -> tuple[OtherSockets | None, bool]:
        """What is still open of all that was; and whether the way to the host is lost."""
        try:
            after = _clients(
                connections_of(
                    self._link, self._affected, with_clients=True, timeout_s=_LOOK_TIMEOUT_S
                )
            )
        except DeployerError:
            return None, self._link.process.has_ended
        if self._before is None:
            return None, False
        before = _clients(self._before)
        workers = [
            worker
            for unit, about in self._before["units"].items()
            if BY_UNIT[unit].traits.counts_websockets
            for worker in about["workers"]
        ]
        websockets = sum(worker["websockets"] for worker in workers)
        others = OtherSockets(
            connections=len(before),
            still_open=len(before & after),
            are_websockets=websockets == len(before),
        )
        return others, False


def _after_s(ended_at: float, touched_at: float) -> float:
    """The seconds from a change to an end; 0 if the end was noticed a moment before the change.

    The two reach us by different streams of one connection, in any order.
    """
    after_s = ended_at - touched_at
    return 0.0 if -_SAME_MOMENT_S < after_s < 0 else after_s


def _clients(connections: ConnectionsReply) -> frozenset[str]:
    return frozenset(
        client
        for about in connections["units"].values()
        for worker in about["workers"]
        for client in worker["clients"]
    )


def _why_none(held: Sequence[HeldConnection]) -> str:
    """Empty if the proxy does not serve the site yet, so that there are no connections to lose."""
    problem = next((each.problem for each in held if each.problem), "none could be opened in time")
    return "" if problem.startswith(_NOT_SERVED) else problem


@contextmanager
def canaries_around(
    plan: Plan,
    sites: Sequence[Site],
    link: Link,
    *,
    count: int,
    has_systemd: bool,
    cancelled: Event,
    doing: Callable[[str], None],
) -> Iterator[NoCanaries]:
    """Hold `count` connections on each WebSocket route that works now, while `plan` is applied.

    Nothing is opened where `count` is 0, or the plan touches no proxy that runs. They are closed at
    the end.
    """
    affected = effects(plan)
    if not affected or count == 0 or not any(_routes(sites)):
        yield NoCanaries()
        return
    before: ConnectionsReply | None = None
    if has_systemd:
        before = connections_of(link, affected, with_clients=True)
        affected = {unit: action for unit, action in affected.items() if unit in before["units"]}
        if not affected:
            yield NoCanaries()
            return
    from deployer.verify.probe.held_connections import HeldConnections

    doing("opening canaries")
    flock = HeldConnections(link.open_stream)
    try:
        routes = list(_opened_on_routes(flock, sites, count, link.open_stream))
        flock.wait_until_open()
        note = _in_the_way(link, affected, before)
        if note:
            flock.close()
            for route in routes:
                route.held, route.note = (), note
        yield Canaries(
            link,
            routes,
            affected=affected,
            touching=touching(plan),
            before=before,
            drains=_drains(before, sites),
            cancelled=cancelled,
        )
    finally:
        flock.close()


def _in_the_way(
    link: Link, affected: Mapping[str, ForecastAction], before: ConnectionsReply | None
) -> str:
    """Why there must be no canaries: in some proxies, each process that serves one keeps a slot
    after a reload, and without a free slot no one else is served."""
    proxy = next(
        (BY_UNIT[unit] for unit in affected if BY_UNIT[unit].traits.has_process_slots), None
    )
    if before is None or proxy is None or affected[proxy.unit] != "reload":
        return ""
    stayed = sum(
        bool(worker["websockets"] or (worker["is_old"] and worker["connections"]))
        for worker in before["units"][proxy.unit]["workers"]
    )
    try:
        slots, stay = process_slots(link)
    except AgentError:
        return f"the host does not report how many processes {proxy.title} may have"
    if stay <= stayed or slots - stay >= _SPARE_SLOTS:
        return ""
    return f"canaries would use the last of the {slots} processes that {proxy.title} may have"


def _drains(before: ConnectionsReply | None, sites: Sequence[Site]) -> dict[str, float | None]:
    """For how long each proxy's connections may outlive a reload, as far as that is known."""
    if before is None:
        return {}
    return {unit: drain_s_of(unit, about, sites) for unit, about in before["units"].items()}


def _routes(sites: Iterable[Site]) -> Iterator[Route]:
    for site in sites:
        yield from (route for route in site.routes if route.websocket and route.upstreams)


def _opened_on_routes(
    flock: HeldConnections, sites: Sequence[Site], count: int, dial: Dial
) -> Iterator[_CanaryRoute]:
    from deployer.verify.discovery.find import find_websockets
    from deployer.verify.net.access import Access
    from deployer.verify.net.stream import Deadline
    from deployer.verify.options import proxy_of
    from deployer.verify.planned.checks import planned_checks
    from deployer.verify.probe.lockouts import LEFT_ALONE
    from deployer.verify.probe.spec import UpgradeProbe

    access = Access(dial=dial, timeout_s=_FIND_S, until=Deadline(2 * _FIND_S))
    places = [
        (site, check.route, check.probe, check.peer)
        for site in sites
        for check in planned_checks(
            site, proxy_of(site), found=find_websockets(site, proxy_of(site), access)
        )
        if check.represents_route and check.route
        if isinstance(check.probe, UpgradeProbe) and isinstance(check.peer, UpgradeProbe)
    ]
    each = max(1, min(count, _MOST // (len(places) or 1)))
    twins = [
        [
            held
            for at in _addresses(route)
            for held in flock.hold(replace(peer, endpoint=at, listen_s=_LISTEN_S), 1)
        ]
        for _, route, _, peer in places[:_MOST]
    ]
    flock.wait_until_open()
    for (site, route, probe, _), of_route in zip(places, twins, strict=False):
        if any(twin.counts_clients for twin in of_route):
            yield _CanaryRoute(site, route.path, (), of_route, note=LEFT_ALONE)
        else:
            yield _CanaryRoute(
                site, route.path, flock.hold(replace(probe, listen_s=0.0), each), of_route
            )


def _addresses(route: Route) -> list[Endpoint]:
    from deployer.verify.planned.probes import endpoint_of

    return [endpoint_of(one) for one in route.in_rotation[:_MOST_TWINS]]
