"""From what each hop did with a silent connection to what a person should know. Pure.

A hop that cuts is at fault where it does so before the service has said anything (its ping), or
before the time that the site promises; where the next hop towards the service cuts at the same
moment, it is that one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from deployer.model import UNFINISHED, Alternative, CheckResult, Finding, Hop, Severity
from deployer.verify.idle import Configured, IdleResult
from deployer.verify.probe.idle import IdleOutcome

_PROXY_NAMES = {"nginx": "nginx", "apache": "Apache", "haproxy": "HAProxy"}
#: What a measured time may differ from a configured one, in seconds and as a part.
_TOLERANCE_S, _TOLERANCE = 1.5, 0.02
#: A service whose ping comes so much later than the site says has another interval.
_LATE = 1.25
_DIRECTIVES = {
    "nginx": "proxy_read_timeout {seconds:g}s;",
    "apache": "ProxyPass … upgrade=websocket timeout={seconds:g}",
    "haproxy": "timeout tunnel {seconds:g}s",
}
_ORDER: Sequence[Hop] = ("backend", "proxy", "public")


class _Case(NamedTuple):
    result: IdleResult
    silence: IdleOutcome
    inner: IdleOutcome | None

    @property
    def configured(self) -> Configured | None:
        return self.result.configured_at(self.silence.hop)


def judge_idle(result: IdleResult) -> tuple[CheckResult, ...]:
    """A check for each hop of a route; what one cut explains is told once."""
    checks = []
    inner: IdleOutcome | None = None
    for hop in _ORDER:
        silence = result.of(hop)
        if silence is None:
            continue
        case = _Case(result, silence, inner)
        finding = _finding(case)
        checks.append(
            CheckResult(
                site=result.site,
                name="idle",
                target=result.path,
                hop=hop,
                ok=_is_ok(silence, finding),
                detail=UNFINISHED if silence.outcome == "interrupted" else outcome_words(silence),
                finding=finding,
                skipped=silence.outcome == "skipped",
            )
        )
        inner = silence if silence.outcome != "skipped" else inner
    return tuple(checks)


def _is_ok(silence: IdleOutcome, finding: Finding | None) -> bool:
    if silence.outcome in ("failed", "interrupted"):
        return silence.hop == "public"  # whether that works is another check's matter
    return finding is None or finding.severity != "error"


def outcome_words(silence: IdleOutcome) -> str:
    """``cut after 60.1 s of silence``, ``still open after 332 s``."""
    match silence.outcome:
        case "cut":
            close = f" (Close frame {silence.close_code})" if silence.close_code else ""
            return f"cut after {silence.seconds:.1f} s of silence{close}"
        case "open":
            spoke = _times(silence.signs) if silence.signs else ""
            return f"still open after {silence.seconds:.0f} s of silence{spoke}"
        case "kept-awake":
            return f"kept awake by the service, every {silence.interval_s or 0:.1f} s"
        case "interrupted":
            return f"not finished: interrupted after {silence.seconds:.0f} s"
        case "failed":
            return f"could not be opened: {silence.words}"
        case _:
            return silence.words


def _times(signs: int) -> str:
    return f"; before, the service spoke {'once' if signs == 1 else f'{signs} times'}"


def _finding(case: _Case) -> Finding | None:
    silence = case.silence
    if silence.outcome == "cut":
        if case.inner is not None and _is_same_cut(silence, case.inner):
            return None  # the hop within has cut both
        return _cut(case)
    if silence.hop == "backend" and silence.outcome in ("open", "kept-awake"):
        return _late_ping(case)
    return None


def _is_same_cut(silence: IdleOutcome, inner: IdleOutcome) -> bool:
    return inner.outcome == "cut" and _alike(silence.seconds, inner.seconds)


def _alike(one: float, other: float) -> bool:
    return abs(one - other) <= max(_TOLERANCE_S, _TOLERANCE * other)


def _cut(case: _Case) -> Finding | None:
    """The hop that cut is the outermost that could have: those within were still open then."""
    result, silence = case.result, case.silence
    severity = _severity(result, silence)
    if severity is None:
        return None
    match silence.hop:
        case "backend":
            return _cut_by_service(case, severity)
        case "proxy":
            return _cut_by_proxy(case, severity)
        case _:
            return _cut_outside(case, severity)


def _severity(result: IdleResult, silence: IdleOutcome) -> Severity | None:
    """How bad a cut is; `None` where nothing was promised that it breaks."""
    ping_s = result.measured_interval_s or result.ping_interval_s
    if ping_s is not None and silence.seconds <= ping_s:
        return "error"
    if silence.seconds >= result.idle_timeout_s or _alike(silence.seconds, result.idle_timeout_s):
        return None
    if silence.hop == "backend" and not result.is_promised:
        return "note"  # a service may end what is idle, as long as nobody has promised otherwise
    return "error" if silence.hop == "proxy" or result.is_promised else "warning"


def _symptom(case: _Case) -> str:
    silence = case.silence
    where = {
        "backend": "straight at the service",
        "proxy": f"through {_PROXY_NAMES[case.result.proxy]}",
        "public": "from here by DNS",
    }[silence.hop]
    how = silence.words or "ended it"
    return (
        f"{case.result.site}{case.result.path}: {where}, a silent connection lives for"
        f" {silence.seconds:.1f} s; then the other side {how}"
    )


def _promise(result: IdleResult) -> str:
    ping = result.ping_interval_s
    pings = f", and ping_interval is {ping:g} s" if ping is not None else ", and nobody pings"
    return f"the site's idle_timeout is {result.idle_timeout_s:g} s{pings}"


def _evidence(result: IdleResult) -> str:
    return "\n".join(f"{each.hop}: {outcome_words(each)}" for each in result.hops)


def _cut_by_service(case: _Case, severity: Severity) -> Finding:
    return Finding(
        code="idle-cut",
        hop="backend",
        symptom=_symptom(case),
        cause=f"The service itself ends silent connections after {case.silence.seconds:.0f} s;"
        f" {_promise(case.result)}.",
        fix="Raise the service's own time-out, or let it, or the page, send a ping more often"
        f" than every {case.silence.seconds:.0f} s.",
        evidence=_evidence(case.result),
        severity=severity,
    )


def _cut_by_proxy(case: _Case, severity: Severity) -> Finding:
    proxy, silence, configured = _PROXY_NAMES[case.result.proxy], case.silence, case.configured
    fits = configured is not None and configured.seconds is not None
    if fits and not _alike(silence.seconds, configured.seconds or 0.0):  # type: ignore[union-attr]
        words = str(configured)
        return Finding(
            code="idle-cut-elsewhere",
            hop="proxy",
            symptom=_symptom(case),
            cause=f"{proxy} is not the one: it has {words}, and the service straight keeps it open."
            " Something between the two cuts, or what the files say is not what runs.",
            fix="Look for another proxy, a container network or a firewall between them.",
            evidence=_evidence(case.result),
            severity=severity,
            alternatives=(
                Alternative(
                    code="reload-not-taken",
                    tell=f"{proxy}'s processes are older than its files, or its log has an"
                    " [emerg] of the last reload.",
                ),
            ),
        )
    return Finding(
        code="idle-cut",
        hop="proxy",
        symptom=_symptom(case),
        cause=f"{proxy} cuts silent connections after {silence.seconds:.0f} s"
        f"{f' ({configured.directive})' if configured is not None else ''}; the service alone does"
        f" not. {_promise(case.result).capitalize()}.",
        fix="Apply the playbook, whose idle_timeout it should have; or let the service ping more"
        f" often than every {silence.seconds:.0f} s.",
        evidence=_evidence(case.result),
        severity=severity,
        directive=_DIRECTIVES[case.result.proxy].format(seconds=case.result.idle_timeout_s),
        file=configured.file if configured is not None else "",
    )


def _cut_outside(case: _Case, severity: Severity) -> Finding:
    seconds = case.silence.seconds
    known = {60: "AWS's load balancers", 100: "Cloudflare", 350: "NAT gateways of AWS"}
    like = next((f" ({who} cut at {s} s)" for s, who in known.items() if _alike(seconds, s)), "")
    return Finding(
        code="idle-cut-elsewhere",
        hop="public",
        symptom=_symptom(case),
        cause="Something between here and the host cuts silent connections: a CDN, a load balancer,"
        f" a NAT or a firewall{like}. On the host, through the proxy, it lives longer.",
        fix=f"Let the service ping more often than every {seconds:.0f} s (30 s passes everywhere"
        " that is known), or raise the time-out there.",
        evidence=_evidence(case.result),
        severity=severity,
    )


def _late_ping(case: _Case) -> Finding | None:
    """A service that does not ping as the site says: what the site relies on is not there."""
    result, silence = case.result, case.silence
    promised = result.ping_interval_s
    if promised is None:
        return None
    if silence.outcome == "open":
        if silence.seconds < promised * _LATE + _TOLERANCE_S or silence.signs:
            return None
        words = f"sent nothing in {silence.seconds:.0f} s"
    else:
        if (silence.interval_s or 0.0) <= promised * _LATE + _TOLERANCE_S:
            return None
        words = f"says something every {silence.interval_s:.0f} s"
    return Finding(
        code="no-ping",
        hop="backend",
        symptom=f"{result.site}{result.path}: the service {words}, and the site says"
        f" `ping_interval: {promised:g}s`",
        cause="The service does not ping as often as the playbook relies on, or only those who have"
        " logged in.",
        fix="Turn the service's ping on, or correct ping_interval: every hop's time-out must be"
        " longer than what the service really does.",
        evidence=_evidence(result),
        severity="warning",
    )
