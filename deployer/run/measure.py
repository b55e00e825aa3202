"""The measurements of `verify`: idle timeouts, and how many connections a site accepts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from threading import Lock
from typing import TYPE_CHECKING

from deployer.errors import AgentError, UsageError
from deployer.model import CheckResult
from deployer.sites.model import Site
from deployer.text.redaction import masked

if TYPE_CHECKING:
    from deployer.commit.contact import Contact
    from deployer.commit.outcome import HostReport
    from deployer.load.run import LoadOptions
    from deployer.plan.desired import DesiredState
    from deployer.verify.idle import Configured, IdleResult
    from deployer.verify.planned.model import Found

#: Adds measurements to a host's report.
Measure = Callable[["Contact", "DesiredState", "HostReport"], "HostReport"]

_DEFAULT_RATE, _DEFAULT_HOLD_S = 200.0, 10.0


def measure_from(
    *,
    idle: bool,
    idle_limit: str | None,
    load: int | None,
    rate: float | None,
    hold: str | None,
    overrides: Mapping[tuple[str, int], str] | None = None,
    no_public: bool = False,
) -> Measure | None:
    """The measurements requested on the command line, or `None`.

    Raises: UsageError for options that do not go together, or that this machine cannot run.
    """
    if idle_limit is not None and not idle:
        raise UsageError("--idle-limit requires --idle; no host was touched")
    if load is None and (rate is not None or hold is not None):
        raise UsageError("--rate and --hold require --load; no host was touched")
    if not idle and load is None:
        return None
    from deployer.verify.idle import DEFAULT_LIMIT_S

    options: LoadOptions | None = None
    if load is not None:
        from deployer.load.open_files import raise_open_files_limit
        from deployer.load.run import LoadOptions

        raise_open_files_limit(load)
        options = LoadOptions(
            number=load,
            rate_per_s=rate or _DEFAULT_RATE,
            hold_s=_seconds("--hold", hold, _DEFAULT_HOLD_S),
            overrides=overrides or {},
        )
    return _Measurement(
        idle_limit_s=_seconds("--idle-limit", idle_limit, DEFAULT_LIMIT_S) if idle else None,
        load=options,
        overrides=overrides or {},
        no_public=no_public,
    )


def _seconds(option: str, text: str | None, default: float) -> float:
    if text is None:
        return default
    from deployer.playbook.schema.values import InvalidValue, duration_s

    try:
        return duration_s(text)
    except InvalidValue as error:
        raise UsageError(f"{option} {text}: {error}; no host was touched") from None


class _Measurement:
    """Idle times of all hosts in parallel; loads one host at a time, so that they do not add up."""

    def __init__(
        self,
        *,
        idle_limit_s: float | None,
        load: LoadOptions | None,
        overrides: Mapping[tuple[str, int], str],
        no_public: bool,
    ) -> None:
        self._idle_limit_s = idle_limit_s
        self._load = load
        self._overrides = overrides
        self._no_public = no_public
        self._turn = Lock()

    def __call__(self, contact: Contact, desired: DesiredState, report: HostReport) -> HostReport:
        if self._idle_limit_s is not None:
            report = self._with_idle(contact, desired, report, self._idle_limit_s)
        if self._load is not None:
            contact.doing("waiting for the load of another host")
            with self._turn:
                report = self._with_load(contact, desired, report, self._load)
        return masked(report, desired.secrets)

    def _with_idle(
        self, contact: Contact, desired: DesiredState, report: HostReport, limit_s: float
    ) -> HostReport:
        from deployer.verify.idle import idle_plan, measure_idle
        from deployer.verify.judge.idle import judge_idle
        from deployer.verify.public.dial import PublicDial

        dial = PublicDial(self._overrides, interrupt=contact.cancelled)
        results: list[IdleResult] = []
        checks: list[CheckResult] = []
        for site in desired.sites:
            why_not = "" if self._no_public else _why_not_public(report.checks, site)
            public = None if self._no_public or why_not else dial
            websockets = _websockets(contact, site)
            plan = idle_plan(
                _measurable(contact, site, websockets, report.checks),
                found=websockets,
                configured=_configured(contact, site),
                limit_s=limit_s,
                public=public,
                why_not_public=why_not,
            )
            if not plan.connections or contact.cancelled.is_set():
                continue
            _announce(contact, plan.longest_s, plan.unlimited_s, site)
            found = measure_idle(
                plan,
                dial=contact.link().open_stream,
                public=public,
                interrupt=contact.cancelled,
                progress=contact.doing,
            )
            results += found
            for result in found:
                checks += judge_idle(result)
        return _with_checks(contact, replace(report, idle=tuple(results)), checks)

    def _with_load(
        self, contact: Contact, desired: DesiredState, report: HostReport, options: LoadOptions
    ) -> HostReport:
        from deployer.load.run import load_sites

        results, checks = load_sites(contact, desired.sites, options, checks=report.checks)
        return _with_checks(contact, replace(report, load=results), checks)


def _with_checks(contact: Contact, report: HostReport, checks: Sequence[CheckResult]) -> HostReport:
    """`report` with more checks, each reported, and the state that follows from them."""
    for check in checks:
        contact.checked(check)
    healthy = report.state == "healthy" and all(check.ok for check in checks)
    return replace(
        report,
        checks=(*report.checks, *checks),
        state="healthy" if healthy else "unhealthy",
    )


def _why_not_public(checks: Sequence[CheckResult], site: Site) -> str:
    """Why nothing is measured at the hop *public*; empty if its handshakes passed."""
    outside = [check for check in checks if check.site == site.domain and check.hop == "public"]
    for check in outside:
        if check.skipped or not check.ok:
            return check.detail or f"its {check.name} check has failed"
    if any(check.name == "handshake" for check in outside):
        return ""
    return "no handshake was made from here"


def _announce(contact: Contact, longest_s: float, unlimited_s: float, site: Site) -> None:
    """Report in advance how long it will take."""
    words = f"idle: leaving connections to {site.domain} idle for up to {_span(longest_s)}"
    if unlimited_s > longest_s:
        words += f"; to cover its whole idle_timeout: --idle-limit {unlimited_s + 1:.0f}s"
    contact.on_step({"event": "said", "text": words})


def _span(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _measurable(
    contact: Contact, site: Site, found: Mapping[str, Found], checks: Sequence[CheckResult]
) -> Site:
    """`site`, except for routes whose service may refuse the handshake, and does."""
    from deployer.verify.options import proxy_of
    from deployer.verify.planned.checks import planned_checks

    refused = {
        check.target
        for check in checks
        if (check.site, check.hop, check.name) == (site.domain, "proxy", "handshake") and check.ok
        if check.handshake is not None and check.handshake.status_code != 101
    }
    paths = set()
    for check in planned_checks(site, proxy_of(site), found=found) if refused else ():
        if check.represents_route and check.route and check.target in refused:
            paths.add(check.route.path)
            words = f"idle: {site.domain}{check.target} opens no connection: nothing was measured"
            contact.on_step({"event": "said", "text": words})
    routes = (
        replace(route, is_probed=route.is_probed and route.path not in paths)
        for route in site.routes
    )
    return replace(site, routes=tuple(routes))


def _websockets(contact: Contact, site: Site) -> Mapping[str, Found]:
    """The WebSockets of whole sites."""
    from deployer.verify.discovery.find import find_websockets
    from deployer.verify.net.access import Access
    from deployer.verify.net.stream import Deadline
    from deployer.verify.options import TIMEOUT_S, proxy_of

    until = Deadline(2 * TIMEOUT_S, interrupt=contact.cancelled)
    access = Access(dial=contact.link().open_stream, timeout_s=TIMEOUT_S, until=until)
    return find_websockets(site, proxy_of(site), access)


def _configured(contact: Contact, site: Site) -> dict[str, tuple[Configured, ...]]:
    """The idle timeouts in the running proxy's configuration, by route, if known."""
    from deployer.commit.running_proxies import inspected
    from deployer.load.run import served_route
    from deployer.verify.idle import Configured

    contact.doing("inspecting the proxy")
    try:
        state = inspected(contact.link(), [site.proxy]).of(site.proxy)
    except AgentError:
        return {}
    if state is None:
        return {}
    found: dict[str, tuple[Configured, ...]] = {}
    for route in site.routes:
        served = served_route(state, site, route) if route.websocket else None
        if served is not None:
            directive, _, file = served.idle_directive.partition(", ")
            found[route.path] = (
                Configured(
                    hop="proxy", seconds=served.idle_timeout_s, directive=directive, file=file
                ),
            )
    return found
