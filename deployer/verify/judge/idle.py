"""Judge the idle outcomes of each hop. Pure.

A hop that closes an idle connection is at fault if it does so before the service sends its ping, or
before the site's idle_timeout. If the next hop towards the service closes at the same time, that
one is at fault.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from deployer.model import UNFINISHED, Alternative, CheckResult, Finding, Hop, Severity
from deployer.proxies import PROXIES
from deployer.verify.idle import Configured, IdleResult
from deployer.verify.probe.idle import IdleOutcome

#: Allowed difference between a measured and a configured time, in seconds and as a fraction.
_TOLERANCE_S, _TOLERANCE = 1.5, 0.02
#: A service whose ping is later than the site's by this factor has a different interval.
_LATE = 1.25
_ORDER: Sequence[Hop] = ("backend", "proxy", "public")


class _Case(NamedTuple):
    result: IdleResult
    idle: IdleOutcome
    inner: IdleOutcome | None

    @property
    def configured(self) -> Configured | None:
        return self.result.configured_at(self.idle.hop)


def judge_idle(result: IdleResult) -> tuple[CheckResult, ...]:
    """Return one check for each hop of a route; each cause is reported once."""
    checks = []
    inner: IdleOutcome | None = None
    for hop in _ORDER:
        idle = result.of(hop)
        if idle is None:
            continue
        case = _Case(result, idle, inner)
        finding = _finding(case)
        checks.append(
            CheckResult(
                site=result.site,
                name="idle",
                target=result.path,
                hop=hop,
                ok=_is_ok(idle, finding),
                detail=UNFINISHED if idle.outcome == "interrupted" else outcome_words(idle),
                finding=finding,
                skipped=idle.outcome == "skipped",
            )
        )
        inner = idle if idle.outcome != "skipped" else inner
    return tuple(checks)


def _is_ok(idle: IdleOutcome, finding: Finding | None) -> bool:
    if idle.outcome in ("failed", "interrupted"):
        return idle.hop == "public"  # other checks judge whether that hop works
    return finding is None or finding.severity != "error"


def outcome_words(idle: IdleOutcome) -> str:
    """Return ``closed after 60.1 s idle``, ``still open after 332 s idle``, …"""
    match idle.outcome:
        case "cut":
            close = f" (Close frame {idle.close_code})" if idle.close_code else ""
            return f"closed after {idle.seconds:.1f} s idle{close}"
        case "open":
            spoke = _times(idle.signs) if idle.signs else ""
            return f"still open after {idle.seconds:.0f} s idle{spoke}"
        case "kept-awake":
            return f"kept alive by the service, every {idle.interval_s or 0:.1f} s"
        case "interrupted":
            return f"not finished: interrupted after {idle.seconds:.0f} s"
        case "failed":
            return f"could not be opened: {idle.words}"
        case _:
            return idle.words


def _times(signs: int) -> str:
    return f"; the service sent something {'once' if signs == 1 else f'{signs} times'} before"


def _finding(case: _Case) -> Finding | None:
    idle = case.idle
    if idle.outcome == "cut":
        if case.inner is not None and _is_same_cut(idle, case.inner):
            return None  # the inner hop closed both
        return _cut(case)
    if idle.hop == "backend" and idle.outcome in ("open", "kept-awake"):
        return _late_ping(case)
    return None


def _is_same_cut(idle: IdleOutcome, inner: IdleOutcome) -> bool:
    return inner.outcome == "cut" and _alike(idle.seconds, inner.seconds)


def _alike(one: float, other: float) -> bool:
    return abs(one - other) <= max(_TOLERANCE_S, _TOLERANCE * other)


def _cut(case: _Case) -> Finding | None:
    """Return the finding for the hop that closed: the inner ones were still open then."""
    result, idle = case.result, case.idle
    severity = _severity(result, idle)
    if severity is None:
        return None
    match idle.hop:
        case "backend":
            return _cut_by_service(case, severity)
        case "proxy":
            return _cut_by_proxy(case, severity)
        case _:
            return _cut_outside(case, severity)


def _severity(result: IdleResult, idle: IdleOutcome) -> Severity | None:
    """Return how bad a close is; `None` if it breaks no promise of the site."""
    ping_s = result.measured_interval_s or result.ping_interval_s
    if ping_s is not None and idle.seconds <= ping_s:
        return "error"
    if idle.seconds >= result.idle_timeout_s or _alike(idle.seconds, result.idle_timeout_s):
        return None
    if idle.hop == "backend" and not result.is_promised:
        return "note"  # a service may close idle connections unless the site promises otherwise
    return "error" if idle.hop == "proxy" or result.is_promised else "warning"


def _symptom(case: _Case) -> str:
    idle = case.idle
    where = {
        "backend": "directly to the service",
        "proxy": f"through {PROXIES[case.result.proxy].title}",
        "public": "through public DNS",
    }[idle.hop]
    how = idle.words or "closed it"
    return (
        f"{case.result.site}{case.result.path}: {where}, an idle connection lasts"
        f" {idle.seconds:.1f} s; then the other side {how}"
    )


def _promise(result: IdleResult) -> str:
    ping = result.ping_interval_s
    pings = f" and ping_interval is {ping:g} s" if ping is not None else ", without pings"
    return f"the site's idle_timeout is {result.idle_timeout_s:g} s{pings}"


def _evidence(result: IdleResult) -> str:
    return "\n".join(f"{each.hop}: {outcome_words(each)}" for each in result.hops)


def _cut_by_service(case: _Case, severity: Severity) -> Finding:
    return Finding(
        code="idle-cut",
        hop="backend",
        symptom=_symptom(case),
        cause=f"The service itself closes idle connections after {case.idle.seconds:.0f} s;"
        f" {_promise(case.result)}.",
        fix="Raise the service's idle timeout, or make the service or the page send a ping more"
        f" often than every {case.idle.seconds:.0f} s.",
        evidence=_evidence(case.result),
        severity=severity,
    )


def _cut_by_proxy(case: _Case, severity: Severity) -> Finding:
    proxy, idle, configured = PROXIES[case.result.proxy].title, case.idle, case.configured
    fits = configured is not None and configured.seconds is not None
    if fits and not _alike(idle.seconds, configured.seconds or 0.0):  # type: ignore[union-attr]
        words = str(configured)
        return Finding(
            code="idle-cut-elsewhere",
            hop="proxy",
            symptom=_symptom(case),
            cause=f"{proxy} is not the cause: it has {words}, and the service itself keeps the"
            " connection open. Something between the two closes it, or the running configuration"
            " is not the one in the files.",
            fix="Look for another proxy, a container network or a firewall between them.",
            evidence=_evidence(case.result),
            severity=severity,
            alternatives=(
                Alternative(
                    code="reload-not-taken",
                    tell=f"{proxy}'s processes are older than its files, or its log has an"
                    " [emerg] from the last reload",
                ),
            ),
        )
    return Finding(
        code="idle-cut",
        hop="proxy",
        symptom=_symptom(case),
        cause=f"{proxy} closes idle connections after {idle.seconds:.0f} s"
        f"{f' ({configured.directive})' if configured is not None else ''}; the service alone does"
        f" not. {_promise(case.result).capitalize()}.",
        fix="Apply the playbook, which sets its idle_timeout; or make the service ping more often"
        f" than every {idle.seconds:.0f} s.",
        evidence=_evidence(case.result),
        severity=severity,
        directive=PROXIES[case.result.proxy].words.idle_line.format(
            seconds=case.result.idle_timeout_s
        ),
        file=configured.file if configured is not None else "",
    )


def _cut_outside(case: _Case, severity: Severity) -> Finding:
    seconds = case.idle.seconds
    known = {60: "AWS's load balancers", 100: "Cloudflare", 350: "NAT gateways of AWS"}
    like = next((f" ({who} close at {s} s)" for s, who in known.items() if _alike(seconds, s)), "")
    return Finding(
        code="idle-cut-elsewhere",
        hop="public",
        symptom=_symptom(case),
        cause="Something between here and the host closes idle connections: a CDN, a load balancer,"
        f" a NAT or a firewall{like}. On the host, through the proxy, they last longer.",
        fix=f"Make the service ping more often than every {seconds:.0f} s (30 s works everywhere we"
        " know of), or raise the timeout there.",
        evidence=_evidence(case.result),
        severity=severity,
    )


def _late_ping(case: _Case) -> Finding | None:
    """Report a service that does not ping as often as the site says."""
    result, idle = case.result, case.idle
    promised = result.ping_interval_s
    if promised is None:
        return None
    if idle.outcome == "open":
        if idle.seconds < promised * _LATE + _TOLERANCE_S or idle.signs:
            return None
        words = f"sent nothing for {idle.seconds:.0f} s"
    else:
        if (idle.interval_s or 0.0) <= promised * _LATE + _TOLERANCE_S:
            return None
        words = f"sends something every {idle.interval_s:.0f} s"
    return Finding(
        code="no-ping",
        hop="backend",
        symptom=f"{result.site}{result.path}: the service {words}, but the site has"
        f" `ping_interval: {promised:g}s`",
        cause="The service does not ping as often as the playbook says, or pings only clients that"
        " are logged in.",
        fix="Enable pings in the service, or correct ping_interval: every hop's timeout must be"
        " longer than the service's real interval.",
        evidence=_evidence(result),
        severity="warning",
    )
