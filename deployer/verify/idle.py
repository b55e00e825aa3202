"""Measure how long each hop of a route keeps an idle connection open, all hops at once.

One connection each idles directly at the service, through the proxy, and through public DNS. None
waits longer than necessary: the one through the proxy until just after the timeout that is
configured there; the one at the service until the others have ended, because it only has to show
that the service did not close them.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from deployer.model import Hop, Proxy
from deployer.sites.model import Check, Route, Site
from deployer.sites.paths import example_of
from deployer.verify.net.access import Access
from deployer.verify.net.stream import Deadline
from deployer.verify.options import ProxyAddress, proxy_of
from deployer.verify.planned.checks import planned_checks
from deployer.verify.planned.model import Found, PlannedCheck
from deployer.verify.planned.routing import concrete, probe_of
from deployer.verify.probe.idle import IdleConnection, IdleOutcome
from deployer.verify.probe.spec import Endpoint, UpgradeProbe

if TYPE_CHECKING:
    import threading

    from deployer.verify.net.stream import Dial
    from deployer.verify.public.dial import PublicDial

#: Longer than every known default: 50, 60, 100 and 300 s.
DEFAULT_LIMIT_S = 330.0
#: How long after its timeout a hop may take to close, and the service to follow.
_MARGIN_S = 2.0
_MARGIN = 0.01
_GRACE_S = 1.0
_TIMEOUT_S = 10.0
_PROGRESS_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Configured:
    """The idle timeout in a hop's running configuration.

    `seconds` is `None` if there is no limit. `directive` sets it, at `file` (with the line; empty
    for a default).
    """

    hop: Hop
    seconds: float | None
    directive: str
    file: str = ""

    def __str__(self) -> str:
        return f"{self.directive}, {self.file}" if self.file else self.directive


@dataclass(frozen=True, slots=True, kw_only=True)
class IdleResult:
    """One route: the site's promise, the configured timeouts, and the outcome at each hop.

    `idle_timeout_s` and `ping_interval_s` are the site's own; `is_promised`: `idle_timeout` is set
    explicitly in the site. `limit_s` is the longest time to wait.
    """

    site: str
    path: str
    proxy: Proxy
    idle_timeout_s: float
    ping_interval_s: float | None
    is_promised: bool
    limit_s: float
    hops: tuple[IdleOutcome, ...]
    configured: tuple[Configured, ...] = ()

    def of(self, hop: Hop) -> IdleOutcome | None:
        """Return the outcome at one hop."""
        return next((each for each in self.hops if each.hop == hop), None)

    def configured_at(self, hop: Hop) -> Configured | None:
        """Return the timeout configured at one hop."""
        return next((each for each in self.configured if each.hop == hop), None)

    @property
    def measured_interval_s(self) -> float | None:
        """How often the service sends something unprompted, as seen at the hop nearest to it."""
        return next((each.interval_s for each in self.hops if each.interval_s is not None), None)

    @property
    def shortest(self) -> IdleOutcome | None:
        """The hop that closed first; the nearest to the service if several closed together."""
        cut = [each for each in self.hops if each.outcome == "cut"]
        if not cut:
            return None
        least = min(each.seconds for each in cut)
        return next(each for each in cut if each.seconds <= least + _GRACE_S + _MARGIN * least)


@dataclass(slots=True, kw_only=True)
class _Group:
    """The connections of one route."""

    route: Route
    waiting: list[IdleConnection]
    skipped: list[IdleOutcome] = field(default_factory=list)

    def is_needed(self, waiting: IdleConnection) -> bool:
        """Whether the connection at the service can still show anything new."""
        if waiting.hop != "backend":
            return True
        others = [each for each in self.waiting if each is not waiting]
        ends = [each.result for each in others if each.result is not None]
        if not ends or len(ends) < len(others):
            return True
        if any(end.outcome == "kept-awake" for end in ends):
            return True  # this one will be too, after a few messages from the service
        longest = max(end.seconds for end in ends)
        return time.monotonic() - waiting.idle_since < longest + _GRACE_S


@dataclass(frozen=True, slots=True, kw_only=True)
class IdlePlan:
    """The connections to measure for one site, and the longest time that takes in seconds."""

    site: Site
    groups: Sequence[_Group]
    limit_s: float
    configured: Mapping[str, tuple[Configured, ...]]

    @property
    def longest_s(self) -> float:
        """The longest idle time that a connection waits for."""
        return max((each.expected_s for each in self._waiting()), default=0.0)

    @property
    def unlimited_s(self) -> float:
        """The same without the limit."""
        return max((_wanted_s(group.route, self.configured) for group in self.groups), default=0.0)

    def _waiting(self) -> Iterable[IdleConnection]:
        return (each for group in self.groups for each in group.waiting)

    @property
    def connections(self) -> int:
        """The number of connections."""
        return sum(1 for _ in self._waiting())

    def progress(self) -> str:
        """Return the progress as one line."""
        now = time.monotonic()
        open_ones = [each for each in self._waiting() if each.result is None]
        idle_s = max((now - each.idle_since for each in open_ones), default=0.0)
        closed = sum(
            each.result is not None and each.result.outcome == "cut" for each in self._waiting()
        )
        ended = f", {closed} closed" if closed else ""
        return (
            f"idle: {idle_s:.0f} s of at most {self.longest_s:.0f} s, {len(open_ones)} open{ended}"
        )


def idle_plan(
    site: Site,
    *,
    configured: Mapping[str, tuple[Configured, ...]],
    limit_s: float,
    public: PublicDial | None,
    why_not_public: str = "",
    proxy: ProxyAddress | None = None,
    found: Mapping[str, Found] | None = None,
) -> IdlePlan:
    """Plan the measurement of a site; `configured` maps route paths to timeouts, and `found` those
    of whole sites to their WebSockets.

    `public` dials from this machine. Without it the public hop is left out, and `why_not_public` is
    the reason to report, if any.
    """
    groups = []
    for route, check in _representatives(site, proxy or proxy_of(site), found or {}):
        group = _Group(route=route, waiting=[])
        expected_s = min(limit_s, _wanted_s(route, configured))
        probes = [each for each in (check.peer, check.probe) if isinstance(each, UpgradeProbe)]
        if public is None and why_not_public:
            skipped = IdleOutcome(hop="public", outcome="skipped", words=why_not_public)
            group.skipped.append(skipped)
        elif isinstance(check.probe, UpgradeProbe) and public is not None:
            outside = _outside(site, check.probe, public, proxy or proxy_of(site))
            if isinstance(outside, IdleOutcome):
                group.skipped.append(outside)
            else:
                probes.append(outside)
        group.waiting += [
            IdleConnection(
                hop=probe.hop,
                probe=replace(probe, hold_s=None),
                expected_s=expected_s,
                limit_s=limit_s,
            )
            for probe in probes
        ]
        groups.append(group)
    return IdlePlan(site=site, groups=groups, limit_s=limit_s, configured=configured)


def _representatives(
    site: Site, proxy: ProxyAddress, found: Mapping[str, Found]
) -> Iterator[tuple[Route, PlannedCheck]]:
    """Return, for each WebSocket route, the check that opens it as its clients do.

    That is the handshake of the route if it is configured; otherwise an entry under `verify:` at a
    path below, which may have a login or subprotocols, or the default handshake.
    """
    planned = [check for check in planned_checks(site, proxy, found=found) if check.hop == "proxy"]
    for route in site.routes:
        own = [check for check in planned if check.route == route]
        entries = [check for check in own if check.kind == "entry"]
        mains = [check for check in own if check.represents_route]
        if route.websocket and (entries or mains):
            usual = Check(path=example_of(route.path))
            is_configured = route.path in found or probe_of(site, route) != usual
            yield route, (mains if is_configured and mains else entries or mains)[0]


def _outside(
    site: Site, probe: UpgradeProbe, public: PublicDial, proxy: ProxyAddress
) -> UpgradeProbe | IdleOutcome:
    """The same probe through public DNS, or the reason why it cannot be sent."""
    name = concrete(site.domain)
    port = proxy.https_port if site.has_tls else proxy.http_port
    found = public.lookup(name, port)
    if not found.addresses:
        return IdleOutcome(hop="public", outcome="skipped", words=f"{name} {found.problem}")
    identity = probe.endpoint.identity
    endpoint = Endpoint(host=name, port=port, tls=site.has_tls, identity=identity)
    return replace(probe, hop="public", endpoint=endpoint)


def _wanted_s(route: Route, configured: Mapping[str, tuple[Configured, ...]]) -> float:
    """How long to stay idle to observe the configured timeout."""
    known = [each.seconds for each in configured.get(route.path, ()) if each.seconds]
    timeout_s = max(known) if known else route.idle_timeout_s
    return timeout_s + max(_MARGIN_S, _MARGIN * timeout_s)


def measure_idle(
    plan: IdlePlan,
    *,
    dial: Dial,
    public: PublicDial | None,
    interrupt: threading.Event,
    progress: Callable[[str], None],
) -> tuple[IdleResult, ...]:
    """Idle on every connection of `plan` at once; return one result for each route.

    Raises: `DeployerError` if the connection to the host is lost.
    """
    if not plan.connections:
        return ()
    # A connection that the service uses irregularly gets a few idle periods, and no more.
    until = Deadline(plan.longest_s * 2 + 4 * _TIMEOUT_S, interrupt=interrupt)
    access = Access(dial=dial, timeout_s=_TIMEOUT_S, until=until)
    outside = Access(dial=public or dial, timeout_s=_TIMEOUT_S, until=until)
    pool = ThreadPoolExecutor(plan.connections, thread_name_prefix="idle")
    try:
        futures = [
            pool.submit(
                each.wait, outside if each.hop == "public" else access, is_needed=group.is_needed
            )
            for group in plan.groups
            for each in group.waiting
        ]
        while wait(futures, timeout=_PROGRESS_S).not_done:
            progress(plan.progress())
        for future in futures:
            future.result()
    finally:
        until.cancel()
        pool.shutdown(wait=True, cancel_futures=True)
    return tuple(_result(plan, group) for group in plan.groups)


def _result(plan: IdlePlan, group: _Group) -> IdleResult:
    hops = [each.result for each in group.waiting if each.result is not None]
    return IdleResult(
        site=plan.site.domain,
        path=group.route.path,
        proxy=plan.site.proxy,
        idle_timeout_s=group.route.idle_timeout_s,
        ping_interval_s=group.route.ping_interval_s,
        is_promised="idle_timeout" in group.route.places,
        limit_s=plan.limit_s,
        hops=(*hops, *group.skipped),
        configured=plan.configured.get(group.route.path, ()),
    )


def idle_json(result: IdleResult) -> dict[str, object]:
    """Return one route for ``--json``."""
    shortest = result.shortest
    return {
        "site": result.site,
        "path": result.path,
        "idle_timeout_s": result.idle_timeout_s,
        "ping_interval_s": result.ping_interval_s,
        "measured_ping_interval_s": _rounded(result.measured_interval_s),
        "limit_s": result.limit_s,
        "shortest": shortest.hop if shortest else None,
        "hops": [
            {**dataclasses.asdict(each), "seconds": _rounded(each.seconds)} for each in result.hops
        ],
        "configured": [dataclasses.asdict(each) for each in result.configured],
    }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 2)
