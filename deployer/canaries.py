"""Canaries around an apply: connections that are opened before the change and asked after it.

They go through the proxy by the SSH connection's forwarding, as the checks do, on each WebSocket
route of the sites whose handshake works now. Nothing is opened where no running proxy is touched.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deployer.errors import DeployerError
from deployer.forecast import effects, worst
from deployer.model import CheckResult, ForecastAction, Plan, Route, Site
from deployer.running_proxies import connections_of
from deployer.survival import (
    OtherSockets,
    RouteSurvival,
    Seen,
    Survival,
    fate_of,
    survival_checks,
)

if TYPE_CHECKING:
    from deployer.transport import Link
    from deployer.verify.canary import Flock, Held

#: All that are opened on one host, however many routes it has.
_MOST = 200
_LOOK_TIMEOUT_S = 10.0
#: Of nginx, nobody can tell upgraded connections from those that idle.
_COUNTED_ROUGHLY = frozenset({"nginx"})


@dataclass(frozen=True, slots=True)
class _Perch:
    """One route with its canaries and their twin."""

    site: Site
    path: str
    held: Sequence[Held]
    twin: Held | None


class NoCanaries:
    """Where nothing open can be touched."""

    def on_event(self, event: Mapping[str, Any]) -> None:
        """Nothing is noted."""

    def changed(self) -> None:
        """Nothing is asked."""

    def checks(self) -> tuple[CheckResult, ...]:
        """Nothing is told."""
        return ()

    def survival(self, *, asks_again: bool) -> Survival | None:
        """Nothing is told."""
        return None


class Canaries(NoCanaries):
    """The canaries of one host."""

    def __init__(
        self,
        link: Link,
        perches: Sequence[_Perch],
        *,
        affected: Mapping[str, ForecastAction],
        before: Mapping[str, Any] | None,
        triggers: frozenset[str],
    ) -> None:
        self._link, self._perches = link, perches
        self._affected, self._before, self._triggers = affected, before, triggers
        self._began = time.monotonic()
        self._touched_at: float | None = None
        self._changed_at = self._began

    def on_event(self, event: Mapping[str, Any]) -> None:
        """Note the moment at which the proxy is told of the change."""
        is_it = event.get("event") == "step" and event.get("resource_id") in self._triggers
        if is_it and event.get("state") == "start" and self._touched_at is None:
            self._touched_at = time.monotonic()

    def changed(self) -> None:
        """The change is made: what is answered from now on counts."""
        self._changed_at = time.monotonic()

    def checks(self) -> tuple[CheckResult, ...]:
        """The canaries as results of checks."""
        survival = self._survival(others=None, way_is_lost=False)
        return survival_checks(survival, [perch.site for perch in self._perches])

    def survival(self, *, asks_again: bool) -> Survival | None:
        """What became of them all, and of the host's other connections.

        `asks_again` where the host was changed once more since, by a revert.
        """
        if asks_again:
            self.changed()
        others, way_is_lost = self._others()
        return self._survival(others=others, way_is_lost=way_is_lost)

    def _survival(self, *, others: OtherSockets | None, way_is_lost: bool) -> Survival:
        unit, action = worst(self._affected)
        return Survival(
            unit=unit,
            action=action,
            routes=tuple(self._route(perch, way_is_lost) for perch in self._perches),
            others=others,
        )

    def _route(self, perch: _Perch, way_is_lost: bool) -> RouteSurvival:
        opened = [held for held in perch.held if held.is_open]
        twin = perch.twin if perch.twin is not None and perch.twin.is_open else None
        everyone = [*opened, twin] if twin is not None else opened
        seen = self._seen(everyone, way_is_lost)
        of_twin = seen[-1] if twin is not None else None
        return RouteSurvival(
            site=perch.site.domain,
            path=perch.path,
            is_required=perch.site.require_survival,
            canaries=tuple(
                fate_of(each, twin=of_twin, way_is_lost=way_is_lost) for each in seen[: len(opened)]
            ),
            note="" if opened else _why_none(perch.held),
        )

    def _seen(self, held: Sequence[Held], way_is_lost: bool) -> list[Seen]:
        from deployer.survival import Ended
        from deployer.verify.canary import answering

        answers = [False] * len(held)
        if not way_is_lost:
            answers = answering(held, since=self._changed_at)
        touched = self._began if self._touched_at is None else self._touched_at
        found = []
        for each, answered in zip(held, answers, strict=True):
            end = each.end
            if end is None:
                found.append(Seen(answers=answered))
                continue
            after_s = end.at - touched
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
            if unit not in _COUNTED_ROUGHLY
            for worker in about["workers"]
        ]
        websockets = sum(worker["websockets"] for worker in workers)
        others = OtherSockets(
            connections=len(before),
            still_open=len(before & after),
            are_websockets=websockets == len(before),
        )
        return others, False


def _clients(connections: Mapping[str, Any]) -> frozenset[str]:
    return frozenset(
        client
        for about in connections["units"].values()
        for worker in about["workers"]
        for client in worker["clients"]
    )


def _why_none(held: Sequence[Held]) -> str:
    return next((each.problem for each in held if each.problem), "none could be opened in time")


@contextmanager
def canaries_around(
    plan: Plan,
    sites: Sequence[Site],
    link: Link,
    *,
    count: int,
    has_systemd: bool,
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
    before: Mapping[str, Any] | None = None
    if has_systemd:
        before = connections_of(link, affected, with_clients=True)
        affected = {unit: action for unit, action in affected.items() if unit in before["units"]}
        if not affected:
            yield NoCanaries()
            return
    from deployer.verify.canary import Flock

    doing("opening canaries")
    flock = Flock(link.open_stream)
    try:
        perches = list(_perched(flock, sites, count))
        flock.wait_until_open()
        yield Canaries(
            link, perches, affected=affected, before=before, triggers=_triggers(plan, affected)
        )
    finally:
        flock.close()


def _triggers(plan: Plan, affected: Mapping[str, ForecastAction]) -> frozenset[str]:
    """The ids of the steps by which a proxy comes to know of the change."""
    from deployer.forecast import touching

    return frozenset(place for place, unit in touching(plan) if unit in affected)


def _routes(sites: Iterable[Site]) -> Iterator[Route]:
    for site in sites:
        yield from (route for route in site.routes if route.websocket and route.upstreams)


def _perched(flock: Flock, sites: Sequence[Site], count: int) -> Iterator[_Perch]:
    from deployer.verify.checks import ProxyAddress, planned_checks
    from deployer.verify.probes import UpgradeProbe

    places = [
        (site, check.target, check.probe, check.peer)
        for site in sites
        for check in planned_checks(site, ProxyAddress())
        if check.kind == "handshake" and check.route and check.target == check.route.path
    ]
    each = max(1, min(count, _MOST // (len(places) or 1)))
    for site, path, probe, peer in places[:_MOST]:
        twin = flock.hold(peer, 1)[0] if isinstance(peer, UpgradeProbe) else None
        if isinstance(probe, UpgradeProbe):
            yield _Perch(site, path, flock.hold(probe, each), twin)
